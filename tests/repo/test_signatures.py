"""Public signatures are short, and say what they take; docstrings begin as the literature does."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.support.paths import ROOT

FOLDERS = ("attention_jax", "experiments")
FILES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
MOST_PARAMETERS = 8
# The front door spells out all that a call may say; ONNX demands the operator's own inputs and
# attributes.
LONGER = {
    "attention_jax/engine/api.py: attention",
    "attention_jax/engine/api.py: plan",
    "attention_jax/engine/onnx_attention.py: attention",
    "attention_jax/engine/onnx_linear_attention.py: linear_attention",
}
MOST_ANY = 15  # in all public signatures of the library; it may only fall


class Function(NamedTuple):
    """A public function or method: where it stands, and its definition."""

    place: str
    definition: ast.FunctionDef


def functions(path: Path) -> Iterator[Function]:
    """The public functions of a file, and the public methods of its public classes."""
    if path.stem.startswith("_") and not path.stem.startswith("__"):
        return
    name = path.relative_to(ROOT).as_posix()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef) and is_public(node.name):
            yield Function(f"{name}: {node.name}", node)
        if isinstance(node, ast.ClassDef) and is_public(node.name):
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef) and is_public(inner.name):
                    yield Function(f"{name}: {node.name}.{inner.name}", inner)


def is_public(name: str) -> bool:
    return not name.startswith("_") or name in ("__init__", "__call__")


def parameters(definition: ast.FunctionDef) -> list[ast.arg]:
    """All parameters but `self` and `cls`."""
    given = definition.args
    found = [*given.posonlyargs, *given.args, *given.kwonlyargs]
    found += [x for x in (given.vararg, given.kwarg) if x]
    return [x for x in found if x.arg not in ("self", "cls")]


def anys(definition: ast.FunctionDef) -> int:
    """How often `Any` stands in the types of a signature."""
    types = [x.annotation for x in parameters(definition)] + [definition.returns]
    nodes = (node for kind in types if kind for node in ast.walk(kind))
    return sum(isinstance(node, ast.Name) and node.id == "Any" for node in nodes)


def docstrings(path: Path) -> Iterator[str]:
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, kinds):
            yield ast.get_docstring(node) or ""


ALL = [function for path in FILES for function in functions(path)]


def test_public_functions_take_few_parameters():
    long = {
        f.place: len(parameters(f.definition))
        for f in ALL
        if len(parameters(f.definition)) > MOST_PARAMETERS and f.place not in LONGER
    }
    assert not long, f"more than {MOST_PARAMETERS} parameters; make a value of some: {long}"


def test_public_signatures_say_what_they_take():
    counts = {f.place: anys(f.definition) for f in ALL if f.place.startswith("attention_jax")}
    found = {place: count for place, count in counts.items() if count}
    assert sum(found.values()) <= MOST_ANY, found


def test_docstrings_begin_with_a_noun_or_an_imperative():
    first = {
        path.relative_to(ROOT).as_posix(): [
            text.splitlines()[0] for text in docstrings(path) if re.match(r"(What|Whether)\b", text)
        ]
        for path in FILES
    }
    wrong = {place: lines for place, lines in first.items() if lines}
    assert not wrong


def test_the_formatter_formats_everything():
    skipped = [
        path.relative_to(ROOT).as_posix()
        for folder in (*FOLDERS, "tests")
        for path in (ROOT / folder).rglob("*.py")
        if re.search(r"#\s*fmt\s*:", path.read_text(encoding="utf-8")) and path != Path(__file__)
    ]
    assert not skipped
