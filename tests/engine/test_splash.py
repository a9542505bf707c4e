"""Splash attention, interpreted, against the definition; and that it lowers for a TPU."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax.core import masks, normalizers
from attention_jax.engine import reference, splash, splash_kernels
from attention_jax.engine.request import make_request

B, T, S, H, G, D, E = 2, 150, 200, 4, 2, 8, 6
LENGTHS = np.asarray([9, 150], np.int32)

MASKS = {
    "full": None,
    "causal": masks.causal,
    "window": masks.causal & masks.sliding_window(5),
    "heads": lambda b, h, i, j: (j <= i) | (h == 1),
    "empty rows": lambda b, h, i, j: (i > 140) & (j > 3),
}


@pytest.fixture(autouse=True)
def several_blocks(monkeypatch):
    """In lengths that a test has time for."""
    monkeypatch.setattr(splash_kernels, "BLOCK", 128)


@pytest.fixture
def arrays(draw):
    return draw(B, T, H, D), draw(B, S, G, D), draw(B, S, G, E)


def kernel(q, k, v, *, interpret=True, **asked):
    return splash.run(make_request(q, k, v, **asked), interpret=interpret)


def expected(q, k, v, **asked):
    return reference.run(make_request(q, k, v, **asked))


def compare(arrays, weights, tolerance=(1e-4, 1e-5), **asked):
    """Outputs and gradients of both; gives those of the kernel."""

    def run(attend, *qkv):
        def loss(*qkv):
            out = attend(*qkv, **asked)
            return (out.astype(jnp.float32) * weights).sum(), out

        (_, out), gradients = jax.value_and_grad(loss, (0, 1, 2), has_aux=True)(*qkv)
        return out, *gradients

    got, wanted = (jax.jit(run, static_argnums=0)(f, *arrays) for f in (kernel, expected))
    for x, y in zip(got, wanted, strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_allclose(np.float32(x), np.float32(y), *tolerance)
    return got


@pytest.mark.slow
@pytest.mark.parametrize("mask", ["full", "causal", "window", "heads"])
def test_output_and_gradients_are_those_of_the_definition(mask, arrays, draw):
    compare(arrays, draw(B, T, H, E), mask=MASKS[mask])


@pytest.mark.slow
@pytest.mark.parametrize(("h", "g", "t", "s"), [(3, 3, 260, 70), (2, 1, 1, 128)])
def test_heads_and_lengths_are_free(h, g, t, s, draw):
    arrays = draw(1, t, h, D), draw(1, s, g, D), draw(1, s, g, D)
    compare(arrays, draw(1, t, h, D), mask=masks.sliding_window(100))


@pytest.mark.slow
def test_offsets_count(arrays, draw):
    """Also those that leave the first queries nothing."""
    asked = dict(query_offset=jnp.int32(30), key_offset=50)
    out, *_ = compare(arrays, draw(B, T, H, E), mask=masks.causal, **asked)
    assert not out[:, :20].any() and out[:, 20:].any()


@pytest.mark.slow
def test_a_row_that_sees_nothing_is_zero_and_so_is_its_gradient(arrays, draw):
    """Also where such rows fill blocks, or share them with others."""
    out, dq, dk, dv = compare(arrays, draw(B, T, H, E), mask=MASKS["empty rows"])
    assert not out[:, :141].any() and not dq[:, :141].any()
    assert not dk[:, :4].any() and not dv[:, :4].any()


@pytest.mark.slow
def test_half_precision_comes_back_as_it_came(arrays, draw):
    half = [x.astype(jnp.bfloat16) for x in arrays]
    compare(half, draw(B, T, H, E), (0.05, 0.05), mask=masks.causal)


@pytest.mark.slow
def test_blocks_of_the_usual_size(draw, monkeypatch):
    monkeypatch.setattr(splash_kernels, "BLOCK", 512)
    assert splash_kernels.block_sizes(600, 1100, 64) == (384, 384)
    assert splash_kernels.block_sizes(600, 1100, 300) == (256, 256)
    arrays = draw(1, 600, 2, D), draw(1, 1100, 1, D), draw(1, 1100, 1, E)
    compare(arrays, draw(1, 600, 2, E), mask=masks.causal | masks.prefix(300))


@pytest.mark.sampled(2)
@pytest.mark.parametrize("mask", MASKS)
def test_it_lowers_for_a_tpu(mask, arrays):
    dtype = jnp.bfloat16 if mask == "causal" else jnp.float32

    def loss(*qkv):
        return kernel(*qkv, mask=MASKS[mask], interpret=False).astype(jnp.float32).sum()

    traced = jax.jit(jax.grad(loss, (0, 1, 2))).trace(*(x.astype(dtype) for x in arrays))
    try:
        program = traced.lower(lowering_platforms=("tpu",)).as_text()
    except (ImportError, NotImplementedError) as error:
        pytest.skip(f"this JAX cannot lower for a TPU that is not there: {error}")
    assert program.count("@tpu_custom_call") == 3


@pytest.fixture
def on_tpu(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")


def refusal(arrays, **asked):
    return splash.refuse(make_request(*arrays, **asked))


@pytest.mark.usefixtures("on_tpu")
@pytest.mark.parametrize("mask", MASKS)
def test_splash_takes_what_it_can(mask, arrays):
    assert refusal(arrays, mask=MASKS[mask]) is None


@pytest.mark.usefixtures("on_tpu")
@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        (dict(normalizer=normalizers.relu), "`normalizer` must be the softmax for Splash"),
        (dict(score_mod=lambda x, b, h, i, j: x), "`score_mod` must be None for Splash"),
        (
            dict(dropout_rate=0.5, dropout_key=jax.random.key(0)),
            "`dropout_rate` must be 0 for Splash attention; got 0.5.",
        ),
        (dict(return_lse=True), "`return_lse` must be False for Splash attention, whose sums"),
        (dict(mask=masks.lengths(jnp.asarray(LENGTHS))), "it depends on b."),
    ],
)
def test_splash_refuses_what_it_cannot(changed, reason, arrays):
    assert reason in refusal(arrays, **(dict(mask=masks.causal) | changed))


def test_splash_runs_on_tpus_alone(arrays, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert refusal(arrays) == "Splash attention needs a TPU; this is a gpu."


@pytest.mark.usefixtures("on_tpu")
def test_splash_refuses_arrays_that_it_cannot_take():
    def reason(b=1, t=3, s=3, d=8, e=8, dtype=jnp.float32):
        shapes = (b, t, 2, d), (b, s, 2, d), (b, s, 2, e)
        return refusal([jax.ShapeDtypeStruct(x, dtype) for x in shapes], mask=masks.causal)

    assert reason(e=512) is None
    assert "must be all float32 or bfloat16" in reason(dtype=jnp.float16)
    assert reason(e=640) == "Keys and values must be at most 512 wide, to fit a core; got 640."
    assert "takes no empty arrays; got (1, 3, 2, 8) and (1, 0, 2, 8)." in reason(s=0)
    assert "which above 8589934592 pairs takes too long" in reason(t=2**17, s=2**17)


@pytest.mark.usefixtures("on_tpu")
def test_splash_refuses_what_is_not_known_before_the_run(arrays):
    reasons = []

    def run(length, start):
        for mask, offset in ((masks.prefix(length), 0), (masks.causal, start), (None, start)):
            reasons.append(refusal(arrays, mask=mask, query_offset=offset))

    jax.eval_shape(run, jnp.int32(3), jnp.int32(0))
    assert reasons[0] == reasons[1]
    assert "must be known before the run for Splash attention" in reasons[0]
    assert reasons[2] is None


@pytest.mark.slow
def test_traced_offsets_without_a_mask_are_no_matter(arrays):
    run = jax.jit(lambda start: kernel(*arrays, query_offset=start))
    np.testing.assert_allclose(run(jnp.int32(7)), expected(*arrays), rtol=1e-4, atol=1e-5)
