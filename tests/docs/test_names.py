"""Every public name has a place in the site."""

import importlib
import inspect
import pkgutil
import re

import pytest

import attention_jax
from docs.site import api, docstrings, names

ROOMS = sorted(x.name for x in pkgutil.iter_modules(attention_jax.__path__) if x.ispkg)
WITHOUT_DOCSTRING = 26  # it may only fall


def documented():
    """Full names of the directives on all pages, and the pages' modules."""
    texts = [*api.pages().values()]
    texts += [api.described(x) for x in names.public_modules() if x.page.startswith("variants/")]
    found = set()
    for text in texts:
        home = ""
        for kind, name in re.findall(r"^[`~]{3,}\{py:(\w+)\} ([\w.]+)", text, re.MULTILINE):
            if kind in ("module", "currentmodule"):
                home = name
            elif kind in ("function", "class", "data"):
                found.add(f"{home}.{name}")
    return found | set(names.modules())


DOCUMENTED = documented()


def test_all_public_names_are_documented():
    wanted = names.public_names()
    missing = {name for name, place in wanted.items() if place not in DOCUMENTED}
    assert len(wanted) > 1000 and not missing


@pytest.mark.parametrize("room", ["", *ROOMS])
def test_what_python_imports_is_documented(room):
    """The names of `__all__`, by where Python says that each was defined."""
    module = importlib.import_module(f"attention_jax.{room}".rstrip("."))
    for name in getattr(module, "__all__", ()):
        value = getattr(module, name)
        if inspect.ismodule(value):
            full = value.__name__
        elif inspect.isclass(value) or inspect.isfunction(value):
            full = f"{value.__module__}.{value.__qualname__}"
        else:
            continue
        own = f"{module.__name__}.{name}"
        assert {full, names.shown(own)} & DOCUMENTED, own


def test_a_name_without_a_page_is_found():
    coverage = pytest.importorskip("docs.site.coverage", reason="needs the extra `docs`")
    there = DOCUMENTED - {"attention_jax.engine.api.attention"}
    assert not coverage.missing(DOCUMENTED)
    assert coverage.missing(there) == [
        "attention_jax.attention",
        "attention_jax.engine.api.attention",
    ]


def test_docstrings_are_there():
    import ast

    own = {place for name, place in names.public_names().items() if name == place}
    nodes = {name: names.definition(name) for name in own - set(names.modules())}
    bare = [name for name, node in nodes.items() if node and not ast.get_docstring(node)]
    assert len(bare) <= WITHOUT_DOCSTRING, bare


def test_a_docstring_as_markdown():
    text = """Claim of `x_1` * 2, with [braces].

    y = x_1

More words.

Args:
  first, second: of the pair;
    both.
  third: 3.

Reference: Press 2022, arXiv:2108.12409.

>>> 1 + 1
2
"""
    assert docstrings.myst(text) == (
        "Claim of `x_1` \\* 2, with \\[braces\\].\n\n```text\ny = x_1\n```\n\nMore words.\n\n"
        "**Args:**\n\n- `first`, `second`: of the pair; both.\n- `third`: 3.\n\n"
        "Reference: Press 2022, [arXiv:2108.12409](https://arxiv.org/abs/2108.12409).\n\n"
        "```pycon\n>>> 1 + 1\n2\n```"
    )
