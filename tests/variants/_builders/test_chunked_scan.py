import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax.variants._builders import chunked_scan

# With chunks of 4: one position, less than a chunk, one chunk, and over three with a rest.
LENGTHS = (1, 3, 4, 15)
ODD = 35  # with chunks of 2: two blocks, the last of which is filled up
DECAYS = (None, 1, 8)  # widths of the log-decay


def scan(*inputs, **options):
    """The outputs alone."""
    return chunked_scan.scan(*inputs, **options)[1]


def delta_scan(*inputs, **options):
    return chunked_scan.delta_scan(*inputs, **options)[1]


def decays(draw, width, length):
    """Log-decays from slight to hard."""
    return None if width is None else -jnp.exp(draw(2, length, 2, width))


def arrays(draw, length, heads=4):
    return draw(2, length, heads, 8), draw(2, length, 2, 8), draw(2, length, 2, 6)


def unit(x):
    return x / jnp.linalg.norm(x, axis=-1, keepdims=True)


def oracle(q, k, v, log_decay):
    """S_j = exp(log_decay_j) S_(j-1) + k_j v_j^T, out_j = S_j^T q_j."""
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    alpha = np.ones_like(k[..., :1]) if log_decay is None else np.exp(np.float64(log_decay))
    out = np.zeros((*q.shape[:-1], v.shape[-1]))
    ratio = q.shape[2] // k.shape[2]
    for b, h in np.ndindex(q.shape[0], q.shape[2]):
        state = np.zeros((k.shape[-1], v.shape[-1]))
        for t in range(q.shape[1]):
            at = b, t, h // ratio
            state = alpha[at][:, None] * state + np.outer(k[at], v[at])
            out[b, t, h] = state.T @ q[b, t, h]
    return out


def delta_oracle(q, k, v, strength, log_decay):
    """S_j = a_j S_(j-1) (I - b_j k_j k_j^T) + b_j k_j v_j^T, out_j = S_j^T q_j."""
    q, k, v, strength = (np.asarray(x, np.float64) for x in (q, k, v, strength))
    alpha = np.ones_like(strength) if log_decay is None else np.exp(np.float64(log_decay))
    out = np.zeros(v.shape)
    for b, h in np.ndindex(q.shape[0], q.shape[2]):
        state = np.zeros((k.shape[-1], v.shape[-1]))
        for t in range(q.shape[1]):
            key, beta = k[b, t, h], strength[b, t, h]
            state = alpha[b, t, h] * (state - beta * np.outer(key, key @ state))
            state = state + beta * np.outer(key, v[b, t, h])
            out[b, t, h] = state.T @ q[b, t, h]
    return out


def near(got, expected):
    """Small entries are what sums of large ones leave, and so are as coarse as these."""
    size = float(np.abs(expected).max())
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=max(1e-5, 3e-6 * size))


def close(got, expected):
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def stepped(step, state, *inputs):
    """The plain recurrence: `step` in a `lax.scan` over positions."""
    moved = [x.swapaxes(0, 1) for x in inputs if x is not None]
    _, out = jax.lax.scan(lambda state, each: step(state, *each), state, moved)
    return out.swapaxes(0, 1)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("width", DECAYS)
@pytest.mark.parametrize("length", LENGTHS)
def test_chunks_are_the_recurrence(draw, length, width):
    inputs = *arrays(draw, length), decays(draw, width, length)
    got = jax.jit(functools.partial(scan, chunk=4))(*inputs)
    np.testing.assert_allclose(got, oracle(*inputs), rtol=1e-5, atol=1e-5)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("width", DECAYS)
def test_blocks_are_the_recurrence(draw, width):
    inputs = *arrays(draw, ODD), decays(draw, width, ODD)
    got = jax.jit(functools.partial(scan, chunk=2))(*inputs)
    np.testing.assert_allclose(got, oracle(*inputs), rtol=1e-5, atol=1e-5)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("width", DECAYS)
def test_the_usual_chunks_are_the_recurrence(draw, width):
    inputs = *arrays(draw, 213), decays(draw, width, 213)
    got = jax.jit(scan)(*inputs)
    # Without decay the sums reach 50, and so their float32 is that much coarser.
    np.testing.assert_allclose(got, oracle(*inputs), rtol=1e-5, atol=5e-5)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("width", DECAYS)
def test_blocks_equal_steps_and_so_do_their_gradients(draw, width):
    inputs = *arrays(draw, ODD), decays(draw, width, ODD)
    inputs = inputs if width else inputs[:3]
    target = draw(2, ODD, 4, 6)

    def loss(run, *inputs):
        out = run(*inputs)
        return (jnp.sin(out) * target).sum(), out

    everything = tuple(range(len(inputs)))
    plain = functools.partial(stepped, chunked_scan.step, jnp.zeros((2, 2, 8, 6)))
    chunked = functools.partial(scan, chunk=2)
    results = [
        jax.jit(jax.grad(functools.partial(loss, run), everything, has_aux=True))(*inputs)
        for run in (plain, chunked)
    ]
    jax.tree.map(near, *results)


@pytest.mark.slow
@pytest.mark.parametrize("width", [1, 8])
def test_hard_forgetting_neither_overflows_nor_blurs_what_follows(draw, width):
    q, k, v = arrays(draw, 12)
    log_decay = jnp.full((2, 12, 2, width), -0.01).at[:, 6].set(-1e6)
    run = jax.jit(functools.partial(scan, chunk=12))
    out = run(q, k, v, log_decay)
    fresh = run(*(x[:, 6:] for x in (q, k, v, log_decay)))
    close(out[:, 6:], fresh)
    gradient = jax.jit(jax.grad(lambda a: (run(q, k, v, a) ** 2).sum()))(log_decay)
    assert jnp.isfinite(gradient).all()


def delta_inputs(draw, length, gated):
    q, k = unit(draw(2, length, 2, 8)), unit(draw(2, length, 2, 8))
    inputs = q, k, draw(2, length, 2, 6), jax.nn.sigmoid(draw(2, length, 2))
    return (*inputs, -jnp.exp(draw(2, length, 2))) if gated else inputs


@pytest.mark.sampled(2)
@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("length", LENGTHS)
def test_chunks_are_the_delta_rule(draw, length, gated):
    inputs = delta_inputs(draw, length, gated)
    got = jax.jit(functools.partial(delta_scan, chunk=4))(*inputs)
    close(got, delta_oracle(*inputs, *([] if gated else [None])))


@pytest.mark.sampled(1)
@pytest.mark.parametrize("gated", [False, True])
def test_blocks_are_the_delta_rule(draw, gated):
    inputs = delta_inputs(draw, ODD, gated)
    got = jax.jit(functools.partial(delta_scan, chunk=2))(*inputs)
    close(got, delta_oracle(*inputs, *([] if gated else [None])))


@pytest.mark.slow
def test_a_decay_to_nothing_leaves_nothing_and_is_no_nan(draw):
    q, k, v = arrays(draw, 12)
    log_decay = jnp.full((2, 12, 2, 1), -0.01).at[:, 6].set(-jnp.inf)
    out = scan(q, k, v, log_decay, chunk=4)
    close(out[:, 6:], scan(*(x[:, 6:] for x in (q, k, v, log_decay)), chunk=4))


@pytest.mark.slow
@pytest.mark.parametrize("gated", [False, True])
def test_the_usual_chunks_are_the_delta_rule(draw, gated):
    inputs = delta_inputs(draw, 213, gated)
    got = jax.jit(delta_scan)(*inputs)
    np.testing.assert_allclose(
        got, delta_oracle(*inputs, *([] if gated else [None])), rtol=1e-5, atol=5e-6
    )


@pytest.mark.slow
@pytest.mark.parametrize("gated", [False, True])
def test_blocks_of_the_delta_rule_equal_steps_and_so_do_their_gradients(draw, gated):
    inputs, target = delta_inputs(draw, ODD, gated), draw(2, ODD, 2, 6)

    def loss(run, *inputs):
        out = run(*inputs)
        return (jnp.sin(out) * target).sum(), out

    everything = tuple(range(len(inputs)))
    plain = functools.partial(stepped, chunked_scan.delta_step, jnp.zeros((2, 2, 8, 6)))
    chunked = functools.partial(delta_scan, chunk=2)
    results = [
        jax.jit(jax.grad(functools.partial(loss, run), everything, has_aux=True))(*inputs)
        for run in (plain, chunked)
    ]
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), *results)


@pytest.mark.slow
def test_a_key_of_full_strength_holds_its_latest_value(draw):
    k, v = jnp.broadcast_to(unit(draw(8)), (1, 9, 1, 8)), draw(1, 9, 1, 6)
    out = jax.jit(functools.partial(delta_scan, chunk=4))(k, k, v, jnp.ones((1, 9, 1)))
    close(out, v)


@pytest.mark.slow
def test_memory_of_a_training_step_grows_linearly_with_length_at_most():
    def used(run, length, *widths):
        shapes = [jax.ShapeDtypeStruct((1, length, 2, *width), jnp.float32) for width in widths]
        loss = jax.jit(jax.grad(lambda *x: run(*x).sum(), range(len(shapes))))
        return loss.lower(*shapes).compile().memory_analysis().temp_size_in_bytes

    for run, widths in (
        (scan, ((16,), (16,), (16,), (1,))),
        (scan, ((16,), (16,), (16,), (16,))),
        (delta_scan, ((16,), (16,), (16,), (), ())),
    ):
        short, long = (used(run, length, *widths) for length in (4096, 16_384))
        # What is linear makes four times of it, beside one block; what is quadratic 16 times.
        assert long < 4.2 * short
        # Twice what queries, keys, values and output take; pairs alone would take 128 times that.
        assert long < 2 * 4 * 16_384 * 2 * 16 * 4
