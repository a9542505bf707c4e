"""Implementations are found by their folder, and asked in the order of their rank."""

import ast
import sys
import textwrap
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import attention, engine, plan
from attention_jax.core import masks
from attention_jax.engine.implementation import implementations

MINE = """
    from attention_jax.engine import reference
    from attention_jax.engine.implementation import Implementation, Plan

    IMPLEMENTATION = Implementation(
        "negative",
        rank=1,
        refuse=lambda request: "it takes no mask." if request.mask else None,
        prefer=lambda request: "a test asked for it",
        run=lambda request: -reference.run(request),
        plan=lambda request: Plan("negative", temporary_bytes=7),
    )
"""


@pytest.fixture
def negative(tmp_path, monkeypatch):
    """A folder with one more file, and a part of it that must not be imported."""
    (tmp_path / "negative.py").write_text(textwrap.dedent(MINE))
    (tmp_path / "negative_kernels.py").write_text("raise ImportError")
    monkeypatch.setattr(engine, "__path__", [*engine.__path__, str(tmp_path)])
    implementations.cache_clear()
    yield
    implementations.cache_clear()
    sys.modules.pop("attention_jax.engine.negative", None)


def test_every_implementation_is_found_the_fastest_first():
    names = [x.name for x in implementations()]
    assert names == ["cudnn", "splash", "pallas", "tokamax", "dense", "blockwise", "reference"]
    ranks = [x.rank for x in implementations()]
    assert ranks == sorted(set(ranks))


def test_what_a_kernel_runs_on_is_loaded_where_it_runs():
    """To ask all implementations must be quick, and possible where their back ends are missing."""
    folder = Path(engine.__file__).parent
    for file in folder.glob("*.py"):
        if file.stem.startswith(("pallas_kernels", "pallas_rule", "splash_kernels")):
            continue  # parts, imported by `run`
        tree = ast.parse(file.read_text(encoding="utf-8"))
        names = [x.module or "" for x in tree.body if isinstance(x, ast.ImportFrom)]
        names += [y.name for x in tree.body if isinstance(x, ast.Import) for y in x.names]
        slow = ("jax.experimental", "tokamax", "attention_jax.engine.pallas_kernels")
        assert not [x for x in names if x.startswith(slow)], file


@pytest.mark.usefixtures("negative")
def test_a_new_one_is_a_file(qkv):
    expected = attention(*qkv, implementation="reference")
    for name in ("negative", None):
        np.testing.assert_array_equal(attention(*qkv, implementation=name), -expected)
    told = plan(*qkv)
    assert told == ("negative", "a test asked for it", None, 0.0, 7)
    assert plan(*qkv, mask=masks.causal).implementation == "dense"
    with pytest.raises(ValueError, match="'negative' cannot honor this request: it takes no mask"):
        attention(*qkv, mask=masks.causal, implementation="negative")


def test_every_refusal_is_a_line_and_names_who_can(qkv):
    q, k, v = (x.astype(jnp.bfloat16) for x in qkv)
    with pytest.raises(ValueError) as error:
        attention(q, k, v, implementation="tokamax")
    assert "\n" not in str(error.value)
    assert str(error.value).endswith("dense, blockwise, reference; None picks the fastest of them.")
