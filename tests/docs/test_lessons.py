"""Lessons: their form, and the number in which each ends."""

import ast
import json
import os
import re
import subprocess
import sys

import pytest

from tests.support import lessons
from tests.support.paths import ROOT

PATHS = lessons.paths()
HEADER = {
    "jupytext": {
        "formats": "md:myst,ipynb",
        "text_representation": {"extension": ".md", "format_name": "myst"},
    },
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
}
by_lesson = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


def test_there_are_eight_and_the_index_names_them_in_order():
    index = (lessons.FOLDER / "index.md").read_text(encoding="utf-8")
    titles = re.findall(r"^\| \[(.*?)\]\((.*?)\)", index, re.MULTILINE)
    assert [name for _, name in titles] == [path.name for path in PATHS]
    assert [path.name[0] for path in PATHS] == [str(number) for number in range(1, 9)]
    for (title, _), path in zip(titles, PATHS, strict=True):
        assert f"\n# {title}\n" in lessons.read(path).body


@by_lesson
def test_the_header_makes_a_notebook_and_says_the_range_of_the_number(path):
    lesson = lessons.read(path)
    assert {key: lesson.header[key] for key in HEADER} == HEADER
    assert set(lesson.header) == {*HEADER, "answer"}
    low, high = lesson.range
    assert low < high
    assert f"between {low:g} and {high:g}" in lesson.body


@by_lesson
def test_it_opens_with_a_question(path):
    after_title = lessons.read(path).body.split("\n# ", 1)[1].split("\n\n")[1]
    assert re.fullmatch(r"\*\*.*\?\*\*", after_title, re.DOTALL)


@by_lesson
def test_cells_parse_one_draws_and_one_gives_the_answer(path):
    lesson = lessons.read(path)
    assert len(lesson.cells) == lesson.body.count("```{code-cell} python\n")
    assert len(lesson.solutions) == lesson.body.count("```{code-block} python\n")
    for code in (*lesson.cells, *lesson.solutions):
        ast.parse(code.text)
    last_lines = [cell.text.splitlines()[-1] for cell in lesson.cells]
    assert last_lines.count("answer") == 1
    assert "figure" in last_lines or "plots.run_plots.attention_heatmap" in str(lesson.cells)


@by_lesson
def test_three_exercises_each_hide_an_answer(path):
    _, _, exercises = lessons.read(path).body.partition("\n## Exercises\n")
    pieces = re.split(r"^\*\*(\d)\.\*\* ", exercises, flags=re.MULTILINE)[1:]
    assert pieces[::2] == ["1", "2", "3"]
    assert [len(lessons.ANSWER.findall(text)) for text in pieces[1::2]] == [1, 1, 1]


@by_lesson
def test_lines_of_prose_are_no_longer_than_the_page(path):
    assert max(map(len, lessons.read(path).body.splitlines())) <= 160


def ending_of(path):
    """The test that a lesson runs and ends in its number."""

    @pytest.mark.slow
    def test(tmp_path):
        # In a process of its own, without the strictness of other tests, as a reader runs it.
        environment = {key: x for key, x in os.environ.items() if key != "XLA_FLAGS"}
        environment |= {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
        command = [sys.executable, "-P", "-m", "tests.support.lessons", str(path)]
        done = subprocess.run(
            command, env=environment, cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr[-2000:]
        number = json.loads(done.stdout.splitlines()[-1])["answer"]
        low, high = lessons.read(path).range
        assert low <= number <= high
        assert not list(tmp_path.iterdir())

    return test


# A test for each: of the cases of one slow test, `scripts/test --all` runs but a few.
for _path in PATHS:
    globals()[f"test_lesson_{_path.stem}_ends_in_its_number"] = ending_of(_path)
