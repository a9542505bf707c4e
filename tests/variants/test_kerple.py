import jax
import numpy as np
import pytest

from attention_jax import variants
from attention_jax.core import masks
from attention_jax.core.types import Options

SIZES = {"heads": 4, "kv_heads": 2, "head_width": 8}


def kernel(form, params, h, distance):
    """The logarithmic and the power variant of arXiv:2205.09921."""
    scale = np.exp(params["log_scale"][h])
    if form == "log":
        return scale * np.log(1 + np.exp(params["log_rate"][h]) * distance)
    return scale * distance ** (2 / (1 + np.exp(-params["logit_exponent"][h])))


@pytest.mark.parametrize("form", ["log", "power"])
def test_matches_its_equation(qkv, draw, form):
    variant = variants.get("kerple", form=form)
    params = {name: draw(4) for name in variant.init(jax.random.key(0), **SIZES)}
    got = jax.jit(variant.attend)(params, *qkv)
    q, k, v = (np.asarray(x, np.float64) for x in qkv)
    params = {name: np.asarray(x, np.float64) for name, x in params.items()}
    for b, t, h in np.ndindex(got.shape[:-1]):
        lowered = kernel(form, params, h, abs(t - np.arange(5.0)))
        weights = np.exp(k[b, :, h // 2] @ q[b, t, h] / np.sqrt(8) - lowered)
        expected = weights @ v[b, :, h // 2] / weights.sum()
        np.testing.assert_allclose(got[b, t, h], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["log", "power"])
def test_gradients_of_the_kernel_match_finite_differences(draw, form):
    variant = variants.get("kerple", form=form)
    with jax.enable_x64(True):
        qkv = [np.asarray(draw(1, 5, 4, 8), np.float64) for _ in range(3)]
        params = variant.init(jax.random.key(0), **SIZES)
        params = {name: np.asarray(x, np.float64) for name, x in params.items()}

        @jax.jit
        def loss(params):
            return (variant.attend(params, *qkv, Options(mask=masks.causal)) ** 2).sum()

        gradient = jax.jit(jax.grad(loss))(params)
        for name, h in ((name, h) for name in params for h in range(4)):
            low, high = (
                loss(params | {name: params[name] + step * (np.arange(4) == h)})
                for step in (-1e-5, 1e-5)
            )
            np.testing.assert_allclose(gradient[name][h], (high - low) / 2e-5, rtol=1e-5, atol=1e-9)


def test_it_starts_where_the_authors_do():
    for form, most in (("log", {"log_scale": 2, "log_rate": 1}), ("power", {"log_scale": 1})):
        params = variants.get("kerple", form=form).init(
            jax.random.key(0), heads=400, kv_heads=1, head_width=1
        )
        for name, high in most.items():
            numbers = np.exp(params[name])
            assert 0.01 <= numbers.min() < 0.1 * high and 0.9 * high < numbers.max() <= high
    exponents = 2 / (1 + np.exp(-params["logit_exponent"]))
    assert 0.01 <= exponents.min() < 0.1 and 1.9 < exponents.max() <= 1.99


def test_other_forms_are_refused(users_errors):
    with pytest.raises(ValueError, match="`form` must be one of 'log', 'power'; got 'linear'"):
        variants.get("kerple", form="linear")
