"""Flags of a process are read in one file and in functions called `main`; all else takes values."""

import ast

import pytest

from tests.support.paths import ROOT

FOLDER = ROOT / "experiments"
READER = FOLDER / "common" / "flags.py"
FILES = sorted(path for path in FOLDER.rglob("*.py") if path != READER)


def readers(tree: ast.AST, *, inside_main: bool = False) -> list[int]:
    """Lines that read `FLAGS` outside of a function called `main`."""
    found = []
    for node in ast.iter_child_nodes(tree):
        is_main = isinstance(node, ast.FunctionDef) and node.name == "main"
        named = getattr(node, "id", None) == "FLAGS" or getattr(node, "attr", None) == "FLAGS"
        is_read = named and isinstance(getattr(node, "ctx", None), ast.Load)
        if is_read and not inside_main:
            found.append(node.lineno)
        found += readers(node, inside_main=inside_main or is_main)
    return found


def test_the_readers_of_flags_are_found():
    source = "def main():\n    FLAGS.a\n\ndef other():\n    flags.FLAGS.b\n    return FLAGS\n"
    assert readers(ast.parse(source)) == [5, 6]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_only_main_reads_flags(file):
    found = readers(ast.parse(file.read_text(encoding="utf-8")))
    assert not found, f"{file.name} reads FLAGS at {found}; take a configuration."


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_nothing_is_parsed_at_import(file):
    tree = ast.parse(file.read_text(encoding="utf-8"))
    body = [node for node in tree.body if not isinstance(node, (ast.FunctionDef, ast.ClassDef))]
    body = [node for node in body if not isinstance(node, ast.If)]  # `if __name__ == "__main__"`
    named = {ast.unparse(n) for top in body for n in ast.walk(top) if isinstance(n, ast.Attribute)}
    assert not named & {"sys.argv", "flags.FLAGS"}
    assert not [name for name in named if name.startswith("flags.DEFINE")]
