"""The front door: light, lazy, and usable without the packages of extras."""

import re
import subprocess
import sys

import pytest

import attention_jax as aj
from attention_jax.core.extras import message
from tests.support.paths import ROOT

OF_EXTRAS = (
    "grain jinja2 matplotlib orbax PIL rapidfuzz ray sacrebleu sklearn soundfile tensorboardX "
    "tokamax tokenizers tqdm"
)
WITHOUT = """
import importlib, importlib.abc, sys

class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {names!r}.split():
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
"""


def python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_import_is_light():
    heavy = {"flax", "optax", "chex", "absl", *OF_EXTRAS.split()}
    shown = python(f"import attention_jax, sys; print({heavy} & set(sys.modules))")
    assert shown == "set()\n"


def test_rooms_are_imported_at_first_use():
    assert aj.nn.MultiHeadAttention is sys.modules["attention_jax.nn"].MultiHeadAttention
    assert aj.models.TransformerLM and aj.data.tasks and aj.training.fit
    assert {"nn", "models", "data", "decoding", "training", "evaluation", "analysis"} <= set(
        dir(aj)
    )


def test_the_function_attention_hides_no_module():
    assert callable(aj.attention) and callable(aj.plan)
    with pytest.raises(ModuleNotFoundError):
        __import__("attention_jax.attention")


def test_an_unknown_name_is_refused():
    with pytest.raises(AttributeError, match="'attention_jax' has no attribute 'atention'"):
        aj.atention  # noqa: B018


def test_core_to_models_need_no_extra_and_the_rest_names_its_own():
    code = WITHOUT.format(names=OF_EXTRAS)
    code += """
import attention_jax as aj
aj.nn, aj.models, aj.variants.get("alibi")
importlib.import_module("attention_jax.analysis.variant_info")
for name in ("data", "decoding", "training", "evaluation.text", "analysis.plots"):
    try:
        importlib.import_module(f"attention_jax.{name}")
    except ImportError as error:
        print(f"{name}: {error}")
"""
    lines = python(code).splitlines()
    assert len(lines) == 5
    for line, extra in zip(lines, ["train", "train", "train", "train", "plots"], strict=True):
        package = re.match(r"[\w.]+: (\w+) ", line)[1]
        assert line.split(": ", 1)[1] == message(package, extra)
