import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import variants
from attention_jax.core import masks
from attention_jax.core.types import Options
from attention_jax.variants._builders.inner_steps import Norm
from tests.support import pieces

CAUSAL = Options(mask=masks.causal)
SIZES = {"heads": 4, "kv_heads": 2, "head_width": 8}


def oracle(params, x, q, k, v, *, batch=16, rate=1.0):
    """Section 2 of arXiv:2407.04620, with gradients by central differences."""
    params = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
    x, q, k, v = (np.asarray(a, np.float64) for a in (x, q, k, v))
    (_, _, _, d), e = q.shape, v.shape[-1]
    out = np.zeros((*q.shape[:3], e))
    for b, h in np.ndindex(q.shape[0], q.shape[2]):
        at = h * k.shape[2] // q.shape[2]
        gain, shift = (params[name][h, :e] for name in ("scale", "shift"))

        def f(x, model, gain=gain, shift=shift):
            z = x @ model[:-1] + model[-1]
            return x[:e] + gain * (z - z.mean()) / np.sqrt(z.var() + 1e-6) + shift

        # The last row is the bias.
        model = np.vstack([params["weights"][h, :, :e], params["bias"][None, h, :e]])
        for t in range(q.shape[1]):
            if t % batch == 0:
                before = model
            sigmoid = 1 / (1 + np.exp(-(x[b, t] @ params["rate"][:, h] + params["rate_bias"][h])))

            def loss(model, key=k[b, t, at], value=v[b, t, at], f=f):
                return ((f(key, model) - value) ** 2).sum() / 2

            model = model - rate / d * sigmoid * differences(loss, before)
            out[b, t, h] = f(q[b, t, h], model)
    return out


def differences(loss, model, step=1e-6):
    gradient = np.zeros_like(model)
    for place in np.ndindex(*model.shape):
        moved = np.zeros_like(model)
        moved[place] = step
        gradient[place] = (loss(model + moved) - loss(model - moved)) / (2 * step)
    return gradient


def made(x, **options):
    variant = variants.get("ttt", **options)
    params = variant.init(jax.random.key(0), width=x.shape[-1], **SIZES)
    # A first model of the size that training gives it, and a norm that is not 1.
    params = params | {"weights": 10 * params["weights"], "scale": 0.8 * params["scale"]}
    run = jax.jit(
        lambda params, x, *qkv, options=CAUSAL: variant.attend(
            params, *qkv, options, features=variant.features(params, x)
        ),
        static_argnames="options",
    )
    return variant, params, run


@pytest.mark.sampled(1)
@pytest.mark.parametrize("options", [{}, {"batch": 2, "rate": 3.0}, {"batch": 1}])
def test_matches_the_equations(draw, qkv, options):
    x = draw(2, 5, 12)
    _, params, run = made(x, **options)
    expected = oracle(params, x, *qkv, **options)
    np.testing.assert_allclose(run(params, x, *qkv), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_many_batches_of_the_first_model_of_the_authors_match(draw):
    x, qkv = draw(1, 70, 12), (draw(1, 70, 4, 8), draw(1, 70, 2, 8), draw(1, 70, 2, 8))
    _, params, run = made(x, rate=0.5)
    expected = oracle(params, x, *qkv, rate=0.5)
    np.testing.assert_allclose(run(params, x, *qkv), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_steps_match_over_batches_of_which_the_last_is_not_full(draw):
    x, qkv = draw(2, 11, 12), (draw(2, 11, 4, 8), draw(2, 11, 2, 8), draw(2, 11, 2, 6))
    variant, params, run = made(x, batch=4)
    expected, features = run(params, x, *qkv), variant.features(params, x)
    state = variant.start(params, 2, 11, **SIZES, value_width=6, dtype=jnp.float32)
    step = jax.jit(variant.step)
    for t in range(11):
        state, out = step(params, state, *(a[:, t] for a in qkv), features=features[:, t])
        np.testing.assert_allclose(out, expected[:, t], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_hidden_positions_take_no_step(draw, qkv):
    """Nor do queries answer before the first position that is seen."""
    x = draw(2, 5, 12)
    _, params, run = made(x)
    shown = masks.keys(jnp.asarray([[False, False, True, False, True]] * 2))
    got = run(params, x, *qkv, options=Options(mask=masks.causal & shown))
    assert (got[:, :2] == 0).all()
    seen = jnp.asarray([2, 4])
    expected = oracle(params, x[:, seen], *(a[:, seen] for a in qkv))
    np.testing.assert_allclose(got[:, seen], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_the_gradient_of_the_model_is_that_of_its_loss(draw):
    z, target = draw(3, 2, 6), draw(3, 2, 6)
    norm = Norm(1 + draw(2, 6) / 4, draw(2, 6))
    loss = lambda z: ((norm.normed(z) - target) ** 2).sum() / 2  # noqa: E731
    expected = jax.grad(loss)(z)
    np.testing.assert_allclose(norm.gradient(z, target), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("bias", [-1e4, 30.0])
def test_extreme_steps_leave_values_and_gradients_finite(draw, qkv, bias):
    x = draw(2, 5, 12)
    _, params, run = made(x, batch=2, rate=30.0)
    params["rate_bias"] = params["rate_bias"] + bias
    loss = jax.jit(jax.value_and_grad(lambda *a: (run(*a) ** 3).sum(), (0, 1, 2, 3, 4)))
    for leaf in jax.tree.leaves(loss(params, x, *qkv)):
        assert jnp.isfinite(leaf).all()


@pytest.mark.slow
@pytest.mark.parametrize("batch", [4, 16])
def test_pieces_match_the_equations(draw, batch):
    """From a state on, where two sequences are at positions of their own."""
    x, qkv = pieces.inputs(draw, 41)
    variant, params, _ = made(x, batch=batch)
    got = pieces.in_pieces(variant, params, x, qkv, (3, 4, 21))
    expected = oracle(params, x, *qkv, batch=batch)
    late = 3
    np.testing.assert_allclose(got[0], expected[0], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(got[1, :-late], expected[1, :-late], rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("batch", [4, 16])
def test_packed_documents_match_the_equations(draw, batch):
    """Each of them as it is alone."""
    x, qkv = pieces.inputs(draw, 41)
    variant, params, _ = made(x, batch=batch)
    lengths = ([7, 1, 20, 13], [2, 39])
    got = pieces.of_documents(variant, params, x, qkv, lengths)
    expected = pieces.by_documents(lambda *own: oracle(params, *own, batch=batch), x, qkv, lengths)
    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-4)


def test_bad_options_and_widths_are_refused(users_errors, draw):
    with pytest.raises(ValueError, match="`batch` must be .*; got 0"):
        variants.get("ttt", batch=0)
    with pytest.raises(ValueError, match="`rate` must be .*; got 0"):
        variants.get("ttt", rate=0.0)
    x, qkv = draw(1, 2, 12), (draw(1, 2, 4, 8), draw(1, 2, 2, 8), draw(1, 2, 2, 9))
    _, params, run = made(x)
    with pytest.raises(ValueError, match="as wide as keys at most.*; got 9 and 8"):
        run(params, x, *qkv)
