"""ONNX's linear attention against its recurrence in float64 loops."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax.engine.onnx_operator import linear_attention

HEADS = {"q_num_heads": 4, "kv_num_heads": 2}


def oracle(query, key, value, past_state, decay, beta):
    """The recurrence of one head and one position after another."""
    given = [None if x is None else np.asarray(x, np.float64) for x in (query, key, value)]
    (b, t, _), (q, k, v) = (
        query.shape,
        (x.reshape(*x.shape[:2], -1, n) for x, n in zip(given, (3, 3, 5), strict=True)),
    )
    h, g = q.shape[2], k.shape[2]
    state = np.array(past_state, np.float64)
    out = np.zeros((b, t, h, 5))
    for at, n, head in np.ndindex(b, t, g):
        own = state[at, head]
        if decay is not None:
            logs = np.asarray(decay, np.float64)[at, n].reshape(g, -1)[head]
            own = own * np.exp(logs)[:, None]
        new = v[at, n, head]
        if beta is not None:
            strength = np.asarray(beta, np.float64)[at, n]
            new = strength[head if len(strength) > 1 else 0] * (new - own.T @ k[at, n, head])
        state[at, head] = own + np.outer(k[at, n, head], new)
        for r in range(h // g):
            out[at, n, head * (h // g) + r] = state[at, head].T @ q[at, n, head * (h // g) + r]
    return out.reshape(b, t, -1) / np.sqrt(3), state


def inputs_of(draw, rule, *, wide, shared):
    decay = -0.1 * jnp.abs(draw(2, 7, 6 if wide else 2)) if "gated" in rule else None
    beta = jax.nn.sigmoid(draw(2, 7, 1 if shared else 2)) if "delta" in rule else None
    query, key, value = draw(2, 7, 12), 0.5 * draw(2, 7, 6), draw(2, 7, 10)
    return query, key, value, draw(2, 2, 3, 5), decay, beta


@pytest.mark.sampled(2)
@pytest.mark.parametrize("rule", ["linear", "gated", "delta", "gated_delta"])
def test_every_rule_is_its_recurrence(draw, rule):
    """Also from a state on, in chunks that do not divide the length, with gates of either width."""
    for wide in (False, True):
        inputs = inputs_of(draw, rule, wide=wide, shared=wide)
        run = jax.jit(functools.partial(linear_attention, update_rule=rule, chunk_size=3, **HEADS))
        for got, expected in zip(run(*inputs), oracle(*inputs), strict=True):
            np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_parts_of_a_sequence_follow_one_another(draw):
    inputs = inputs_of(draw, "gated_delta", wide=True, shared=False)
    whole = linear_attention(*inputs, **HEADS)
    sequences, state = (*inputs[:3], *inputs[4:]), inputs[3]
    parts = []
    for part in (slice(0, 6), slice(6, 7)):
        q, k, v, decay, beta = (x[:, part] for x in sequences)
        out, state = linear_attention(q, k, v, state, decay, beta, **HEADS)
        parts.append(out)
    np.testing.assert_allclose(jnp.concatenate(parts, 1), whole.output, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(state, whole.present_state, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_chunks_change_no_gradient(draw):
    inputs = inputs_of(draw, "gated_delta", wide=True, shared=True)

    def gradients(chunk_size):
        def loss(inputs):
            return jnp.sin(linear_attention(*inputs, **HEADS, chunk_size=chunk_size).output).sum()

        return jax.jit(jax.grad(loss))(inputs)

    for x, y in zip(gradients(2), gradients(64), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("rest", "error"),
    [
        ({"update_rule": "fast"}, "`update_rule` must be one of 'linear', .*; got 'fast'"),
        ({}, "`decay` must be given for `update_rule` 'gated_delta', which takes decay and beta"),
        (
            {"update_rule": "linear", "beta": jnp.ones((2, 7, 2))},
            "`beta` must be None for `update_rule` 'linear', which takes neither",
        ),
        (
            {"update_rule": "delta", "beta": jnp.ones((2, 7, 4))},
            r"`beta` must be \[2, 7, 2\] or \[2, 7, 1\]; got \[2, 7, 4\]",
        ),
        (
            {"update_rule": "linear", "past_state": jnp.ones((2, 2, 3, 4))},
            r"`past_state` must be \[b g d e\] = \[2, 2, 3, 5\]; got \[2, 2, 3, 4\]",
        ),
        ({"update_rule": "linear", "chunk_size": 0}, "`chunk_size` must be a whole number"),
    ],
)
def test_what_breaks_a_rule_is_refused(users_errors, draw, rest, error):
    query, key, value, *_ = inputs_of(draw, "linear", wide=False, shared=False)
    with pytest.raises(ValueError, match=error):
        linear_attention(query, key, value, **rest, **HEADS)
