"""Imports follow the order of rooms, without cycles, and heavy libraries have owners."""

import ast
from pathlib import Path

import pytest

from tests.support.paths import ROOT

PACKAGE = "attention_jax"

# A room may import the rooms named beside it, and itself without a cycle.
MAY_IMPORT = {
    "core": "",
    "engine": "core",
    "variants": "core engine",
    "nn": "core engine variants",
    "models": "core engine variants nn",
    "parallel": "core engine",
    "data": "core",
    "decoding": "core data parallel nn/protocols",
    "training": "core data decoding parallel nn/protocols",
    "evaluation": "core data decoding parallel training nn/protocols",
    "pretrained": "core variants nn models parallel data",
    "analysis": "core variants nn models data decoding evaluation",
}
# The one place that may import each; "" for none of the library.
OWNERS = {
    "absl": "",
    "aiohttp": "",
    "experiments": "",
    "matplotlib": "analysis/plots",
    "jinja2": "analysis/pages",
    "orbax": "training/checkpoints",
    "datasets": "data/pairs/hugging_face",
    "pyarrow": "data/pairs/hugging_face",
    "grain": "data/batching",
    "PIL": "data/images",
    "sklearn": "data/images",
    "tokenizers": "data/tokenizer",
    "sentencepiece": "data/tokenizer/backends",
    "sacrebleu": "evaluation/text",
    "rapidfuzz": "evaluation/error_rates",
    "safetensors": "pretrained",
    "gguf": "pretrained",
    "soundfile": "data/audio/wav",
    "jax2onnx": "models/exported/onnx",
    "onnxruntime": "models/exported/onnx",
}
FILES = sorted((ROOT / PACKAGE).rglob("*.py"))


def place(file: Path) -> str:
    """`core/masks` for attention_jax/core/masks.py, `core` for its __init__."""
    path = file.relative_to(ROOT / PACKAGE).with_suffix("")
    return (path.parent if path.name == "__init__" else path).as_posix()


PLACES = {place(file) for file in FILES}


def imports(source: str) -> list[str]:
    """The dotted names that a file imports, wherever in it they stand."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "Write imports in full: they are easier to find."
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


def needs(file: Path) -> set[str]:
    """The places of the library that a file imports."""
    found = set()
    for name in imports(file.read_text(encoding="utf-8")):
        top, *parts = name.split(".")
        if top == PACKAGE:
            while parts and "/".join(parts) not in PLACES:
                parts.pop()
            found.add("/".join(parts) or ".")
    return found - {place(file)}


def is_inside(inner: str, outer: str) -> bool:
    return inner == outer or inner.startswith(f"{outer}/")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_imports_follow_the_order_of_rooms(file):
    own = place(file)
    room = own.split("/")[0]
    if file.parent == ROOT / PACKAGE:
        return  # the front door and the command line import what they offer
    assert room in MAY_IMPORT, f"{room}/ is a new room: say in MAY_IMPORT what it may import."
    allowed = [room, *MAY_IMPORT[room].split()]
    for name in needs(file):
        assert any(is_inside(name, one) for one in allowed), (
            f"{own} must not import {name}; {room} may import {', '.join(allowed)}."
        )
    for name in imports(file.read_text(encoding="utf-8")):
        owner = OWNERS.get(name.split(".")[0])
        assert owner is None or (owner and is_inside(own, owner)), (
            f"{own} must not import {name}; that belongs to {owner or 'experiments'}."
        )


def test_no_file_is_needed_by_what_it_needs():
    graph = {place(file): needs(file) for file in FILES}
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, f"a cycle: {' -> '.join((*path, name))}"
        if name not in done:
            for other in graph[name]:
                visit(other, (*path, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_the_top_level_shows_the_plan():
    entries = {path.name for path in (ROOT / PACKAGE).iterdir()} - {"__pycache__", "py.typed"}
    assert len(entries) <= 14
    rooms = {name for name in entries if (ROOT / PACKAGE / name).is_dir()}
    assert rooms == set(MAY_IMPORT)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_a_file_fits_in_the_head(file):
    assert len(file.read_text(encoding="utf-8").splitlines()) <= 400


def longest_body(tree: ast.AST) -> tuple[int, str]:
    """Lines of the longest function body, docstring apart, and the function's name."""
    found = [(0, "")]
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[ast.get_docstring(node) is not None :]
            if body:
                first = min(x.lineno for x in (body[0], *getattr(body[0], "decorator_list", ())))
                found.append((body[-1].end_lineno - first + 1, node.name))
    return max(found)


def test_a_body_is_counted_without_its_docstring():
    source = 'def f():\n    """One.\n\n    Two."""\n    @g\n    def h(): ...\n\n    return h\n'
    assert longest_body(ast.parse(source)) == (4, "f")


@pytest.mark.parametrize("folder", [PACKAGE, "experiments", "scripts"])
def test_a_body_fits_on_a_screen(folder):
    for file in (ROOT / folder).rglob("*.py"):
        lines, name = longest_body(ast.parse(file.read_text(encoding="utf-8")))
        assert lines <= 30, f"{name} of {file.relative_to(ROOT)} has {lines} lines"


def test_variants_do_not_import_each_other():
    for file in (ROOT / PACKAGE / "variants").glob("*.py"):
        if not file.stem.startswith("_"):
            others = [n for n in needs(file) if n.startswith("variants/")]
            assert all(is_inside(name, "variants/_builders") for name in others), (file, others)
