"""Missing optional packages: one line, with the command; everything else passes through."""

import ast
import configparser
import re
import sys

import pytest

from attention_jax.core.extras import message, needed
from tests.support.paths import ROOT


def test_a_missing_package_is_named_with_its_command(monkeypatch):
    monkeypatch.setattr(sys, "prefix", "/usr")
    with pytest.raises(ImportError) as error:
        with needed("train"):
            import no_such_package.inside  # noqa: F401
    assert str(error.value) == (
        'no_such_package is not installed. Install it with: pip install "attention_jax[train]"'
    )
    assert error.value.name == "no_such_package"


def test_the_environment_of_a_checkout_is_extended_by_its_script(monkeypatch):
    monkeypatch.setattr(sys, "prefix", str(ROOT / ".venv-3.12"))
    assert message("ray", "ray") == (
        f"ray is not installed. Install it with: EXTRAS=ray {ROOT}/scripts/demo --list"
    )
    monkeypatch.setattr(sys, "prefix", str(ROOT.parent / "elsewhere" / ".venv"))
    assert message("ray", "ray").endswith('pip install "attention_jax[ray]"')


def test_what_is_installed_is_imported():
    with needed("train"):
        import json
    assert json.loads("1") == 1


def test_other_errors_pass_through():
    with pytest.raises(ZeroDivisionError), needed("train"):
        _ = 1 / 0
    # A module of the library that is missing is a fault of the library, which no extra mends.
    with pytest.raises(ModuleNotFoundError, match="attention_jax.nowhere"), needed("train"):
        import attention_jax.nowhere  # noqa: F401


def extras() -> dict[str, str]:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    return dict(config["options.extras_require"])


def test_every_extra_that_is_asked_for_exists():
    files = [*(ROOT / "attention_jax").rglob("*.py"), *(ROOT / "experiments").rglob("*.py")]
    text = "".join(path.read_text(encoding="utf-8") for path in files)
    asked = set(re.findall(r'\bneeded\("([^"]*)"\)', text))
    asked |= set(re.findall(r"attention_jax\[(\w+)\]", text))
    assert asked <= set(extras()), asked - set(extras())


# Packages whose name at import is not that at installation.
NAMES = {"orbax": "orbax-checkpoint", "PIL": "pillow", "sklearn": "scikit-learn"}
BROUGHT = {"markupsafe", "pyarrow"}  # by Jinja and datasets


def imported(node: ast.AST) -> set[str]:
    """The packages that the imports inside a node name."""
    found = set()
    for inner in ast.walk(node):
        if isinstance(inner, ast.Import):
            found |= {alias.name.split(".")[0] for alias in inner.names}
        elif isinstance(inner, ast.ImportFrom) and inner.module:
            found.add(inner.module.split(".")[0])
    return found


@pytest.mark.slow
def test_an_extra_brings_what_is_imported_under_its_name():
    for path in (ROOT / "attention_jax").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.With) and re.match(
                r"(extras\.)?needed\(", ast.unparse(node)[5:]
            ):
                (extra,) = node.items[0].context_expr.args
                brought = re.findall(r"^([\w-]+)", extras()[extra.value], re.MULTILINE)
                wanted = {NAMES.get(name, name) for name in imported(node) - BROUGHT}
                assert wanted <= set(brought), (path, extra.value)


@pytest.mark.slow
def test_what_extras_bring_is_imported_under_their_name():
    brought = set(re.findall(r"^([\w-]+)", "".join(extras().values()), re.MULTILINE))
    optional = {name for name in [*NAMES, *brought] if NAMES.get(name, name) in brought}
    for path in (ROOT / "attention_jax").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        guarded = {
            name
            for node in ast.walk(tree)
            if isinstance(node, ast.With) and "needed(" in ast.unparse(node.items[0])
            for name in imported(node)
        }
        # `analysis/plots/__init__.py` guards all of its folder; `plan` asks for tokamax by itself.
        found = (imported(tree) & optional) - guarded - {"attention_jax", "jax", "tokamax"}
        assert found <= ({"matplotlib"} if path.parent.name == "plots" else set()), path
