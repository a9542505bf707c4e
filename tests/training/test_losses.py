"""Losses against their definition in float64, and against torch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax.training import losses


@pytest.fixture
def batch():
    draw = np.random.default_rng(0)
    logits = draw.normal(size=(3, 5, 11)).astype(np.float32) * 3
    targets = draw.integers(0, 11, size=(3, 5), dtype=np.int32)
    weights = (draw.random(size=(3, 5)) < 0.7).astype(np.float32)
    return jnp.asarray(logits), jnp.asarray(targets), jnp.asarray(weights)


def oracle(logits, targets, weights, label_smoothing):
    """-Σ_y share[y] log softmax(logits)[y], token by token in float64."""
    total, v = 0.0, logits.shape[-1]
    for index in np.ndindex(targets.shape):
        x = np.asarray(logits[index], np.float64)
        log_p = x - np.log(np.sum(np.exp(x)))
        share = np.full(v, label_smoothing / v)
        share[targets[index]] += 1 - label_smoothing
        total -= float(weights[index]) * (share @ log_p)
    return total


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1, 0.9])
def test_matches_the_definition(batch, label_smoothing):
    total, count = jax.jit(losses.cross_entropy, static_argnums=3)(*batch, label_smoothing)
    np.testing.assert_allclose(total, oracle(*batch, label_smoothing), rtol=1e-5)
    assert float(count) == float(batch[2].sum())
    assert total.dtype == count.dtype == jnp.float32


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_matches_torch_and_its_gradient(batch, label_smoothing):
    torch = pytest.importorskip("torch")
    logits, targets, weights = batch
    value, gradient = jax.value_and_grad(
        lambda x: losses.cross_entropy(x, targets, weights, label_smoothing)[0]
    )(logits)
    x = torch.tensor(np.asarray(logits), requires_grad=True)
    kept = np.where(weights > 0, targets, -100)  # torch's mark for what is left out
    expected = torch.nn.functional.cross_entropy(
        x.reshape(15, 11),
        torch.tensor(kept.reshape(15), dtype=torch.long),
        reduction="sum",
        label_smoothing=label_smoothing,
    )
    expected.backward()
    np.testing.assert_allclose(value, expected.item(), rtol=1e-5)
    np.testing.assert_allclose(gradient, x.grad.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_parts_of_a_batch_add_up(batch):
    whole = losses.cross_entropy(*batch, 0.1)
    parts = [losses.cross_entropy(*(x[i] for x in batch), 0.1) for i in range(3)]
    np.testing.assert_allclose(whole, np.sum(parts, axis=0), rtol=1e-5)


@pytest.mark.slow
def test_padding_has_no_gradient(batch):
    logits, targets, weights = batch
    gradient = jax.grad(lambda x: losses.cross_entropy(x, targets, weights, 0.1)[0])(logits)
    assert not gradient[weights == 0].any()
    assert gradient[weights == 1].any(axis=-1).all()


@pytest.mark.slow
def test_large_logits_stay_finite():
    logits = jnp.array([[3e4, -3e4], [-3e4, 3e4]])
    total, _ = losses.cross_entropy(logits, jnp.array([0, 0]), jnp.ones(2))
    assert float(total) == 6e4


def test_bfloat16_logits_are_summed_in_float32(batch):
    logits, targets, weights = batch
    logits = logits.astype(jnp.bfloat16)
    total, _ = losses.cross_entropy(logits, targets, weights.astype(jnp.bfloat16))
    assert total.dtype == jnp.float32
    np.testing.assert_allclose(total, oracle(logits, targets, weights, 0.0), rtol=1e-5)


def test_accuracy_counts_weighted_hits():
    logits = jnp.array([[0.0, 2.0, 1.0], [3.0, 2.0, 1.0], [0.0, 2.0, 5.0]])
    hits, count = losses.accuracy(logits, jnp.array([1, 2, 2]), jnp.array([1.0, 1.0, 0.0]))
    assert (float(hits), float(count)) == (1.0, 2.0)


@pytest.mark.slow
def test_accuracy_is_that_of_arg_max():
    logits = jax.random.normal(jax.random.key(0), (20, 30, 4))
    targets = jax.random.randint(jax.random.key(1), (20, 30), 0, 4)
    hits, _ = losses.accuracy(logits, targets, jnp.ones((20, 30)))
    found = np.asarray(logits).argmax(-1) == np.asarray(targets)
    assert float(hits) == found.sum() > 100


def test_a_tie_is_no_hit():
    hits, _ = losses.accuracy(jnp.zeros((2, 3)), jnp.array([0, 1]), jnp.ones(2))
    assert float(hits) == 0.0


@pytest.mark.parametrize("label_smoothing", [-0.1, 1.0])
def test_label_smoothing_has_a_range(batch, label_smoothing):
    with pytest.raises(ValueError, match=r"`label_smoothing` must be .* in \[0, 1\); got"):
        losses.cross_entropy(*batch, label_smoothing)


@pytest.mark.parametrize("measure", [losses.cross_entropy, losses.accuracy])
def test_shapes_must_match(measure, users_errors):
    with pytest.raises(ValueError, match=r"got \(3,\) and \(2,\) for logits \(2, 4\)"):
        measure(jnp.zeros((2, 4)), jnp.zeros(3, jnp.int32), jnp.ones(2))
