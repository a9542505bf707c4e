"""The kernel for Hopper, interpreted against the definition; that it lowers; and its refusals."""

import re
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import attention, plan
from attention_jax.core import masks, normalizers, positions
from attention_jax.engine import mosaic, reference
from attention_jax.engine.request import make_request
from tests.support.absent_devices import gpu

pytestmark = pytest.mark.skipif(
    jax.__version_info__ < (0, 12), reason="the kernel is written for JAX 0.12 and later"
)


def soft_cap(score, b, h, i, j):
    return 5 * jnp.tanh(score / 5)


CASES = {
    "full": {},
    "causal, capped": dict(mask=masks.causal, score_mod=soft_cap),
    "window": dict(mask=masks.causal & masks.sliding_window(70)),
    "alibi": dict(score_mod=positions.alibi(heads=2), query_offset=3),
    "empty rows": dict(mask=lambda b, h, i, j: (i > 40) & (j <= i)),
    "traced": dict(mask=masks.causal, query_offset=jnp.int32(5)),
}


def arrays(draw, t=128, s=128, h=2, g=1, d=64, dtype=jnp.bfloat16):
    return [x.astype(dtype) for x in (draw(1, t, h, d), draw(1, s, g, d), draw(1, s, g, d))]


def interpreted(*qkv, **asked):
    return mosaic.run(make_request(*qkv, return_lse=True, **asked), interpret=True)


def definition(*qkv, **asked):
    return reference.run(make_request(*qkv, return_lse=True, **asked))


def close(got, wanted, tolerance=0.03):
    for x, y in zip(jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(np.float32(x), np.float32(y), rtol=tolerance, atol=tolerance)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_output_and_sums_are_those_of_the_definition(name, draw):
    """In three blocks of keys, of which two are in memory at once; races are looked for."""
    qkv = arrays(draw, t=128, s=384)
    run = (jax.jit(lambda *x, f=f: f(*x, **CASES[name])) for f in (interpreted, definition))
    (out, lse), wanted = (f(*qkv) for f in run)
    assert out.dtype == jnp.bfloat16 and lse.dtype == jnp.float32
    close((out, lse), wanted)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["full", "causal, capped", "empty rows", "traced"])
def test_gradients_are_those_of_the_definition(name, draw):
    """Of two heads over one, in more blocks than are in memory at once."""
    qkv, weights = arrays(draw, t=256, s=256, dtype=jnp.float16), draw(1, 256, 2, 64)

    def loss(attend):
        def of(*x):
            out, lse = attend(*x, **CASES[name])
            lse = jnp.where(jnp.isfinite(lse), lse, 0)
            return (out.astype(jnp.float32) * weights).sum() + lse.sum()

        return jax.jit(jax.grad(of, (0, 1, 2)))

    gradients = loss(interpreted)(*qkv)
    assert all(x.dtype == jnp.float16 for x in gradients)
    close(gradients, loss(definition)(*qkv), 0.01)


@pytest.mark.slow
def test_vmap_runs_one_after_another(draw):
    q, k, v = arrays(draw)
    many = jnp.stack([q, 2 * q])
    got, wanted = (
        jax.jit(jax.vmap(lambda q, f=f: f(q, k, v, mask=masks.causal)))(many)
        for f in (interpreted, definition)
    )
    close(got, wanted)


@pytest.mark.parametrize("width", [64, 128])
@pytest.mark.parametrize("name", CASES)
def test_it_lowers_for_a_gpu(name, width, draw):
    qkv = arrays(draw, t=256, s=384, d=width)

    def loss(*x):
        out, lse = mosaic.run(make_request(*x, return_lse=True, **CASES[name]))
        return out.astype(jnp.float32).sum() + jnp.where(jnp.isfinite(lse), lse, 0).sum()

    with gpu():
        program = jax.jit(jax.grad(loss, (0, 1, 2))).trace(*qkv)
        program = program.lower(lowering_platforms=("cuda",)).as_text()
    assert program.count("@mosaic_gpu_v2") == 3 and "triton" not in program


@pytest.fixture
def hopper(monkeypatch):
    device = SimpleNamespace(compute_capability="9.0")
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(jax, "devices", lambda: [device])
    return device


def looked_up(b, h, i, j):
    return jnp.arange(512)[i] >= j


REFUSED = [
    ({}, dict(dtype=jnp.float32), "must be all bfloat16 or float16 for Mosaic; got float32"),
    ({}, dict(d=96), "both 64 or both 128 wide for Mosaic; got 96 and 96"),
    ({}, dict(t=100), "multiples of 128 queries and keys; got 100 and 128"),
    (dict(normalizer=normalizers.relu), {}, "must be the softmax for Mosaic"),
    (dict(dropout_rate=0.1, dropout_key=jax.random.key(0)), {}, "must be 0 for Mosaic; got 0.1"),
    (dict(mask=looked_up), {}, "`mask` looks up an array at the position of a query or a key"),
    (dict(score_mod=lambda x, b, h, i, j: jnp.log1p(x)), {}, "`score_mod` uses `log1p`"),
]


@pytest.mark.usefixtures("hopper")
@pytest.mark.parametrize(("asked", "changed", "reason"), REFUSED)
def test_it_says_what_it_cannot_do(asked, changed, reason, draw):
    assert re.search(reason, mosaic.refuse(make_request(*arrays(draw, **changed), **asked)))


@pytest.mark.parametrize("name", CASES)
def test_it_takes_what_it_lowers_where_it_is_named(name, hopper, draw):
    qkv = arrays(draw)
    assert mosaic.refuse(make_request(*qkv, **CASES[name])) is None
    told = plan(*qkv, implementation="mosaic", **CASES[name])
    assert told.block_sizes == (128, 128)
    assert plan(*qkv, **CASES[name]).implementation != "mosaic"
    hopper.compute_capability = "8.0"
    assert "this one has 8.0" in mosaic.refuse(make_request(*qkv, **CASES[name]))


def test_it_runs_on_gpus_alone(draw):
    with pytest.raises(ValueError, match="needs a Hopper GPU; this is a cpu"):
        attention(*arrays(draw), implementation="mosaic")
