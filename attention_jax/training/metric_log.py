"""Training logs: JSONL, progress bar, TensorBoard."""

import contextlib
import hashlib
import json
import logging
import math
import os
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from attention_jax.core.extras import needed

with needed("train"):
    import tqdm

from attention_jax.core.files import write_whole
from attention_jax.core.messages import said

_log = logging.getLogger(__name__)

Row = Mapping[str, int | float | str]  # `step`, `split` ("train" or "validation") and the metrics

# Metrics of a training row that fit on the progress bar, and their short names there.
_SHOWN = {"loss": "loss", "accuracy": "accuracy", "tokens_per_second": "tokens/s"}
_TRAINING = "training"  # the bar's word while steps are taken


class MetricsFile:
    """JSON Lines file of metrics, truncated on opening to the size that a checkpoint recorded.

    Rows that were lost or changed since are named in a warning, and those that no longer are JSON
    are left out, so that what reads the file at the end does not fail.

    Args:
      path: the file; created if missing.
      size: number of bytes to keep.
      sha256: of those bytes, as `written` gave it; empty where it is not known.
      tensorboard: folder of a copy for TensorBoard; None for none.

    Raises:
      ModuleNotFoundError: TensorBoard is requested, but tensorboardX is not installed.
    """

    def __init__(self, path: Path, *, size: int, sha256: str = "", tensorboard: Path | None = None):
        self._writer = None if tensorboard is None else _summary_writer(tensorboard)
        old = path.read_bytes() if path.exists() else b""
        kept, warning = _readable(old, size, sha256)
        if warning:
            _log.warning("%s %s", path, warning)
        if warning and kept != old[: len(kept)]:
            write_whole(path, kept)
        self._file = open(path, "ab")
        self._file.truncate(len(kept))
        self._digest = hashlib.sha256(kept)

    def write(self, row: Row) -> None:
        """Appends a row; numbers that are not finite become null."""
        finite = {
            name: None if isinstance(x, float) and not math.isfinite(x) else x
            for name, x in row.items()
        }
        line = (json.dumps(finite) + "\n").encode()
        self._file.write(line)
        self._file.flush()
        self._digest.update(line)
        if self._writer is not None:
            for name in finite.keys() - {"step", "split"}:
                if isinstance(finite[name], int | float):
                    self._writer.add_scalar(f"{row['split']}/{name}", finite[name], row["step"])

    def size(self) -> int:
        """Size in bytes, after all of it has been flushed to disk."""
        os.fsync(self._file.fileno())
        return os.fstat(self._file.fileno()).st_size

    def written(self) -> tuple[int, str]:
        """Size and checksum, after all of it has been flushed to disk."""
        return self.size(), self._digest.hexdigest()

    def close(self) -> None:
        self._file.close()
        if self._writer is not None:
            self._writer.close()


class NoMetrics:
    """Stands in for `MetricsFile` in processes that write none."""

    def write(self, row: Row) -> None:
        """Writes nothing."""

    def written(self) -> tuple[int, str]:
        """Size and checksum of nothing."""
        return 0, ""

    def close(self) -> None:
        """Closes nothing."""


def _readable(content: bytes, size: int, sha256: str) -> tuple[bytes, str]:
    """The rows to keep of the first `size` bytes, and what is to be said of them."""
    kept = content[:size]
    if sha256 and hashlib.sha256(kept).hexdigest() == sha256:
        return kept, ""
    rows = kept[: kept.rfind(b"\n") + 1].splitlines(keepends=True)
    whole = [row for row in rows if _is_row(row)]
    if len(kept) < size or len(whole) < len(rows):
        return b"".join(whole), "has lost rows; those of later steps are appended."
    return b"".join(whole), "was changed since it was written; its rows stay." if sha256 else ""


def _is_row(line: bytes) -> bool:
    """True for a JSON object with a step and a split."""
    try:
        found = json.loads(line)
    except ValueError:
        return False
    return isinstance(found, dict) and {"step", "split"} <= found.keys()


def _summary_writer(folder: Path):
    with needed("tensorboard"):
        import tensorboardX
    return tensorboardX.SummaryWriter(str(folder))


class Bar:
    """Progress bar if stderr is a terminal, plain lines otherwise; nothing where it is silent."""

    def __init__(self, *, steps: int, done: int, silent: bool = False):
        self._silent = silent
        self._steps, self._done, self._start = steps, done, time.monotonic()
        self._bar = tqdm.tqdm(
            total=steps,
            initial=done,
            desc=said(_TRAINING),
            unit=said("step"),
            dynamic_ncols=True,
            disable=silent or not sys.stderr.isatty(),
        )

    def advance(self) -> None:
        self._bar.update()

    @contextlib.contextmanager
    def doing(self, what: str) -> Iterator[None]:
        """The bar says what takes the time inside, such as "compiling"."""
        self._bar.set_description(said(what))
        try:
            yield
        finally:
            self._bar.set_description(said(_TRAINING), refresh=False)

    def show(self, row: Row) -> None:
        """Shows one row of metrics: training on the bar, validation on a line of its own.

        A line of training ends with the time that the steps left take, as the bar has it.
        """
        train = row["split"] == "train"
        names = _SHOWN if train else {name: name for name in row.keys() - {"step", "split"}}
        numbers = {said(s): _number(float(row[n])) for n, s in names.items() if n in row}
        text = said("step {step}/{steps} {split}: {numbers}").format(
            step=row["step"],
            steps=self._steps,
            split=said(str(row["split"])),
            numbers=", ".join(f"{name} {number}" for name, number in sorted(numbers.items())),
        )
        if train and not self._bar.disable:
            self._bar.set_postfix(numbers, refresh=False)
            return
        if train:
            text += said(", left {time}").format(time=self._left(float(row["step"])))
        self.say(text)

    def _left(self, step: float) -> str:
        """The time of the steps left, if they take as long as those of this process did."""
        a_step = (time.monotonic() - self._start) / max(step - self._done, 1)
        return tqdm.tqdm.format_interval((self._steps - step) * a_step)

    def say(self, text: str) -> None:
        """Prints a line above the bar."""
        if not self._silent:
            self._bar.write(text, file=sys.stderr)

    def close(self) -> None:
        self._bar.close()


def _number(x: float) -> str:
    return f"{x:,.0f}" if abs(x) >= 1000 else f"{x:.4g}"
