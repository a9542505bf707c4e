"""Linear cells against the equations of their papers, in loops, and what they promise alike."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attention_jax.nn.linear_cells import CELLS, RGLRU, SHARPNESS, TAPS, linear_scan
from attention_jax.nn.recurrence import Recurrence, RecurrentSublayer

B, T, WIDTH, HEADS = 2, 7, 8, 2


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def mapped(layer, x):
    """A linear map in float64."""
    out = x @ np.asarray(layer.kernel[...], np.float64)
    return out if layer.bias is None else out + np.asarray(layer.bias[...], np.float64)


def ssru(cell, x):
    """Kim et al. 2019, section 3.1."""
    c, out = np.zeros(WIDTH), []
    for x_t in x:
        f = sigmoid(mapped(cell.forget_gate, x_t))
        c = f * c + (1 - f) * mapped(cell.project, x_t)
        out.append(np.maximum(c, 0))
    return np.array(out)


def min_gru(cell, x):
    """Feng et al. 2024, section 3.1."""
    h, out = np.zeros(WIDTH), []
    for x_t in x:
        z = sigmoid(mapped(cell.update_gate, x_t))
        h = (1 - z) * h + z * mapped(cell.project, x_t)
        out.append(h)
    return np.array(out)


def rg_lru(block, x):
    """De et al. 2024, sections 2.3 and 2.4."""
    h, out, cell = np.zeros(WIDTH), [], block.cell
    taps = np.asarray(block.taps[...], np.float64)
    a = sigmoid(np.asarray(cell.decay[...], np.float64))
    u = mapped(block.project_in, x)
    for t, x_t in enumerate(x):
        u_t = sum(taps[lag] * u[t - lag] for lag in range(TAPS) if t >= lag)
        r, i = sigmoid(mapped(cell.recurrence_gate, u_t)), sigmoid(mapped(cell.input_gate, u_t))
        a_t = a ** (SHARPNESS * r)
        h = a_t * h + np.sqrt(1 - a_t**2) * (i * u_t)
        gate = mapped(block.gate, x_t)
        gate = gate / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (gate + 0.044715 * gate**3)))
        out.append(mapped(block.project_out, gate * h))
    return np.array(out)


def mlstm(cell, x):
    """Beck et al. 2024, equations 19 to 27, without the state that stabilizes."""
    d, out = WIDTH // HEADS, []
    memory, norm = np.zeros((HEADS, d, d)), np.zeros((HEADS, d))
    for x_t in x:
        q, k, v = (mapped(p, x_t).reshape(HEADS, d) for p in (cell.query, cell.key, cell.value))
        k = k / np.sqrt(d)
        i, f = np.exp(mapped(cell.input_gate, x_t)), sigmoid(mapped(cell.forget_gate, x_t))
        h = np.zeros((HEADS, d))
        for n in range(HEADS):
            memory[n] = f[n] * memory[n] + i[n] * np.outer(v[n], k[n])
            norm[n] = f[n] * norm[n] + i[n] * k[n]
            h[n] = memory[n] @ q[n] / max(abs(norm[n] @ q[n]), 1)
        out.append(mapped(cell.project_out, sigmoid(mapped(cell.output_gate, x_t)) * h.reshape(-1)))
    return np.array(out)


ORACLES = {"ssru": ssru, "min_gru": min_gru, "rg_lru": rg_lru, "mlstm": mlstm}


@pytest.fixture(params=CELLS)
def name(request):
    return request.param


def build(name, *, both_ways=False, dtype="float32"):
    """A sublayer whose biases, which are 0 at first, count too."""
    rngs = nnx.Rngs(0)
    made = RecurrentSublayer(
        WIDTH,
        recurrence=Recurrence(name),
        both_ways=both_ways,
        heads=HEADS,
        dtype=dtype,
        rngs=rngs,
    )
    graphdef, state = nnx.split(made)
    keys = iter(jax.random.split(jax.random.key(7), 100))
    moved = jax.tree.map(lambda x: x + 0.3 * jax.random.normal(next(keys), x.shape), state)
    return nnx.merge(graphdef, moved)


def steps(layer, x):
    def step(state, x_t):
        state, out = layer.decode_step(x_t[:, None], state)
        return state, out[:, 0]

    return jax.lax.scan(step, layer.init_cache(len(x)), x.swapaxes(0, 1))[1].swapaxes(0, 1)


def test_every_cell_has_its_equations():
    assert set(ORACLES) == set(CELLS)


def test_all_positions_and_steps_are_the_equations(name, draw):
    layer, x = build(name), draw(B, T, WIDTH)
    whole, stepped, several = jax.jit(
        lambda x: (layer(x), steps(layer, x), layer.decode_step(x, layer.init_cache(B))[1])
    )(x)
    for row, *got in zip(np.asarray(x, np.float64), whole, stepped, several, strict=True):
        expected = ORACLES[name](layer.ways[0], row)
        for own in got:
            np.testing.assert_allclose(own, expected, rtol=1e-4, atol=1e-5)


def test_both_ways_are_two_cells_of_half_the_width(name, draw):
    layer, x = build(name, both_ways=True), draw(B, T, WIDTH)
    forth, back = layer.ways
    expected = jnp.concatenate([forth.read(x), back.read(x[:, ::-1])[:, ::-1]], axis=-1)
    np.testing.assert_array_equal(layer(x), expected)
    assert forth.width == back.width == WIDTH // 2


@pytest.mark.sampled(3)
@pytest.mark.parametrize("both_ways", [True, False])
def test_padding_changes_nothing(name, both_ways, draw):
    layer, x = build(name, both_ways=both_ways), draw(B, T, WIDTH)
    real = jnp.arange(T)[None] < jnp.array([[4], [T]])
    whole = layer(x, real)
    noise = layer(jnp.where(real[..., None], x, 9.0), real)
    np.testing.assert_array_equal(noise[real], whole[real])
    np.testing.assert_allclose(layer(x[:1, :4])[0], whole[0, :4], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(jnp.isfinite(layer(x, real & False)), True)


@pytest.mark.sampled(2)
def test_gradients_are_those_of_steps(name, draw):
    layer, x = build(name), draw(B, T, WIDTH)
    graphdef, params = nnx.split(layer)
    params = nnx.as_pure(params)

    def loss(run, params):
        return jnp.sum(jnp.sin(run(nnx.merge(graphdef, params), x)))

    whole, stepped = jax.jit(
        lambda p: [jax.grad(loss, 1)(run, p) for run in (lambda m, x: m(x), steps)]
    )(params)
    for own, other in zip(jax.tree.leaves(whole), jax.tree.leaves(stepped), strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-3, atol=1e-4)
        assert jnp.abs(own).max() > 0


@pytest.mark.sampled(2)
def test_bfloat16_keeps_parameters_and_states_wide(name, draw):
    layer, x = build(name, dtype="bfloat16"), draw(B, T, WIDTH)
    assert {leaf.dtype for leaf in jax.tree.leaves(nnx.split(layer)[1])} == {jnp.dtype("float32")}
    got = layer(x.astype(jnp.bfloat16))
    assert got.dtype == steps(layer, x.astype(jnp.bfloat16)).dtype == jnp.bfloat16
    np.testing.assert_allclose(got.astype(jnp.float32), build(name)(x), rtol=0.1, atol=0.1)


def test_gates_of_any_size_stay_finite(draw):
    """The unit that stabilizes cancels: values and gradients of exponential gates are finite."""
    layer, x = build("mlstm"), 300 * draw(B, T, WIDTH)
    value, slope = jax.jit(jax.value_and_grad(lambda x: jnp.sum(jnp.sin(layer(x)))))(x)
    assert jnp.isfinite(value) and jnp.isfinite(slope).all()


def test_the_decay_is_spread_at_first():
    decay = jax.nn.sigmoid(RGLRU(4, 1000, rngs=nnx.Rngs(0)).decay[...]) ** SHARPNESS
    assert 0.9 < decay.min() < 0.91 and 0.99 < decay.max() < 0.9991


def test_the_scan_is_the_recurrence(draw):
    keep, add = jax.nn.sigmoid(draw(B, T, WIDTH)), draw(B, T, WIDTH)
    h, got = np.zeros((B, WIDTH)), linear_scan(keep, add)
    for t in range(T):
        h = np.asarray(keep, np.float64)[:, t] * h + np.asarray(add, np.float64)[:, t]
        np.testing.assert_allclose(got[:, t], h, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("recurrence", "sizes", "message"),
    [
        (Recurrence("sru"), {}, "`cell` must be one of 'ssru', 'min_gru', 'rg_lru', 'mlstm'"),
        (Recurrence("ssru"), {"width": 7}, "`directions` must divide `width`; got directions=2"),
        (Recurrence("mlstm"), {"heads": 3}, "`heads` must divide `width each way`; got heads=3"),
        (Recurrence("ssru"), {"context": "x"}, "`context` must be None where a recurrence reads"),
        (Recurrence("ssru", bidirectional=1), {}, "`bidirectional` must be True or False"),
    ],
)
def test_what_does_not_fit_is_refused(recurrence, sizes, message):
    with pytest.raises(ValueError, match=message):
        recurrence.check(**{"width": WIDTH, "heads": HEADS} | sizes)
