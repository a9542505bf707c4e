"""SCAN: commands to actions, in splits that test compositional generalization."""

import os
import random
from collections import Counter
from pathlib import Path

from attention_jax.core.plain_types import typed_calls
from attention_jax.data.text_files import line_numbers, read_lines
from attention_jax.data.types import Example, Task

SPLITS = (
    "simple",
    "length",
    "addprim_jump",
    "addprim_turn_left",
    "template_around_right",
    "template_jump_around_right",
    "template_opposite_right",
    "template_right",
)
_ORIGIN = "the files of https://github.com/brendenlake/SCAN, plain or gzipped"


@typed_calls
def scan(
    *,
    split: str = "simple",
    data_dir: str | None = None,
    validation_percent: int = 5,
    seed: int = 0,
) -> Task:
    """SCAN commands and the actions that carry them out.

        "jump opposite left and walk" -> "I_TURN_LEFT I_TURN_LEFT I_JUMP I_WALK"

    The test is that of the split. There is no validation file, so a share of the training commands
    is held out, drawn from the seed. Commands that training repeats, such as "jump" in
    addprim_jump, stay there, since they teach the word.

    Args:
      split: one of `SPLITS`. "simple" is random; "length" trains up to 22 actions and tests longer
        ones; "addprim_jump" trains "jump" in isolation only; the templates leave out a phrase.
      data_dir: folder that holds scan/.
      validation_percent: share of the training commands held out.
      seed: seed of the validation split.

    Raises:
      FileNotFoundError: a file is missing.
      ValueError: an unknown split, a share out of range, or a malformed line.

    Reference: Lake and Baroni 2018, arXiv:1711.00350; templates: Loula et al. 2018,
    arXiv:1807.07545.
    """
    if split not in SPLITS:
        raise ValueError(f"`split` must be one of {', '.join(SPLITS)}; got {split!r}.")
    if not 1 <= validation_percent <= 50:
        raise ValueError(
            f"`validation_percent` must lie between 1 and 50; got {validation_percent}."
        )
    if data_dir is None:
        raise ValueError(
            f"`data_dir` must name the folder that holds scan/; got None. It holds {_ORIGIN}."
        )
    given, test = (
        _read(Path(data_dir) / "scan", f"tasks_{part}_{split}.txt") for part in ("train", "test")
    )
    times = Counter(example.source for example in given)
    once = sorted(source for source, count in times.items() if count == 1)
    count = max(1, len(once) * validation_percent // 100)
    held_out = set(random.Random(f"scan {split} {seed}").sample(once, min(count, len(once))))
    return Task(
        name="scan",
        train=[example for example in given if example.source not in held_out],
        validation=[example for example in given if example.source in held_out],
        tests={"test": test},
        tokenizer="word",
    )


def _read(folder: Path, name: str) -> list[Example]:
    """Examples of a file, one a line: IN: command OUT: actions."""
    path = next((p for p in (folder / f"{name}.gz", folder / name) if os.path.isfile(p)), None)
    if path is None:
        raise FileNotFoundError(
            f"`data_dir` must hold scan/{name}.gz or scan/{name}; there is none in {folder}. "
            f"The folder holds {_ORIGIN}."
        )
    examples, wrong = [], []
    for number, line in enumerate(read_lines(path, argument="data_dir"), 1):
        command, out, actions = line.partition(" OUT: ")
        if out and command.startswith("IN: ") and command[4:].strip() and actions.strip():
            examples.append(Example(command[4:].strip(), (actions.strip(),)))
        else:
            wrong.append(number)
    if wrong or not examples:
        where = line_numbers(wrong) if wrong else "its end, before any example"
        raise ValueError(
            f'lines must read "IN: command OUT: actions"; {path} has another at {where}.'
        )
    return examples
