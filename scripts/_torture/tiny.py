"""The smallest runs, and what must be the same of one however it was disturbed."""

import contextlib
import io
import itertools
import json
import logging
import traceback
import wave
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from attention_jax.core.files import content_hash
from attention_jax.training.preemption import Preempted
from experiments import visualize
from experiments.common import endings, experiment, flags
from experiments.common.experiment import PageFlags, PredictFlags
from experiments.common.load_run import load_run
from experiments.common.train import train

TEXT = "the quick brown fox jumps over the lazy dog.\n" * 20
EVERY_TWO = "--steps=6 --evaluate_every=2 --checkpoint_every=2 --log_every=1 --layers=1 --width=8"
RECURRENT = "--model=rnn --attention=none --dropout=0.2"
# Of the first two all is tried; of the others what reads them, since they take long to score.
FLAGS = {
    "language": f"{RECURRENT} --context=16 --windows=4 --characters=8",
    "memory": (
        f"{RECURRENT} --problem=copying --length=16 --rows=8 --symbols=3 --alphabet=4 "
        "--test_lengths=16 --test_rows=8"
    ),
    "translation": (
        "--task=parallel --model=rnn --attention=additive --max_length=8 --tokens_per_batch=256 "
        "--evaluate_sentences=2"
    ),
    "images": "--heads=2 --feed_forward=8 --images_per_batch=8 --patch=4",
    "speech": (
        "--model=rnn --attention=additive --mels=8 --frames_per_batch=200 --frequency_masks=0 "
        "--time_masks=0 --evaluate_sentences=2"
    ),
}
# Numbers that tell of the machine.
OF_TIME = {
    "seconds",
    "tokens_per_second",
    "first_step_seconds",
    "time_shares",
    "peak_memory_bytes",
}


class Ended(NamedTuple):
    """How a call ended.

    Attributes:
      value: what it returned.
      error: its one line, "" where it went well; a traceback where nothing expects one.
      said: warnings and lines on standard error.
    """

    value: Any
    error: str
    said: str

    @property
    def is_traceback(self) -> bool:
        """A user would see more than one line."""
        return "\n" in self.error.strip() or "Traceback" in self.said


def write_data(folder: Path) -> None:
    """The data of all tiny runs."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "text.txt").write_text(TEXT)
    words = (
        "one two six ten few".split(),
        "red old big shy".split(),
        "cats dogs hens cows".split(),
    )
    rows = [f"{' '.join(own)}\t{' '.join(own).upper()}\n" for own in itertools.product(*words)]
    (folder / "pairs.tsv").write_text("".join(rows))
    draw = np.random.default_rng(0)
    _write_sounds(folder / "sounds", draw)
    for label in "ab":
        own = folder / "pictures" / label
        own.mkdir(parents=True, exist_ok=True)
        for number in range(12):
            pixels = draw.integers(0, 255, (8, 8), dtype=np.uint8)
            Image.fromarray(pixels).save(own / f"{number}.png")


def _write_sounds(folder: Path, draw: np.random.Generator) -> None:
    """Noise of half a second, with a transcript beside each."""
    folder.mkdir(exist_ok=True)
    for number in range(24):
        path = folder / f"{number}.wav"
        with wave.open(str(path), "wb") as file:
            file.setparams((1, 2, 8000, 0, "NONE", ""))
            file.writeframes(draw.integers(-3000, 3000, 4000, dtype=np.int16).tobytes())
        path.with_suffix(".txt").write_text(f"{'ab' if number % 2 else 'ba'}\n")


def arguments(name: str, data: Path, run: Path) -> list[str]:
    """The flags of a tiny run."""
    own = {
        "language": [f"--text_file={data}/text.txt"],
        "translation": [
            f"--task_option=tsv={data}/pairs.tsv",
            "--task_option=held_out_percent=15",
        ],
        "images": [f"--data={data}/pictures"],
        "speech": [f"--sounds={data}/sounds"],
    }
    return [*FLAGS[name].split(), *EVERY_TWO.split(), *own.get(name, []), f"--run={run}"]


def trained(name: str, given: list[str], *more: str) -> Ended:
    """A run in this process, as its command would train it."""
    own = experiment.find(name)
    return ended(lambda: train(own, flags.parse(own.config, [*given, *more])[0]))


def ended(call: Callable[[], Any]) -> Ended:
    """Calls, and says how it ended, as `flags.launch` would show it."""
    with _heard() as said:
        try:
            return Ended(call(), "", said())
        except endings.EXPECTED as error:
            return Ended(None, str(error) or repr(error), said())
        except Preempted:  # Ctrl-C, which is meant for the campaign
            raise KeyboardInterrupt from None
        except Exception:
            return Ended(None, f"traceback\n{traceback.format_exc()}", said())


@contextlib.contextmanager
def _heard() -> Generator[Callable[[], str], None, None]:
    """What is said on standard error and by warnings."""
    out, err = io.StringIO(), io.StringIO()
    root = logging.getLogger()
    former, root.handlers = root.handlers, [logging.StreamHandler(err)]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            yield err.getvalue
    finally:
        root.handlers = former


def loaded(folder: Path) -> Ended:
    """The hash of a run's parameters and of what it knows."""

    def call() -> str:
        run = load_run(folder)
        leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(run.params)]
        known = (
            run.known.tokens(range(run.known.size)) if hasattr(run.known, "tokens") else run.known
        )
        return content_hash([leaves, repr(known)])

    return ended(call)


def predicted(name: str, folder: Path, data: Path) -> Ended:
    """What `experiments.predict` would print."""
    given = {
        "language": PredictFlags(text="the "),
        "translation": PredictFlags(text="one old cats"),
        "images": PredictFlags(file=str(data / "pictures" / "a" / "0.png"), scores=True),
        "speech": PredictFlags(file=str(data / "sounds" / "0.wav"), scores=True),
    }[name]

    def call() -> list[str]:
        run = load_run(folder)
        assert run.experiment.predict is not None
        return list(run.experiment.predict(run, given))

    return ended(call)


def visualized(name: str, folder: Path, data: Path) -> Ended:
    """The page that `experiments.visualize` would write."""
    given = {
        "translation": PageFlags(text=("one old cats",)),
        "images": PageFlags(file=str(data / "pictures" / "a" / "0.png")),
    }[name]

    def call() -> str:
        output = folder.parent / "page.html"
        visualize.write_page(
            visualize.VisualizeConfig(str(folder), output=str(output), inputs=given), []
        )
        return output.read_text(encoding="utf-8").replace(folder.name, "")

    return ended(call)


def results(folder: Path) -> dict[str, str]:
    """All that must be the same of a finished run, part by part."""
    found = {"parameters": loaded(folder).value or "none"}
    rows = (folder / "metrics.jsonl").read_text().splitlines()
    found["metrics"] = content_hash([_without_time(json.loads(row)) for row in rows])
    for path in sorted(folder.glob("*.json")):
        if path.name not in ("run.json", "environment.json"):
            found[path.name] = content_hash(_without_time(json.loads(path.read_text())))
    for path in sorted(folder.glob("*.txt")):
        found[path.name] = content_hash(path.read_bytes())
    return found


def _without_time(row: dict[str, Any]) -> dict[str, Any]:
    return {name: _plain(x) for name, x in row.items() if name not in OF_TIME}


def _plain(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def difference(found: dict[str, str], wanted: dict[str, str]) -> str:
    """The parts that differ, "" for none."""
    return ", ".join(sorted(n for n in found | wanted if found.get(n) != wanted.get(n)))
