"""Private names of JAX are read in one file, which says why."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ALLOWED = {"attention_jax/core/varying.py"}


def modules(text):
    """Modules that a file imports, or from which it imports a name."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{name.name}" for name in node.names)


def private(text):
    return [m for m in modules(text) if m.startswith("jax") and "._" in m]


@pytest.mark.parametrize("folder", ["attention_jax", "experiments"])
def test_no_other_file_imports_them(folder):
    paths = (ROOT / folder).rglob("*.py")
    found = {str(p.relative_to(ROOT)) for p in paths if private(p.read_text())}
    assert found <= ALLOWED
    assert folder != "attention_jax" or found == ALLOWED  # a list that outlived its reason


def test_private_modules_are_told_from_public_ones():
    assert private("from jax._src import config\nimport jax._src.core as c")
    assert not private("import jax\nfrom jax.extend.core import Jaxpr\nimport jax.numpy as jnp")
