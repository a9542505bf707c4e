"""The Vision Transformer: its places, its answer, and that any variant serves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attention_jax.core.rotary import Rotary
from attention_jax.models.image_transformer import VisionTransformer
from attention_jax.nn.patches import ImageConfig, Pixels
from attention_jax.nn.transformer import TransformerConfig
from attention_jax.nn.transformer_layers import Residual
from tests.support.equations import linear, norm, numbers

IMAGE = ImageConfig(6, 4, 1, patch=2)
SIZES = {"vocabulary_size": 5, "width": 8, "layers": 2, "heads": 2, "feed_forward": 16}


def build(pooling="token", stem="linear", registers=0, places="axes", **changes):
    config = TransformerConfig(**(SIZES | changes))
    own = {"pooling": pooling, "stem": stem, "registers": registers, "places": places}
    return VisionTransformer(IMAGE, config, **own, rngs=nnx.Rngs(0))


@pytest.fixture
def images():
    return jnp.asarray(np.random.default_rng(0).random((3, 6, 4, 1), np.float32))


@pytest.mark.slow
def test_a_place_is_a_row_and_a_column():
    model = build()
    wanted = np.zeros((6, 8))
    for row, column in np.ndindex(3, 2):
        for half, place in enumerate((row, column)):
            for c in range(2):
                angle = place / 10_000 ** (2 * c / 4)
                wanted[2 * row + column, 4 * half + 2 * c :][:2] = np.sin(angle), np.cos(angle)
    np.testing.assert_allclose(model.places(), wanted, rtol=1e-5, atol=1e-6)
    learned = build(positions="learned")
    wanted = [
        np.concatenate([learned.rows[...][row], learned.columns[...][column]])
        for row in range(3)
        for column in range(2)
    ]
    np.testing.assert_array_equal(learned.places(), np.stack(wanted))
    assert build(positions="none").places() is None


def attend(layer, x):
    q, k, v = (linear(part, x) for part in (layer.query, layer.key, layer.value))
    out = np.zeros_like(q)
    for h, i in np.ndindex(layer.heads, len(x)):
        own = slice(h * layer.head_width, (h + 1) * layer.head_width)
        weights = np.exp(k[:, own] @ q[i, own] / np.sqrt(layer.head_width))
        out[i, own] = weights @ v[:, own] / weights.sum()
    return linear(layer.out, out)


def test_the_answer_is_that_of_the_equations(images):
    """Equations 1 to 4 of arXiv:2010.11929, in float64; ReLU in place of GELU."""
    model = build()
    logits = model.classify(images)
    for image, found in zip(np.asarray(images, np.float64), logits, strict=True):
        pixels = [
            image[2 * row : 2 * row + 2, 2 * column : 2 * column + 2].ravel()
            for row in range(3)
            for column in range(2)
        ]
        x = linear(model.embed, 2 * np.stack(pixels) - 1) + np.asarray(model.places(), np.float64)
        x = np.concatenate([numbers(model.token)[None], x])
        for layer in model.encoder.each():
            x = x + attend(layer.attention, norm(layer.around_attention.norm, x))
            inside = linear(layer.feed_forward.up, norm(layer.around_feed_forward.norm, x))
            x = x + linear(layer.feed_forward.down, np.maximum(inside, 0))
        wanted = linear(model.head, norm(model.norm, x[0]))
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pooling", ["token", "mean", "attention"])
def test_registers_stand_beside_the_patches_and_are_not_pooled(images, pooling):
    """Darcet et al. 2023, arXiv:2309.16588, section 2.2: one layer's input, and its output."""
    model = build(pooling, registers=2)
    first = int(pooling == "token")
    assert model.tokens == first + 2
    x = model.encoder_input(images)
    assert x.shape == (3, 6 + first + 2, 8)
    for image in range(3):
        np.testing.assert_array_equal(x[image, first : first + 2], model.registers[...])
    plain = build(pooling).encoder_input(images)
    np.testing.assert_array_equal(x[:, first + 2 :], plain[:, first:])
    out = model.norm(model.encoder(x))
    if pooling == "token":
        pooled = out[:, 0]
    elif pooling == "mean":
        pooled = sum(out[:, i] for i in range(2, 8)) / 6
    else:
        pooled = model.pool(out[:, 2:])
    np.testing.assert_allclose(model.classify(images), model.head(pooled), rtol=1e-4, atol=1e-5)


def test_a_wrong_number_of_registers_is_named():
    with pytest.raises(ValueError, match="^`registers` must be"):
        build(registers=-1)


def test_two_axes_turn_patches_by_rows_and_columns(images):
    """Heo et al. 2024, arXiv:2403.13298, section 3.2, of queries and keys."""
    for pooling in ("token", "mean"):
        model = build(pooling, positions="rope", rotary=Rotary(100.0, axes=2))
        for layer in model.encoder.each():
            assert layer.attention.rope.grid == (2, int(pooling == "token"))
    layer = build("token", positions="rope", rotary=Rotary(100.0, axes=2)).encoder.each()[0]
    x = jnp.asarray(np.random.default_rng(1).normal(size=(1, 7, 8)), jnp.float32)
    q, k = layer.attention.queries(x)[0], layer.attention.keys_values(x)[0][0]
    plain = np.asarray(layer.attention.query(x)[0].reshape(7, 2, 4), np.float64)
    keys = np.asarray(layer.attention.key(x)[0].reshape(7, 2, 4), np.float64)
    places = [(0, 0), *np.ndindex(3, 2)]  # a token, then 3 rows of 2 patches

    def rotated(y, place):
        """Of 4 channels one pair turns by the row, the other by the column."""
        out = np.zeros(4)
        for axis, angle in enumerate(place):
            a, b = y[2 * axis : 2 * axis + 2]
            out[2 * axis] = a * np.cos(angle) - b * np.sin(angle)
            out[2 * axis + 1] = b * np.cos(angle) + a * np.sin(angle)
        return out

    for i, h in np.ndindex(7, 2):
        np.testing.assert_allclose(q[i, h], rotated(plain[i, h], places[i]), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(k[i, h], rotated(keys[i, h], places[i]), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("pooling", ["mean", "attention"])
def test_without_places_the_order_of_patches_does_not_count(images, pooling):
    turned = images.reshape(3, 3, 2, 4, 1)[:, jnp.array([2, 0, 1])].reshape(images.shape)
    model = build(pooling, positions="none")
    np.testing.assert_allclose(model.classify(turned), model.classify(images), atol=1e-5)
    model = build(pooling)
    assert not np.allclose(model.classify(turned), model.classify(images), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pooling", "changes"),
    [
        ("mean", {"positions": "learned", "norm": "post"}),
        ("mean", {"registers": 2, "embedding_norm": True, "norm_kind": "rms"}),
        ("token", {"positions": "rope", "kv_heads": 1, "attention": "alibi"}),
        ("attention", {"scan": True, "attention": "additive"}),
        ("attention", {"remat": True, "attention": "retention", "stem": "convolutional"}),
    ],
    ids=str,
)
def test_every_kind_learns(images, pooling, changes):
    graphdef, state = nnx.split(build(pooling, dropout_rate=0.5, **changes))

    @jax.jit
    def gradient(params, key):
        def loss(params):
            logits = nnx.merge(graphdef, params).classify(images, rngs=nnx.Rngs(dropout=key))
            return (logits**2).sum()

        return jax.grad(loss)(params)

    found = gradient(nnx.as_pure(state), jax.random.key(0))
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(found))
    assert all(jnp.abs(leaf).max() > 0 for leaf in jax.tree.leaves(found["embed"]))
    other = gradient(nnx.as_pure(state), jax.random.key(1))
    for one, another in zip(*map(jax.tree.leaves, (found["embed"], other["embed"])), strict=True):
        assert not np.allclose(one, another)


@pytest.mark.slow
def test_half_the_precision_is_close(images):
    half = build("attention", dtype="bfloat16", positions="learned")
    # Flax's norms promote by themselves.
    with jax.numpy_dtype_promotion("standard"):
        logits = half.classify(images)
    assert logits.dtype == jnp.float32
    whole = build("attention", positions="learned").classify(images)
    np.testing.assert_allclose(logits, whole, atol=0.1)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"pooling": "max"}, "`pooling` must be one of 'token', 'attention', 'mean'"),
        ({"positions": "golden"}, "`positions` must be one of"),
        ({"width": 6}, "`width` must be a multiple of 4, .* got 6. The nearest above is 8"),
        ({"width": 7, "heads": 1, "positions": "learned"}, "multiple of 2"),
    ],
)
def test_what_cannot_be_built_is_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        build(**wrong)


def test_places_of_each_patch_are_added_and_registers_have_none(images):
    for places, count in (("each", 7), ("all", 9)):
        model = build(registers=2, positions="learned", places=places)
        assert model.each.shape == (count, 8)
        found = np.asarray(model.encoder_input(images), np.float64)
        first = count - 6
        own = numbers(model.each)
        plain = np.asarray(model.embed(2 * images - 1), np.float64)
        np.testing.assert_allclose(found[:, 3:], plain + own[first:], rtol=1e-5, atol=1e-6)
        before = np.concatenate([numbers(model.token)[None], numbers(model.registers)])
        before[:first] += own[:first]
        np.testing.assert_allclose(found[:, :3], np.stack([before] * 3), rtol=1e-5, atol=1e-6)


def test_two_answers_are_averaged_and_two_vectors_stand_side_by_side(images):
    model = build(pooling="distilled", registers=1)
    states = np.asarray(model.states(images), np.float64)
    wanted = (linear(model.head, states[:, 0]) + linear(model.other_head, states[:, 1])) / 2
    np.testing.assert_allclose(model.classify(images), wanted, rtol=1e-5, atol=1e-6)
    model = build(pooling="both", registers=1)
    states = np.asarray(model.states(images), np.float64)
    joined = np.concatenate([states[:, 0], states[:, 2:].mean(1)], axis=-1)
    np.testing.assert_allclose(
        model.classify(images), linear(model.head, joined), rtol=1e-5, atol=1e-6
    )


def test_pixels_are_scaled_by_channel(images):
    model = build()
    model.pixels = Pixels((0.3,), (0.2,))
    other = build()
    wanted = other.classify(((images - 0.3) / 0.2 + 1) / 2)
    np.testing.assert_allclose(model.classify(images), wanted, rtol=1e-4, atol=1e-5)


def test_a_resized_model_keeps_all_but_its_places(images):
    model = build(positions="learned", places="each")
    same = model.resized(IMAGE)
    np.testing.assert_allclose(same.classify(images), model.classify(images), rtol=1e-5, atol=1e-6)
    larger = model.resized(ImageConfig(8, 6, 1, patch=2))
    assert larger.classify(jnp.ones((1, 8, 6, 1))).shape == (1, 5)
    np.testing.assert_array_equal(larger.each[...][0], model.each[...][0])
    assert model.each.shape == (7, 8)


@pytest.mark.parametrize(
    ("choices", "said"),
    [
        ({"pooling": "distilled"}, "`registers` must be at least 1"),
        ({"places": "each"}, "`places` must be 'axes' where positions are not learned"),
        ({"places": "some"}, "`places` must be one of 'axes', 'each', 'all'"),
    ],
)
def test_choices_that_do_not_go_together_are_refused(choices, said):
    with pytest.raises(ValueError, match=said):
        build(**choices)


def test_only_places_of_each_patch_are_resized():
    with pytest.raises(ValueError, match="`image` must have the channels and patches"):
        build(positions="learned").resized(ImageConfig(8, 6, 1, patch=2))


def test_a_gain_of_each_channel_stands_before_the_shortcut(draw):
    config = TransformerConfig(5, 8, layers=1, heads=2, feed_forward=12, layer_scale=0.5)
    plain, scaled = (
        Residual(own, rngs=nnx.Rngs(0)) for own in (config._replace(layer_scale=None), config)
    )
    x, update = draw(1, 3, 8), draw(1, 3, 8)
    gains = draw(8)
    scaled.gains[...] = gains
    wanted = np.asarray(x, np.float64) + np.asarray(gains) * np.asarray(update)
    np.testing.assert_allclose(scaled.add(x, update), wanted, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(plain.add(x, update), x + update, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="`layer_scale` must be"):
        config._replace(layer_scale=0.0).check()
