"""Pictures show the weights that a variant has; one that has none says so."""

import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.image import imread

from attention_jax import attention, variants
from attention_jax.analysis.plots import variant_patterns
from attention_jax.core import masks
from attention_jax.core.types import Variant, no_parameters


def variant(change=lambda out: out, **facts):
    """Softmax attention, and a change of its output."""

    def attend(params, q, k, v, options):
        return change(attention(q, k, v, **options._asdict()))

    return Variant(no_parameters, attend, **facts)


@pytest.mark.slow
def test_equal_scores_show_the_mask_alone():
    equal, _ = variant_patterns.weights(variant(), masks.causal, positions=16, heads=2)
    below = np.tril(np.ones((16, 16)))
    expected = np.stack([below / below.sum(-1, keepdims=True)] * 2)
    np.testing.assert_allclose(equal, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_random_scores_show_the_softmax():
    _, random = variant_patterns.weights(variant(), None, positions=32, heads=2)
    np.testing.assert_allclose(random.sum(-1), np.ones((2, 32)), rtol=1e-5, atol=1e-6)
    assert (random > 0).all() and (random[0] != random[1]).any()


def test_what_comes_of_no_value_is_no_weight():
    affine = variant_patterns.weights(variant(lambda out: 2 * out + 5), None, positions=16, heads=2)
    np.testing.assert_allclose(affine[0], np.full((2, 16, 16), 2 / 16), rtol=1e-5, atol=1e-6)


def test_an_output_that_is_no_sum_has_no_weights():
    with pytest.raises(ValueError, match="not a weighted sum"):
        variant_patterns.weights(variant(jnp.tanh), None, positions=16, heads=2)


@pytest.mark.slow
def test_heads_that_share_values_have_weights():
    found = variant_patterns.patterns("multi_query", heads=2)
    assert found.weights["causal"].shape == (2, 2, 48, 48) and not found.options


@pytest.mark.slow
def test_one_that_draws_draws_alike():
    def attend(params, q, k, v, options):
        noise = jax.random.normal(options.dropout_key, q.shape)
        return attention(q + noise, k, v, **options._replace(dropout_key=None)._asdict())

    noisy = Variant(no_parameters, attend, stochastic=True)
    assert variant_patterns.weights(noisy, None, positions=16, heads=2).shape == (2, 2, 16, 16)


@pytest.mark.slow
def test_a_pattern_wider_than_a_short_sequence_gets_a_long_one(monkeypatch):
    monkeypatch.setattr(variant_patterns, "LONG", 96)
    assert variant_patterns.patterns("sliding_window", heads=1, size=64).positions == 96
    near = variant_patterns.patterns("sliding_window", heads=1, size=8)
    assert near.positions == 48 and near.options == {"size": 8}
    whole = near.weights["bidirectional"][0, 0] > 0
    np.testing.assert_array_equal(whole, np.abs(np.subtract.outer(*[np.arange(48)] * 2)) < 8)


@pytest.mark.slow
def test_a_norm_is_switched_off_and_named():
    found = variant_patterns.patterns("retention", heads=1)
    assert found.options == {"normalize": False}
    assert variant_patterns.caption(found) == "48 positions, with normalize=False"
    # Options of the caller's own stay as they are.
    with pytest.raises(ValueError, match="not a weighted sum"):
        variant_patterns.patterns("retention", heads=1, normalize=True)


def test_a_picture_has_a_panel_for_each_head_and_side(tmp_path):
    found = variant_patterns.Patterns({"causal": np.ones((2, 3, 48, 48)) / 48}, 48, {})
    variant_patterns.draw(found, tmp_path / "a.png", title="$a_b$")
    assert imread(tmp_path / "a.png").shape[1] > 600


def test_a_thumbnail_is_two_heads_on_each_side_over_any_ground():
    pattern = np.zeros((2, 3, 48, 48), np.float32)
    pattern[0, 0, :, 0] = 0.5
    pattern[0, 2, :, 0] = -0.5
    image = imread(io.BytesIO(variant_patterns.thumbnail(pattern)))
    assert image.shape == (48, 4 * 48 + 4 * 4, 4)
    np.testing.assert_allclose(image[:, 0, 3], 1)  # the largest weight of its row
    assert (image[:, 0, 2] > image[:, 0, 0]).all()  # blue above 0
    assert (image[:, 52, 0] > image[:, 52, 2]).all()  # orange below it
    np.testing.assert_array_equal(image[:, 48:52, 3], 0)  # gaps are clear
    assert 0 < image[0, 1, 3] < 0.2


def test_a_long_pattern_keeps_single_weights():
    pattern = np.zeros((2, 1, 96, 96), np.float32)
    pattern[:, :, :, 5] = 1.0
    image = imread(io.BytesIO(variant_patterns.thumbnail(pattern, heads=[0])))
    assert image.shape[0] == 48
    np.testing.assert_allclose(image[:, 2, 3], 1)


def test_all_variants_with_one_picture_are_variants():
    with pytest.raises(ValueError, match="`attention` must be one of .* got .telepathy."):
        variant_patterns.patterns("telepathy")
    with pytest.raises(ValueError, match="options of variant alibi"):
        variant_patterns.patterns("alibi", size=3)
    assert "alibi" in variants.names()
