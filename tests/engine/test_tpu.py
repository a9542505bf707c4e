"""All that `attention` chooses on a TPU lowers for one, without it: forward and gradients."""

import jax
import jax.numpy as jnp
import pytest

from attention_jax import attention, plan, variants
from attention_jax.core import masks, normalizers, positions, scores
from attention_jax.core.types import Options
from attention_jax.engine import prepared
from attention_jax.variants._by_queries import by_queries

IDS = jnp.asarray([[0] * 100 + [1] * 156, [0] * 30 + [1] * 226])
FILLED = jnp.asarray([200, 70], jnp.int32)


def half_cap(score, b, h, i, j):
    return 2 * jnp.tanh(score / 2)


# What is asked, the dtype, queries and keys; and what is picked for it.
CALLS = {
    "plain": ({}, jnp.bfloat16, 256, 256, "splash"),
    "causal": (dict(mask=masks.causal), jnp.bfloat16, 256, 256, "splash"),
    "window": (dict(mask=masks.sliding_window(40)), jnp.float32, 256, 256, "splash"),
    "sums": (dict(mask=masks.causal, return_lse=True), jnp.bfloat16, 256, 256, "blockwise"),
    "alibi": (dict(score_mod=positions.alibi(heads=4)), jnp.bfloat16, 256, 256, "blockwise"),
    "soft cap": (dict(mask=masks.causal, score_mod=half_cap), jnp.float32, 256, 256, "blockwise"),
    "documents": (dict(mask=masks.documents(IDS, IDS)), jnp.bfloat16, 256, 256, "blockwise"),
    "cosine": (dict(score=scores.cosine()), jnp.bfloat16, 256, 256, "blockwise"),
    "relu": (dict(normalizer=normalizers.relu), jnp.float32, 256, 256, "blockwise"),
    "sparsemax": (dict(normalizer=normalizers.sparsemax), jnp.float32, 64, 64, "blockwise"),
    "dropout": (
        dict(dropout_rate=0.1, dropout_key=jax.random.key(0)),
        jnp.bfloat16,
        256,
        256,
        "blockwise",
    ),
    "decoding": (dict(mask=masks.lengths(FILLED)), jnp.bfloat16, 1, 256, "blockwise"),
    "decoding, plain": ({}, jnp.bfloat16, 1, 256, "splash"),
    "short": (dict(score_mod=half_cap), jnp.float32, 64, 64, "dense"),
}


@pytest.fixture(autouse=True)
def on_tpu(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    # A call that was made before keeps its implementation.
    monkeypatch.setattr(prepared, "_CALLS", prepared.Kept(8))


def lowered(function, *arrays):
    """The program of a function for a TPU, as `jax.export` writes it."""
    try:
        return jax.export.export(jax.jit(function), platforms=("tpu",))(*arrays).mlir_module()
    except ImportError as error:
        pytest.skip(f"this JAX cannot lower for a TPU that is not there: {error}")


def total(function):
    """The sum of all results of a function, in float32."""

    def loss(*arrays):
        results = jax.tree.leaves(function(*arrays))
        return sum(jnp.where(jnp.isfinite(x), x, 0).astype(jnp.float32).sum() for x in results)

    return loss


@pytest.mark.parametrize("name", CALLS)
def test_what_attention_chooses_lowers(name):
    asked, dtype, t, s, chosen = CALLS[name]
    qkv = [jax.ShapeDtypeStruct((2, n, h, 64), dtype) for n, h in ((t, 4), (s, 2), (s, 2))]
    assert plan(*qkv, **asked).implementation == chosen
    run = lambda *qkv: attention(*qkv, **asked)  # noqa: E731
    kernels = 1 if chosen == "splash" else 0
    assert lowered(run, *qkv).count("@tpu_custom_call") == kernels
    gradient = lowered(jax.grad(total(run), (0, 1, 2)), *qkv)
    assert gradient.count("@tpu_custom_call") == 3 * kernels


LINEAR = ("linear", "cosformer", "performer", "retention", "gated_linear", "delta")
LINEAR += ("gated_delta(gates='key')",)
OF_INPUT = ("mamba2", "delta_product", "kda", "rwkv7", "path", "log_linear", "ttt", "titans")


@pytest.mark.sampled(5)
@pytest.mark.parametrize("name", LINEAR + OF_INPUT)
def test_the_linear_family_lowers(name):
    """The whole sequence, its gradients, and a step of decoding."""
    variant = by_queries(variants.get(name))
    params = variant.init(jax.random.key(0), heads=4, kv_heads=4, head_width=32)
    qkv = [jax.ShapeDtypeStruct((2, 256, 4, 32), jnp.bfloat16)] * 3
    run = lambda *qkv: variant.attend(params, *qkv, Options(mask=masks.causal))  # noqa: E731
    assert "func" in lowered(run, *qkv)
    assert "func" in lowered(jax.grad(total(run), (0, 1, 2)), *qkv)
    sizes = dict(heads=4, kv_heads=4, head_width=32, value_width=32, dtype=jnp.bfloat16)
    state = jax.eval_shape(lambda: variant.start(params, 2, 256, **sizes))
    one = [jax.ShapeDtypeStruct((2, 4, 32), jnp.bfloat16)] * 3
    assert "func" in lowered(lambda state, *qkv: variant.step(params, state, *qkv), state, *one)
