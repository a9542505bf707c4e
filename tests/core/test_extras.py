"""Missing optional packages: one line, with the command; everything else passes through."""

import configparser
import re

import pytest

from attention_jax.core.extras import needed
from tests.support.paths import ROOT


def test_a_missing_package_is_named_with_its_command():
    with pytest.raises(ImportError) as error:
        with needed("train"):
            import no_such_package.inside  # noqa: F401
    assert str(error.value) == (
        'no_such_package is not installed. Install it with: pip install "attention_jax[train]"'
    )
    assert error.value.name == "no_such_package"


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
