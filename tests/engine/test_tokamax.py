"""Where tokamax is refused, and its kernel that runs on a CPU against the definition."""

import sys
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from attention_jax import attention
from attention_jax.core import masks
from attention_jax.engine import tokamax
from attention_jax.engine.request import make_request


def test_tokamax_is_named_only_where_it_is_installed(draw, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(tokamax, "find_spec", lambda name: None)
    request = make_request(draw(2, 5, 4, 16), draw(2, 5, 2, 16), draw(2, 5, 2, 16))
    assert "pip install attention_jax[gpu]" in tokamax.refuse(request)


def test_tokamax_gets_the_scale_and_the_mask(draw, monkeypatch):
    got = {}
    there = SimpleNamespace(dot_product_attention=lambda *x, **given: got.update(given) or x[0])
    monkeypatch.setitem(sys.modules, "tokamax", there)
    arrays = draw(2, 5, 4, 16), draw(2, 5, 2, 16), draw(2, 5, 2, 16)
    tokamax.run(make_request(*arrays, score=lambda q, k: (q @ k) / 2))
    assert got == dict(scale=0.5, is_causal=False, implementation=None)
    tokamax.run(make_request(*arrays, mask=masks.causal))
    assert got == dict(scale=0.25, is_causal=True, implementation=None)


@pytest.mark.parametrize("mask", [None, masks.causal], ids=["full", "causal"])
def test_tokamax_gives_the_definition(mask, draw):
    """By its form in XLA, which takes the same arguments as its kernels do."""
    pytest.importorskip("tokamax")
    arrays = draw(2, 40, 4, 16), draw(2, 40, 2, 16), draw(2, 40, 2, 8)
    request = make_request(*arrays, mask=mask, score=lambda q, k: (q @ k) / 4)
    got = tokamax.run(request, kernel="xla_chunked")
    np.testing.assert_allclose(got, attention(*arrays, mask=mask), rtol=1e-5, atol=1e-6)
