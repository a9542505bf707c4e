"""Reasons for which the kernels of other libraries refuse a request."""

import jax
import jax.numpy as jnp
import pytest

from attention_jax.core import masks, normalizers, positions
from attention_jax.engine import cudnn, tokamax
from attention_jax.engine.request import make_request


@pytest.fixture
def narrow(draw):
    return tuple(x.astype(jnp.bfloat16) for x in (draw(2, 5, 4, 16), *[draw(2, 5, 2, 16)] * 2))


@pytest.fixture(params=[cudnn, tokamax], ids=["cudnn", "tokamax"])
def refuse(request, monkeypatch):
    """`(q, k, v, **asked)`: the refusal of one of them on a GPU, where it is installed."""
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(tokamax, "find_spec", lambda name: name)
    return lambda *arrays, **asked: request.param.refuse(make_request(*arrays, **asked))


def test_full_and_causal_attention_is_taken(refuse, narrow):
    assert refuse(*narrow) is None
    assert refuse(*narrow, mask=masks.causal, query_offset=2, key_offset=2) is None


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (dict(score_mod=positions.alibi(heads=4)), "`score_mod` must be None"),
        (dict(mask=masks.sliding_window(3)), "`mask` must be None or"),
        (dict(mask=masks.causal, query_offset=1), "as many queries as keys"),
        (dict(mask=masks.causal, query_offset=jnp.int32(0)), "known position"),
        (dict(dropout_rate=0.5, dropout_key=jax.random.key(0)), "`dropout_rate` must be 0"),
        (dict(return_lse=True), "`return_lse` must be False"),
        (dict(normalizer=normalizers.relu), "`normalizer` must be"),
    ],
)
def test_they_say_what_they_cannot_do(refuse, asked, reason, narrow):
    assert reason in refuse(*narrow, **asked)


def test_they_say_where_they_cannot_run(refuse, narrow, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "cpu")
    assert "this is a cpu" in refuse(*narrow)


def test_they_say_which_arrays_they_cannot_read(refuse, narrow):
    q, k, v = narrow
    assert "got bfloat16, float32" in refuse(q, k, v.astype(jnp.float32))
    assert "no empty arrays" in refuse(q[:, :0], k, v)
    assert "as many queries as keys" in refuse(q[:, :3], k, v, mask=masks.causal)
