import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import variants
from attention_jax.core import masks
from attention_jax.core.types import Options
from attention_jax.variants.location_aware import BLOCK

SIZES = {"heads": 4, "kv_heads": 2, "head_width": 8}
PADDED = jnp.array([[True, True, False, True, True], [False, True, True, True, False]])


def oracle(params, q, k, v, visible, smoothing, sharpness):
    """Equations 8 and 9 of arXiv:1506.07503, one query after another."""
    params = {name: np.asarray(x, np.float64) for name, x in params.items()}
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    out, s = np.zeros((*q.shape[:-1], v.shape[-1])), k.shape[1]
    taps = len(params["filters"])
    for b, h in np.ndindex(q.shape[0], q.shape[2]):
        last = np.zeros(s)
        for t in range(q.shape[1]):
            score = np.zeros(s)
            for j in range(s):
                around = np.zeros(params["filters"].shape[1])
                for m in range(taps):
                    place = j + m - taps // 2
                    if 0 <= place < s:
                        around += params["filters"][m] * last[place]
                hidden = params["w_q"] @ q[b, t, h] + params["w_k"] @ k[b, j, h // 2]
                score[j] = params["w"] @ np.tanh(hidden + params["u"] @ around + params["b"])
            raised = 1 / (1 + np.exp(-score)) if smoothing else np.exp(sharpness * score)
            last = raised * visible[b] / (raised * visible[b]).sum()
            out[b, t, h] = last @ v[b, :, h // 2]
    return out


@pytest.mark.sampled(1)
@pytest.mark.parametrize(
    "options",
    [
        {"taps": 3, "filters": 2},
        {"taps": 5, "filters": 4, "width": 3, "smoothing": True},
        {"sharpness": 2.0},
    ],
)
def test_matches_equations_8_and_9(qkv, draw, options):
    variant = variants.get("location_aware", **options)
    params = variant.init(jax.random.key(0), **SIZES)
    # Of a size that weights far away make themselves felt.
    params |= {name: draw(*params[name].shape) for name in ("b", "filters")}
    got = jax.jit(lambda *x: variant.attend(params, *x, Options(mask=masks.keys(PADDED))))(*qkv)
    smoothing, sharpness = options.get("smoothing", False), options.get("sharpness", 1.0)
    expected = oracle(params, *qkv, np.asarray(PADDED), smoothing, sharpness)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("taps", [7, 201])
def test_many_keys_are_taken_in_blocks(draw, taps):
    """Those on both sides of a border between blocks, and those that fill no block."""
    variant = variants.get("location_aware", taps=taps, filters=2)
    params = variant.init(jax.random.key(0), heads=1, kv_heads=1, head_width=4)
    params["filters"] = draw(taps, 2)
    q, k, v = draw(1, 2, 1, 4), draw(1, 2 * BLOCK + 5, 1, 4), draw(1, 2 * BLOCK + 5, 1, 3)
    got = jax.jit(lambda *x: variant.attend(params, *x))(q, k, v)
    expected = oracle(params, q, k, v, np.ones((1, k.shape[1])), False, 1.0)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"taps": 4}, "`taps` must be odd.* got 4. The nearest below is 3"),
        ({"taps": 0}, "`taps` must be a whole number of at least 1; got 0"),
        ({"filters": 0}, "`filters` must be a whole number of at least 1; got 0"),
        ({"width": 0}, "`width` must be a whole number of at least 1; got 0"),
        ({"sharpness": 0.0}, "`sharpness` must be above 0; got 0.0"),
        ({"sharpness": 2.0, "smoothing": True}, "must be 1.0 with `smoothing`; got 2.0"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        variants.get("location_aware", **options)
