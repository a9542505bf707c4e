import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import attention, variants
from attention_jax.core import masks
from attention_jax.core.types import Options

VARIANT = variants.get("forgetting", gates="key")


@pytest.fixture
def params(draw):
    return {"weights": draw(4, 8), "bias": draw(4)}


def oracle(params, q, k, v, visible):
    """Section 3 of arXiv:2503.02130, with each gate multiplied up by itself."""
    weights, bias, q, k, v = (
        np.asarray(x, np.float64) for x in (params["weights"], params["bias"], q, k, v)
    )
    out = np.zeros((*q.shape[:-1], v.shape[-1]))
    for b, t, h in np.ndindex(out.shape[:-1]):
        at = h * k.shape[2] // q.shape[2]
        scores = np.full(t + 1, -np.inf)
        for j in range(t + 1):
            if visible[b, j]:
                between = [x for x in range(j + 1, t + 1) if visible[b, x]]
                gates = 1 / (1 + np.exp(-(k[b, between, at] @ weights[h] + bias[h])))
                scores[j] = q[b, t, h] @ k[b, j, at] / np.sqrt(8) + np.log(gates).sum()
        weight = np.exp(scores)
        out[b, t, h] = weight @ np.where(visible[b, : t + 1, None], v[b, : t + 1, at], 0)
        out[b, t, h] /= weight.sum()
    return out


def run(params, qkv, mask=masks.causal, **request):
    return jax.jit(lambda p, x: VARIANT.attend(p, *x, Options(mask=mask, **request)))(params, qkv)


def test_matches_its_equation(qkv, params):
    expected = oracle(params, *qkv, np.ones((2, 5)))
    np.testing.assert_allclose(run(params, qkv), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_many_blocks_match_too(draw, params):
    qkv = draw(1, 150, 4, 8), draw(1, 150, 2, 8), draw(1, 150, 2, 6)
    expected = oracle(params, *qkv, np.ones((1, 150)))
    got = run(params, qkv, implementation="blockwise")
    # Running sums reach 200, so differences of them, and thus weights, have an error of 2e-5.
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=5e-5)


@pytest.mark.slow
def test_a_hidden_key_lowers_no_score_even_where_it_is_not_finite(qkv, params):
    q, k, v = qkv
    visible = jnp.ones((2, 5), bool).at[:, 2].set(False)
    mask = masks.causal & masks.keys(visible)
    bad = q, k.at[:, 2].set(jnp.nan), v.at[:, 2].set(jnp.nan)
    expected = oracle(params, *qkv, np.asarray(visible))
    np.testing.assert_allclose(run(params, bad, mask), expected, rtol=1e-5, atol=1e-6)
    loss = jax.grad(lambda p, x: (VARIANT.attend(p, *x, Options(mask=mask)) ** 2).sum(), (0, 1))
    assert all(jnp.isfinite(x).all() for x in jax.tree.leaves(jax.jit(loss)(params, bad)))


def test_a_key_that_is_not_finite_reaches_no_earlier_row(qkv, params):
    q, k, v = qkv
    out = run(params, (q, k.at[:, 3].set(jnp.nan), v))
    np.testing.assert_array_equal(out[:, :3], run(params, qkv)[:, :3])
    assert jnp.isnan(out[:, 3:]).all()


@pytest.mark.slow
def test_with_open_gates_it_is_the_softmax(qkv, params):
    kept = {**params, "bias": jnp.full(4, 1e4)}
    expected = jax.jit(lambda *x: attention(*x, mask=masks.causal))(*qkv)
    np.testing.assert_allclose(run(kept, qkv), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_gradients_of_the_gates_are_those_of_the_plain_sums(qkv, params):
    def plain(params, q, k, v):
        k, v = (jnp.repeat(x, 2, axis=2) for x in (k, v))
        logits = jnp.einsum("hd,bshd->bhs", params["weights"], k) + params["bias"][None, :, None]
        gates = jax.nn.log_sigmoid(logits)
        between = jnp.arange(5)[:, None, None], jnp.arange(5)[None, :, None], jnp.arange(5)
        counted = (between[2][None, None] <= between[0]) & (between[2][None, None] > between[1])
        lowered = jnp.einsum("ijl,bhl->bhij", counted.astype(jnp.float32), gates)
        scores = jnp.einsum("bthd,bshd->bhts", q, k) * 8**-0.5 + lowered
        scores = jnp.where(jnp.tril(jnp.ones((5, 5), bool))[None, None], scores, -jnp.inf)
        return jnp.einsum("bhts,bshe->bthe", jax.nn.softmax(scores), v)

    def gradient(attend):
        loss = jax.grad(lambda p, x: jnp.sin(attend(p, *x)).sum(), (0, 1))
        return jax.jit(loss)(params, qkv)

    got = gradient(lambda p, *x: VARIANT.attend(p, *x, Options(mask=masks.causal)))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), got, gradient(plain)
    )


@pytest.mark.slow
def test_dropout_and_the_log_sum_are_those_of_attention(qkv, params):
    dropped = run(params, qkv, dropout_rate=0.5, dropout_key=jax.random.key(0))
    assert (dropped != run(params, qkv)).any()
    _, lse = run(params, qkv, return_lse=True)
    assert lse.shape == (2, 5, 4)


def test_passes_without_gates_in_order_are_refused(qkv, params):
    with pytest.raises(ValueError, match="forgetting takes in one .* must hold `masks.causal`"):
        VARIANT.attend(params, *qkv)
    with pytest.raises(ValueError, match="within the positions of the keys.* to 5 and keys to 4"):
        VARIANT.attend(params, *qkv, Options(mask=masks.causal, query_offset=1))


def oracle_of_input(params, x, q, k, v):
    """Section 3 of arXiv:2503.02130, with gates of the layer's input."""
    weights, bias, x, q, k, v = (
        np.asarray(a, np.float64) for a in (params["weights"], params["bias"], x, q, k, v)
    )
    out = np.zeros((*q.shape[:-1], v.shape[-1]))
    for b, t, h in np.ndindex(out.shape[:-1]):
        at = h * k.shape[2] // q.shape[2]
        gates = 1 / (1 + np.exp(-(x[b] @ weights[:, h] + bias[h])))
        weight = [
            np.exp(q[b, t, h] @ k[b, j, at] / np.sqrt(8)) * gates[j + 1 : t + 1].prod()
            for j in range(t + 1)
        ]
        out[b, t, h] = weight @ v[b, : t + 1, at] / np.sum(weight)
    return out


def test_gates_of_the_input_match_the_equation(draw, qkv):
    variant, x = variants.get("forgetting", gates="input"), draw(2, 5, 12)
    params = {"weights": draw(12, 4), "bias": draw(4)}
    out = variant.attend(
        params, *qkv, Options(mask=masks.causal), features=variant.features(params, x)
    )
    np.testing.assert_allclose(out, oracle_of_input(params, x, *qkv), rtol=1e-5, atol=1e-6)
