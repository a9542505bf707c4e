import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax.variants._builders import channel_scan, chunked_scan

LENGTHS = (1, 3, 4, 15)  # with chunks of 4
ODD = 35  # with chunks of 2: two blocks, the last of which is filled up


def outputs(*given, **options):
    """Of the causal pass; without its last state."""
    return channel_scan.channel_scan(*given, **options)[1]


def unit(x):
    return x / jnp.linalg.norm(x, axis=-1, keepdims=True)


def inputs(draw, length, erases, hard=1.0):
    """Queries, keys, values, log-decays from slight to hard, what reads and what is erased."""
    q, k, r = (unit(draw(2, length, 2, 8)) for _ in range(3))
    log_decay = -hard * jnp.exp(draw(2, length, 2, 8))
    strength = jax.nn.sigmoid(draw(2, length, 2, 8))
    found = q, strength[..., :1] * k, draw(2, length, 2, 6), log_decay
    return (*found, r, strength * r) if erases else (*found, k)


def oracle(q, k, v, log_decay, reads, erases=None):
    """S'_j = diag(a_j) S_(j-1), S_j = S'_j + k_j v_j^T - w_j (r_j^T S'_j), out_j = S_j^T q_j."""
    erases = k if erases is None else erases
    q, k, v, reads, erases = (np.asarray(x, np.float64) for x in (q, k, v, reads, erases))
    alpha, out = np.exp(np.float64(log_decay)), np.zeros(v.shape)
    for b, h in np.ndindex(q.shape[0], q.shape[2]):
        state = np.zeros((k.shape[-1], v.shape[-1]))
        for t in range(q.shape[1]):
            state = alpha[b, t, h][:, None] * state
            state = (
                state
                + np.outer(k[b, t, h], v[b, t, h])
                - np.outer(erases[b, t, h], reads[b, t, h] @ state)
            )
            out[b, t, h] = state.T @ q[b, t, h]
    return out


def close(got, expected):
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("erases", [False, True])
@pytest.mark.parametrize("length", LENGTHS)
def test_chunks_are_the_recurrence(draw, length, erases):
    given = inputs(draw, length, erases)
    close(jax.jit(functools.partial(outputs, chunk=4))(*given), oracle(*given))


@pytest.mark.sampled(1)
@pytest.mark.parametrize("erases", [False, True])
def test_the_usual_chunks_are_the_recurrence(draw, erases):
    given = inputs(draw, 413, erases, hard=0.03)
    got = jax.jit(outputs)(*given)
    np.testing.assert_allclose(got, oracle(*given), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("erases", [False, True])
def test_blocks_equal_steps_and_so_do_their_gradients(draw, erases):
    given, target = inputs(draw, ODD, erases), draw(2, ODD, 2, 6)

    def stepped(*given):
        def step(state, each):
            return channel_scan.channel_step(state, *each)

        moved = tuple(x.swapaxes(0, 1) for x in given)
        return jax.lax.scan(step, jnp.zeros((2, 2, 8, 6)), moved)[1].swapaxes(0, 1)

    def loss(run, *given):
        out = run(*given)
        return (jnp.sin(out) * target).sum(), out

    chunked = functools.partial(outputs, chunk=2)
    everything = tuple(range(len(given)))
    one, other = (
        jax.jit(jax.grad(functools.partial(loss, run), everything, has_aux=True))(*given)
        for run in (stepped, chunked)
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-5), one, other)


@pytest.mark.slow
@pytest.mark.parametrize("erases", [False, True])
def test_positions_move_and_add_to_the_state_before_them(draw, erases):
    q, *given = inputs(draw, 21, erases)
    moves, added = jax.jit(channel_scan.channel_added)(*given)
    start, ask = draw(2, 2, 8, 6), jnp.concatenate([jnp.zeros_like(q[:, :20]), q[:, 20:]], axis=1)
    expected = outputs(ask, *given, start=start)[:, 20]
    got = chunked_scan.read(moves @ start + added, q[:, 20:])[:, 0]
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("decay", [-30.0, -1e4, -1e30])
def test_strong_decay_leaves_values_and_gradients_finite(draw, decay):
    """Also where channels beside it, and positions after it, hardly decay."""
    q, k, v, log_decay, r = inputs(draw, 40, False)
    log_decay = jnp.full(log_decay.shape, -0.01).at[..., :4].set(decay).at[:, 17].set(decay)
    given = q, k, v, log_decay, r
    run = jax.jit(outputs)
    np.testing.assert_allclose(run(*given), oracle(*given), rtol=1e-5, atol=2e-6)
    gradients = jax.jit(jax.grad(lambda *x: (run(*x) ** 2).sum(), tuple(range(5))))(*given)
    assert all(jnp.isfinite(x).all() for x in gradients)


@pytest.mark.slow
def test_one_decay_for_all_channels_is_the_gated_delta_rule(draw):
    q, k, v, log_decay, _ = inputs(draw, 30, False)
    strength, key = jax.nn.sigmoid(draw(2, 30, 2)), unit(k)
    decay = log_decay[..., 0]
    expected = jax.jit(chunked_scan.delta_scan)(q, key, v, strength, decay)[1]
    all_channels = jnp.broadcast_to(decay[..., None], key.shape)
    got = jax.jit(outputs)(q, strength[..., None] * key, v, all_channels, key)
    close(got, expected)
