"""Attribution of image classifiers: weights of the output, rollout and occlusion by brute force."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attention_jax.analysis import image_attribution
from attention_jax.analysis.image_attribution import ImageMaps
from attention_jax.models.image_cnn import CNN, CNNConfig
from attention_jax.models.image_rnn import ImageRNN
from attention_jax.models.image_transformer import VisionTransformer
from attention_jax.nn.patches import ImageConfig
from attention_jax.nn.recurrent import RNNConfig
from attention_jax.nn.transformer import TransformerConfig

IMAGE = ImageConfig(6, 4, 1, patch=2)
SIZES = {"vocabulary_size": 5, "width": 8, "layers": 2, "heads": 2, "feed_forward": 16}


def vit(pooling="token", **changes):
    config = TransformerConfig(**(SIZES | changes))
    return VisionTransformer(IMAGE, config, pooling=pooling, rngs=nnx.Rngs(0))


def rnn(**changes):
    config = RNNConfig(**({"vocabulary_size": 5, "width": 8, "attention": "additive"} | changes))
    return ImageRNN(IMAGE, config, rngs=nnx.Rngs(0))


def split(model):
    graphdef, state = nnx.split(model)
    return graphdef, nnx.as_pure(state)


@pytest.fixture
def images():
    return np.random.default_rng(0).random((3, 6, 4, 1), np.float32)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("attention", ["scaled_dot", "additive"])
def test_weights_are_those_of_the_output(images, attention):
    model = vit("attention", attention=attention)
    found = image_attribution.attention(*split(model), images)
    assert found.is_exact.all() and found.pooling_is_exact.all()
    np.testing.assert_allclose(found.layers.sum(axis=-1), 1, atol=1e-5)

    @nnx.jit
    def answers(model, images, pooling):
        *_, call = model.attention_calls(image_attribution.Images(images))
        _, values = call.module.keys_values(call.memory)
        heads = jnp.einsum("bhn,bnhe->bhe", pooling, values).reshape(3, 1, -1)
        return model.classify(images), model.head(call.module.out(heads))[:, 0]

    got, wanted = answers(model, jnp.asarray(images), jnp.asarray(found.pooling))
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("model", [lambda: vit("attention", layers=1), rnn], ids=["vit", "rnn"])
def test_of_one_picture_the_weights_are_those_of_many(images, model):
    graphdef, params = split(model())
    many = image_attribution.attention(graphdef, params, images)
    one = image_attribution.of_image(graphdef, params, images[1])
    assert ("encoder" in one, "cross" in one) == (
        many.layers is not None,
        many.pooling is not None,
    )
    if "encoder" in one:
        np.testing.assert_allclose(one["encoder"].weights, many.layers[1], atol=1e-6)
    if "cross" in one:
        np.testing.assert_allclose(one["cross"].weights[0, :, 0], many.pooling[1], atol=1e-6)
    assert all(found.is_exact.all() for found in one.values())


@pytest.mark.slow
def test_an_rnn_has_the_pooling_alone_and_others_nothing(images):
    found = image_attribution.attention(*split(rnn()), images)
    assert found.layers is None and found.pooling.shape == (3, 1, 6) and found.grid == (6, 1)
    np.testing.assert_allclose(image_attribution.rollout(found).sum(axis=(1, 2)), 1, atol=1e-5)
    assert image_attribution.attention(*split(rnn(attention="none")), images) is None
    cnn = CNN(IMAGE, CNNConfig(5, width=4), rngs=nnx.Rngs(0))
    assert image_attribution.attention(*split(cnn), images) is None
    assert image_attribution.of_image(*split(cnn), images[0]) == {}


def drawn(layers, *, tokens=0, pooling=None):
    generator = np.random.default_rng(0)
    weights = generator.random((2, layers, 3, tokens + 4, tokens + 4), np.float32)
    weights /= weights.sum(axis=-1, keepdims=True)
    exact = np.ones((layers, 3), bool)
    asked = None if pooling is None else np.ones(3, bool)
    return ImageMaps(weights, pooling, exact, asked, tokens, (2, 2))


@pytest.mark.parametrize("tokens", [0, 1])
def test_rollout_sums_over_all_paths(tokens):
    """Brute force: a path stays where it is, or goes by a head's weight, in every layer."""
    found = drawn(3, tokens=tokens)
    n = tokens + 4
    wanted = np.zeros((2, n))
    for b in range(2):
        step = found.layers[b].mean(axis=1) / 2 + np.eye(n) / 2
        starts = [0] if tokens else range(n)
        for path in itertools.product(range(n), repeat=4):
            if path[0] in starts:
                ends = [step[2 - i][path[i], path[i + 1]] for i in range(3)]
                wanted[b, path[-1]] += np.prod(ends) / len(starts)
    np.testing.assert_allclose(
        image_attribution.rollout(found), wanted[:, tokens:].reshape(2, 2, 2), rtol=1e-4
    )


def test_rollout_begins_at_what_the_pooling_reads():
    pooling = np.zeros((2, 3, 4), np.float32)
    pooling[:, :, 3] = 1
    found = drawn(1, pooling=pooling)
    wanted = found.layers[:, 0].mean(axis=1)[:, 3] / 2
    wanted[:, 3] += 0.5
    np.testing.assert_allclose(image_attribution.rollout(found).reshape(2, 4), wanted, rtol=1e-5)


def test_heads_are_read_from_the_token_or_by_all():
    found = drawn(2, tokens=1)
    np.testing.assert_array_equal(
        image_attribution.heads(found).reshape(2, 2, 3, 4), found.layers[:, :, :, 0, 1:]
    )
    found = drawn(2, pooling=np.ones((2, 3, 4), np.float32))
    maps = image_attribution.heads(found)
    np.testing.assert_allclose(maps[:, 0].reshape(2, 3, 4), found.layers[:, 0].mean(axis=2))
    assert maps.shape == (2, 3, 3, 2, 2) and (maps[:, 2] == 1).all()
    assert image_attribution.names(found) == ["layer 1", "layer 2", "pooling"]
    assert list(image_attribution.columns(found)) == ["attention rollout", "attention pooling"]


@pytest.mark.parametrize("token", [0, 1])
def test_registers_are_no_class_token_and_are_not_pooled(token):
    found = drawn(1, tokens=token + 2)._replace(registers=2)
    maps, rows = image_attribution.heads(found)[:, 0].reshape(2, 3, 4), found.layers[:, 0]
    asked = rows[:, :, 0] if token else rows[:, :, 2:].mean(axis=2)
    np.testing.assert_allclose(maps, asked[..., token + 2 :], rtol=1e-5)
    step = rows.mean(axis=1) / 2 + np.eye(6 + token) / 2
    reads = step[:, 0] if token else step[:, 2:].mean(axis=1)
    rolled = image_attribution.rollout(found).reshape(2, 4)
    np.testing.assert_allclose(rolled, reads[:, token + 2 :], rtol=1e-4)


@pytest.mark.slow
def test_weights_that_mean_nothing_have_a_star(images, tmp_path):
    file = tmp_path / "squashed.py"
    file.write_text(
        "import jax.numpy as jnp\n"
        "from attention_jax import variants\n"
        "def squashed():\n"
        "    dot = variants.get('scaled_dot')\n"
        "    attend = lambda *x: jnp.tanh(dot.attend(*x))\n"
        "    return dot._replace(attend=attend, score=None)\n"
    )
    found = image_attribution.attention(*split(vit(attention=str(file))), images)
    assert image_attribution.names(found) == ["layer 1*", "layer 2*"]
    assert list(image_attribution.columns(found)) == ["attention rollout*"]
    found = drawn(2, pooling=np.ones((2, 3, 4), np.float32))
    # The rollout begins at what the pooling reads.
    unsure = found._replace(pooling_is_exact=np.array([True, False, True]))
    assert list(image_attribution.columns(unsure)) == ["attention rollout*", "attention pooling*"]
    unsure = found._replace(is_exact=~found.is_exact)
    assert list(image_attribution.columns(unsure)) == ["attention rollout*", "attention pooling"]


@pytest.mark.slow
@pytest.mark.parametrize("build", [vit, rnn], ids=["patches", "rows"])
def test_what_decides_is_what_is_lost_without_it(images, build):
    model = build()
    found = image_attribution.occlusion(*split(model), images)
    rows, columns = model.grid
    assert found.shape == (3, rows, columns)
    answers = nnx.jit(lambda model, images: jax.nn.log_softmax(model.classify(images)))
    whole = np.asarray(answers(model, jnp.asarray(images)))
    hidden = images.copy()
    for b, row in ((0, 0), (2, rows - 1)):
        hidden[b, row * 6 // rows : (row + 1) * 6 // rows, : 4 // columns] = images[b].mean()
    less = np.asarray(answers(model, jnp.asarray(hidden)))
    for b, row in ((0, 0), (2, rows - 1)):
        answer = int(whole[b].argmax())
        left = less[b, answer]
        assert found[b, row, 0] == pytest.approx(float(whole[b, answer] - left), abs=1e-5)
