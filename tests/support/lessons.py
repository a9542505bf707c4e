"""Lessons of `docs/lessons`: their parts, and a runner that needs no Jupyter.

python -m tests.support.lessons docs/lessons/1_weighted_mean.md --pictures=/tmp/pictures

runs the cells, then the code of the hidden answers, and prints the lesson's number and its seconds.
"""

import argparse
import ast
import json
import re
import time
from pathlib import Path
from typing import NamedTuple

import yaml
from matplotlib.figure import Figure

from attention_jax.analysis.plots import style
from tests.support.paths import ROOT

FOLDER = ROOT / "docs" / "lessons"
_CELL = re.compile(r"^```\{code-cell\}[^\n]*\n((?::[^\n]*\n)*)(.*?)^```$", re.DOTALL | re.MULTILINE)
ANSWER = re.compile(
    r"^:::\{admonition\} Answer\n:class: dropdown\n(.*?)^:::$", re.DOTALL | re.MULTILINE
)
_SOLUTION = re.compile(r"^```\{code-block\} python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


class Code(NamedTuple):
    """Code of a lesson, and the line of the page on which it begins."""

    text: str
    line: int


class Lesson(NamedTuple):
    """A lesson.

    Attributes:
      header: of the page.
      body: of the page, below the header.
      cells: that a notebook runs.
      answers: hidden texts, one for each exercise.
      solutions: code in them.
      low, high: range of the lesson's number.
    """

    header: dict
    body: str
    cells: list[Code]
    answers: list[str]
    solutions: list[Code]

    @property
    def range(self) -> tuple[float, float]:
        """Range in which the lesson's number must lie."""
        low, high = self.header["answer"]
        return float(low), float(high)


def paths() -> list[Path]:
    """The lessons, in their order: files whose names begin with a number."""
    return sorted(FOLDER.glob("[0-9]*.md"))


def read(path: Path) -> Lesson:
    """The parts of a lesson.

    Raises:
      ValueError: the page has no header.
    """
    text = path.read_text(encoding="utf-8")
    if not text.startswith("---\n") or "\n---\n" not in text:
        raise ValueError(f"`path` must be a page with a header between lines of ---; got {path}.")
    header, _, body = text.removeprefix("---\n").partition("\n---\n")
    answers = ANSWER.findall(text)
    return Lesson(
        header=yaml.safe_load(header),
        body=body,
        cells=[_code(text, found, 2) for found in _CELL.finditer(text)],
        answers=answers,
        solutions=[
            _code(text, found, 1)
            for hidden in ANSWER.finditer(text)
            for found in _SOLUTION.finditer(text, *hidden.span())
        ],
    )


def run(path: Path, pictures: Path | None = None) -> tuple[float, float]:
    """The lesson's number, and the seconds that its cells take; solutions run after them."""
    lesson, start = read(path), time.monotonic()
    space: dict[str, object] = {"__name__": "lesson"}
    for cell in lesson.cells:
        _show(_execute(cell, path, space), cell, path, pictures)
    seconds, number = time.monotonic() - start, float(space["answer"])  # ty: ignore
    for solution in lesson.solutions:
        _show(_execute(solution, path, space), solution, path, pictures)
    return number, seconds


def _code(text: str, found: re.Match, group: int) -> Code:
    return Code(found[group], 1 + text.count("\n", 0, found.start(group)))


def _execute(code: Code, path: Path, space: dict[str, object]) -> object:
    """Runs code, and returns the value of its last line, as a notebook shows it."""
    tree = ast.parse("\n" * (code.line - 1) + code.text, str(path))
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, str(path), "exec"), space)
    if isinstance(last, ast.Expr):
        return eval(compile(ast.Expression(last.value), str(path), "eval"), space)
    return None


def _show(value: object, code: Code, path: Path, pictures: Path | None) -> None:
    """Prints a value, and draws a figure, into the folder of pictures where there is one."""
    if isinstance(value, Figure):
        drawn = style.png(value)
        if pictures is not None:
            pictures.mkdir(parents=True, exist_ok=True)
            (pictures / f"{path.stem}_{code.line}.png").write_bytes(drawn)
    elif value is not None:
        print(value)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("--pictures", type=Path, help="folder for the figures of the cells")
    given = parser.parse_args()
    answer, seconds = run(given.path, given.pictures)
    print(json.dumps({"answer": answer, "seconds": round(seconds, 1)}))
