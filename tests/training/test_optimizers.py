"""Learning rates against their formulas, updates against hand-written steps."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax.training import optimizers

DECAYS = {
    "constant": lambda n, w, steps: 1.0,
    "inverse_sqrt": lambda n, w, steps: math.sqrt(w / n),
    "cosine": lambda n, w, steps: (1 + math.cos(math.pi * (n - w) / (steps - w))) / 2,
}


def params():
    return {
        "embedding": jnp.ones((5, 4)),
        "hidden": jnp.full((4, 6), 0.5),
        "bias": jnp.full((6,), 0.5),
    }


def run(transform, gradient, *, updates=1):
    """The parameters after some updates of one gradient."""

    @jax.jit
    def update(params, state):
        change, state = transform.update(gradient, state, params)
        return jax.tree.map(jnp.add, params, change), state

    new, state = params(), transform.init(params())
    for _ in range(updates):
        new, state = update(new, state)
    return new


@pytest.mark.parametrize("name", optimizers.schedule_names())
def test_a_schedule_is_its_formula(name):
    peak, w, steps = 2.0, 4, 20
    rate = optimizers.schedule(name, peak=peak, warmup_steps=w, steps=steps)
    want = [peak * (n / w if n <= w else DECAYS[name](n, w, steps)) for n in range(1, steps + 1)]
    np.testing.assert_allclose([rate(n) for n in range(steps)], want, rtol=1e-5, atol=1e-6)


def test_a_cosine_may_end_above_0():
    peak, final, w, steps = 2.0, 0.5, 4, 20
    rate = optimizers.schedule("cosine", peak=peak, warmup_steps=w, steps=steps, final=final)
    decay = [DECAYS["cosine"](n, w, steps) for n in range(w, steps + 1)]
    want = [peak * n / w for n in range(1, w)] + [final + (peak - final) * d for d in decay]
    np.testing.assert_allclose([rate(n) for n in range(steps)], want, rtol=1e-5)
    np.testing.assert_allclose(rate(steps + 5), final, rtol=1e-5)


@pytest.mark.parametrize("name", optimizers.schedule_names())
def test_without_warm_up_the_first_rate_is_the_peak(name):
    assert float(optimizers.schedule(name, peak=0.5, warmup_steps=0, steps=9)(0)) == 0.5


@pytest.mark.slow
def test_adam_is_algorithm_1_of_the_paper():
    g, b1, b2, rate = 0.3, 0.9, 0.98, 0.01
    gradient = jax.tree.map(lambda x: jnp.full_like(x, g), params())
    got = run(optimizers.optimizer("adam", learning_rate=rate), gradient, updates=3)
    theta, m, v = 0.5, 0.0, 0.0
    for n in range(1, 4):
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
        theta -= rate * (m / (1 - b1**n)) / (math.sqrt(v / (1 - b2**n)) + 1e-9)
    np.testing.assert_allclose(got["bias"], np.full(6, theta), rtol=1e-5)


def test_adamw_decays_matrices_only():
    nothing = jax.tree.map(jnp.zeros_like, params())
    transform = optimizers.optimizer("adamw", learning_rate=0.1, weight_decay=0.2)
    got = run(transform, nothing)
    np.testing.assert_allclose(got["hidden"], 0.5 * (1 - 0.1 * 0.2) * np.ones((4, 6)), rtol=1e-6)
    np.testing.assert_array_equal(got["bias"], params()["bias"])


@pytest.mark.slow
def test_muon_makes_the_update_of_hidden_matrices_nearly_orthogonal():
    noise = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
    gradient = {**jax.tree.map(jnp.ones_like, params()), "hidden": jnp.asarray(noise)}
    got = run(optimizers.optimizer("muon", learning_rate=1.0, b2=0.9), gradient)
    change = np.asarray(got["hidden"] - params()["hidden"]) / (0.2 * math.sqrt(6))
    values = np.linalg.svd(change, compute_uv=False)
    assert values.min() > 0.6 and values.max() < 1.3  # Newton-Schulz stops near 1, not at it
    flat = np.asarray(got["embedding"] - params()["embedding"])
    np.testing.assert_allclose(flat, flat[0, 0] * np.ones((5, 4)), rtol=1e-6)  # Adam's


@pytest.mark.sampled(1)
@pytest.mark.parametrize("name", optimizers.optimizer_names())
def test_layers_that_are_scanned_learn_as_those_that_stand_alone(name, draw):
    """A stack that scans keeps each parameter of all layers in one array."""
    shapes = {"kernel": (3, 4, 6), "bias": (3, 6), "learned": (3, 2, 4, 6)}
    stacked = {"layers": {name: draw(*shape) for name, shape in shapes.items()}}
    gradient = {"layers": {name: draw(*shape) for name, shape in shapes.items()}}

    def apart(tree):
        return {"layers": [jax.tree.map(lambda x, i=i: x[i], tree["layers"]) for i in range(3)]}

    decay = {} if name == "adam" else {"weight_decay": 0.5}
    transform = optimizers.optimizer(name, learning_rate=0.1, **decay)

    @jax.jit
    def change(gradient, params):
        return transform.update(gradient, transform.init(params), params)[0]

    got, expected = apart(change(gradient, stacked)), change(apart(gradient), apart(stacked))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-6), got, expected)


@pytest.mark.slow
def test_clipping_scales_the_whole_gradient():
    transform = optimizers.optimizer("adam", learning_rate=0.0, clip_norm=1.0)
    state = transform.init(params())
    gradient = jax.tree.map(lambda x: jnp.full_like(x, 3.0), params())
    _, state = transform.update(gradient, state, params())
    size = sum(x.size for x in jax.tree.leaves(params()))
    first_moment = 0.1 * 3.0 / (3.0 * math.sqrt(size))
    moments = [x for x in jax.tree.leaves(state) if x.shape == (6,)]
    np.testing.assert_allclose(moments[0], np.full(6, first_moment), rtol=1e-5)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"name": "sgd"}, "`optimizer` must be one of adam, adamw, muon; got 'sgd'"),
        ({"clip_norm": 0.0}, "`clip_norm` must be positive or None; got 0.0"),
        ({"weight_decay": -1.0}, "`weight_decay` must not be negative; got -1.0"),
        ({"weight_decay": 0.1}, "Use adamw"),
    ],
)
def test_wrong_settings_are_named(wrong, message):
    settings = {"name": "adam", "learning_rate": 0.1, **wrong}
    with pytest.raises(ValueError, match=message):
        optimizers.optimizer(settings.pop("name"), **settings)


def test_wrong_schedules_are_named():
    with pytest.raises(ValueError, match="`schedule` must be one of constant, cosine, inv"):
        optimizers.schedule("linear", peak=1.0, warmup_steps=1, steps=1)
    with pytest.raises(ValueError, match="must not be negative; got 1.0, -1 and 1"):
        optimizers.schedule("cosine", peak=1.0, warmup_steps=-1, steps=1)
    for name, final in (("constant", 0.5), ("cosine", 2.0)):
        with pytest.raises(ValueError, match="`final` must lie between 0 and the peak, 1.0"):
            optimizers.schedule(name, peak=1.0, warmup_steps=1, steps=9, final=final)
