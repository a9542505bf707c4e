"""What a run tells while it trains: metrics.jsonl, the bar, TensorBoard and a profile."""

import contextlib
import json
import math
import os
import sys
from pathlib import Path
from typing import Any

import jax

from attention_jax.core.extras import needed

with needed("train"):
    import tqdm

# The first steps compile; a profile of them would show little else.
PROFILE_AFTER = 10

# Numbers of a training row that the bar has room for.
_SHOWN = {"loss": "loss", "accuracy": "accuracy", "tokens_per_second": "tokens/s"}


class MetricsFile:
    """A file of one JSON object a line, which can be cut back to what a checkpoint saw.

    Args:
      path: the file; made where there is none.
      size: how many of its bytes to keep.
      tensorboard: the folder of a copy for TensorBoard, or None.

    Raises:
      ModuleNotFoundError: TensorBoard is asked for, but tensorboardX is not installed.
    """

    def __init__(self, path: Path, *, size: int, tensorboard: Path | None = None):
        self._writer = None if tensorboard is None else _summary_writer(tensorboard)
        self._file = open(path, "ab")
        # A longer size than the file has would fill it with zeros.
        self._file.truncate(min(size, os.path.getsize(path)))

    def write(self, row: dict[str, Any]) -> None:
        """Appends a row of `step`, `split` and numbers; null stands for what is not finite."""
        finite = {
            name: None if isinstance(x, float) and not math.isfinite(x) else x
            for name, x in row.items()
        }
        self._file.write((json.dumps(finite) + "\n").encode())
        self._file.flush()
        if self._writer is not None:
            for name in finite.keys() - {"step", "split"}:
                if isinstance(finite[name], int | float):
                    self._writer.add_scalar(f"{row['split']}/{name}", finite[name], row["step"])

    def size(self) -> int:
        """Its bytes so far, all of them on the disk."""
        os.fsync(self._file.fileno())
        return os.fstat(self._file.fileno()).st_size

    def close(self) -> None:
        self._file.close()
        if self._writer is not None:
            self._writer.close()


def _summary_writer(folder: Path):
    with needed("tensorboard"):
        import tensorboardX
    return tensorboardX.SummaryWriter(str(folder))


class Bar:
    """A progress bar where stderr is a terminal, plain lines elsewhere."""

    def __init__(self, *, steps: int, done: int):
        self._steps = steps
        self._bar = tqdm.tqdm(
            total=steps,
            initial=done,
            desc="training",
            unit="step",
            dynamic_ncols=True,
            disable=not sys.stderr.isatty(),
        )

    def advance(self) -> None:
        self._bar.update()

    def show(self, row: dict[str, Any]) -> None:
        """Shows the numbers of one row of metrics."""
        train = row["split"] == "train"
        names = _SHOWN if train else {name: name for name in row.keys() - {"step", "split"}}
        numbers = {short: _number(row[name]) for name, short in names.items() if name in row}
        text = f"step {row['step']}/{self._steps} {row['split']}: " + ", ".join(
            f"{name} {number}" for name, number in sorted(numbers.items())
        )
        if train and not self._bar.disable:
            self._bar.set_postfix(numbers, refresh=False)
        else:
            self.say(text)

    def say(self, text: str) -> None:
        """Writes a line above the bar."""
        self._bar.write(text, file=sys.stderr)

    def close(self) -> None:
        self._bar.close()


def _number(x: float) -> str:
    return f"{x:,.0f}" if abs(x) >= 1000 else f"{x:.4g}"


class Profile:
    """A trace of `steps` steps, beginning `PROFILE_AFTER` steps after the start."""

    def __init__(self, folder: Path, *, steps: int):
        self._folder, self._steps, self._count, self._running = folder, steps, 0, False

    def tick(self, state: Any) -> None:
        """To be called after every step, with what the step returned."""
        if not self._steps:
            return
        self._count += 1
        if self._count == PROFILE_AFTER:
            jax.block_until_ready(state)
            jax.profiler.start_trace(str(self._folder))
            self._running = True
        elif self._count == PROFILE_AFTER + self._steps:
            jax.block_until_ready(state)
            self.close()

    def close(self) -> None:
        if self._running:
            self._running = False
            with contextlib.suppress(RuntimeError):
                jax.profiler.stop_trace()
