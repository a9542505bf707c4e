"""What kernels of other libraries refuse, and that those which run here give the definition."""

import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import attention
from attention_jax.core import masks, positions
from attention_jax.engine import external

PLAIN = dict(
    score_mod=None,
    mask=None,
    normalizer_is_softmax=True,
    dropout_rate=0.0,
    query_offset=0,
    key_offset=0,
    return_lse=False,
)
REFUSALS = {"cudnn": external.cudnn_refusal, "tokamax": external.tokamax_refusal}


@pytest.fixture
def narrow(draw):
    return tuple(x.astype(jnp.bfloat16) for x in (draw(2, 5, 4, 16), *[draw(2, 5, 2, 16)] * 2))


@pytest.fixture(params=REFUSALS)
def refuse(request, monkeypatch):
    """`(q, k, v, **asked)`: the refusal of one of them on a GPU, where it is installed."""
    monkeypatch.setattr(external, "find_spec", lambda name: name)
    return lambda *arrays, **asked: REFUSALS[request.param](
        *arrays, **(PLAIN | {"platform": "gpu"} | asked)
    )


def test_full_and_causal_attention_is_taken(refuse, narrow):
    assert refuse(*narrow) is None
    assert refuse(*narrow, mask=masks.causal, query_offset=2, key_offset=2) is None


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (dict(platform="cpu"), "this is a cpu"),
        (dict(score_mod=positions.alibi(heads=4)), "`score_mod` must be None"),
        (dict(mask=masks.sliding_window(3)), "`mask` must be None or"),
        (dict(mask=masks.causal, query_offset=1), "as many queries as keys"),
        (dict(mask=masks.causal, query_offset=jnp.int32(0)), "known position"),
        (dict(dropout_rate=0.5), "`dropout_rate` must be 0"),
        (dict(return_lse=True), "`return_lse` must be False"),
        (dict(normalizer_is_softmax=False), "`normalizer` must be"),
    ],
)
def test_they_say_what_they_cannot_do(refuse, asked, reason, narrow):
    assert reason in refuse(*narrow, **asked)


def test_they_say_which_arrays_they_cannot_read(refuse, narrow):
    q, k, v = narrow
    assert "got bfloat16, float32" in refuse(q, k, v.astype(jnp.float32))
    assert "no empty arrays" in refuse(q[:, :0], k, v)
    assert "as many queries as keys" in refuse(q[:, :3], k, v, mask=masks.causal)


def test_cudnn_says_which_arrays_it_alone_cannot_read(narrow):
    asked = PLAIN | {"platform": "gpu"}
    wide = [x.astype(jnp.float32) for x in narrow]
    assert "got float32" in external.cudnn_refusal(*wide, **asked)
    q, k, v = narrow
    assert "of one width" in external.cudnn_refusal(q, k, v[..., :8], **asked)


def test_tokamax_is_named_only_where_it_is_installed(narrow, monkeypatch):
    monkeypatch.setattr(external, "find_spec", lambda name: None)
    refusal = external.tokamax_refusal(*narrow, **PLAIN, platform="gpu")
    assert "pip install attention_jax[gpu]" in refusal


@pytest.mark.parametrize("mask", [None, masks.causal], ids=["full", "causal"])
def test_tokamax_gives_the_definition(mask, draw):
    """By its form in XLA, which takes the same arguments as its kernels do."""
    pytest.importorskip("tokamax")
    arrays = draw(2, 40, 4, 16), draw(2, 40, 2, 16), draw(2, 40, 2, 8)
    run = external.tokamax
    got = run(*arrays, scale=0.25, causal=mask is not None, kernel="xla_chunked")
    np.testing.assert_allclose(got, attention(*arrays, mask=mask), rtol=1e-5, atol=1e-6)
