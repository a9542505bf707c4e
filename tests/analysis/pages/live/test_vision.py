"""The page's Vision Transformers answer as the library's do, with the same attention."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attention_jax.analysis import image_attribution
from attention_jax.analysis.pages.live import describe_vision, pictures
from attention_jax.core.rotary import Rotary
from attention_jax.core.sinusoids import Sinusoids
from attention_jax.models.image_cnn import CNN, CNNConfig
from attention_jax.models.image_transformer import VisionTransformer
from attention_jax.nn.patches import ImageConfig
from attention_jax.nn.recurrence import Recurrence
from attention_jax.nn.transformer import TransformerConfig
from tests.support import node
from tests.support.asked import asked
from tests.support.drawn_models import drawn

CLASSES = 5
GRAY, COLOR = ImageConfig(12, 8, 1, 4), ImageConfig(8, 12, 3, 4)
TINY = TransformerConfig(CLASSES, width=16, layers=2, heads=4, feed_forward=24, dropout_rate=0.0)
MODELS = {
    "token": (GRAY, TINY, {}),
    "mean, color": (COLOR, TINY, {"pooling": "mean"}),
    "attention pooling": (COLOR, TINY, {"pooling": "attention", "registers": 2}),
    "registers": (GRAY, TINY, {"registers": 3}),
    "learned": (GRAY, TINY._replace(positions="learned", embedding_norm=True), {}),
    "halves": (COLOR, TINY._replace(sinusoids=Sinusoids("halves", "tensor2tensor", 2)), {}),
    "rope": (GRAY, TINY._replace(positions="rope", kv_heads=2, qk_norm=True), {}),
    "rope by rows and columns": (
        COLOR,
        TINY._replace(positions="rope", rotary=Rotary(axes=2, base=100.0), norm="post"),
        {"registers": 1},
    ),
    "convolutional": (COLOR, TINY, {"stem": "convolutional"}),
    "convolutional, patches of 2": (ImageConfig(6, 4, 1, 2), TINY, {"stem": "convolutional"}),
    "sparsemax": (GRAY, TINY._replace(attention="sparsemax"), {"pooling": "attention"}),
    "pattern": (GRAY, TINY._replace(attention="[alibi, softmax_with_sink]"), {}),
    "scan": (GRAY, TINY._replace(scan=True, activation="swiglu"), {}),
}
CODE = """
return data.map(({own, images, hidden}) => {
  const model = new Vision(own), plain = maps => maps.map(({weights: {shape, data}}) =>
    ({shape, data: [...data]}));
  return images.map(pixels => {
    const found = model.classify(Float32Array.from(pixels));
    const covered = Patches.covered(Float32Array.from(pixels), new Set([hidden]), own.image);
    const off = [{place: "encoder", layer: 0, head: 1}];
    return {logits: [...found.logits], probabilities: [...found.probabilities],
      encoder: plain(found.encoder), cross: plain(found.cross),
      covered: [...model.classify(covered).probabilities],
      without: [...model.classify(Float32Array.from(pixels), {off}).logits]};
  });
});
"""


def made(name):
    image, config, options = MODELS[name]
    return drawn(lambda: VisionTransformer(image, config, **options, rngs=nnx.Rngs(0)))


def images_of(image):
    draw = np.random.default_rng(1)
    size = (2, image.height, image.width, image.channels)
    return np.round(draw.random(size) * 255).astype(np.float32) / 255


HIDDEN = 3


@pytest.fixture(scope="module")
def found(tmp_path_factory, request):
    """What node makes of the models that the selected tests ask for, at once."""
    names = [name for name in MODELS if name in {"token", *asked(request, "name")}]
    classes = [str(n) for n in range(CLASSES)]
    data = [
        {
            "own": describe_vision.describe(made(name), classes),
            "images": [x.ravel().tolist() for x in images_of(MODELS[name][0])],
            "hidden": HIDDEN,
        }
        for name in names
    ]
    made_there = node.run(tmp_path_factory.mktemp("node"), CODE, data, scripts=pictures.MODEL)
    return dict(zip(names, made_there, strict=True))


@node.needs_node
@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", MODELS)
def test_the_page_answers_as_the_model_does(name, found):
    model, images = made(name), images_of(MODELS[name][0])
    graph, params = nnx.split(model, nnx.Param)
    logits = np.asarray(jax.jit(lambda p, x: nnx.merge(graph, p).classify(x))(params, images))
    for n, own in enumerate(found[name]):
        np.testing.assert_allclose(own["logits"], logits[n], atol=1e-4)
        maps = image_attribution.of_image(graph, params, images[n])
        for place in ("encoder", "cross"):
            expected = maps[place].weights if place in maps else []
            assert len(own[place]) == len(expected), place
            for weights, layer in zip(own[place], expected, strict=True):
                got = np.reshape(weights["data"], weights["shape"])
                np.testing.assert_allclose(got, layer, atol=1e-4)


@node.needs_node
@pytest.mark.sampled(1)
@pytest.mark.parametrize("name", ["token", "mean, color"])
def test_a_patch_is_hidden_as_occlusion_hides_it(name, found):
    graph, params = nnx.split(made(name), nnx.Param)
    lost = image_attribution.occlusion(graph, params, images_of(MODELS[name][0]))
    for own, of_image in zip(found[name], lost, strict=True):
        answer = int(np.argmax(own["logits"]))
        got = np.log(own["probabilities"][answer]) - np.log(own["covered"][answer])
        assert got == pytest.approx(of_image.ravel()[HIDDEN], abs=2e-4)


@node.needs_node
def test_a_head_is_off_as_if_its_output_were_0(found):
    model = made("token")
    out = model.encoder.layers[0].attention.out
    # The rows of the output's map that read head 1 of 4.
    out.kernel[...] = out.kernel[...].at[4:8].set(0)
    logits = np.asarray(model.classify(jnp.asarray(images_of(GRAY))))
    for own, expected in zip(found["token"], logits, strict=True):
        np.testing.assert_allclose(own["without"], expected, atol=1e-4)


def test_a_model_that_the_page_cannot_compute_says_why():
    why = {
        "linformer": TINY._replace(attention="linformer"),
        "min_gru": TINY._replace(recurrence=Recurrence("min_gru")),
        "bfloat16": TINY._replace(dtype="bfloat16"),
    }
    for name, config in why.items():
        model = drawn(lambda config=config: VisionTransformer(GRAY, config, rngs=nnx.Rngs(0)))
        assert name in [got for _, got in describe_vision.why_recorded(model)]
        with pytest.raises(ValueError, match="must be one that the page can compute"):
            describe_vision.describe(model, ["0"] * CLASSES)
    cnn = CNN(GRAY, CNNConfig(CLASSES, 8, 2, 0.0, "float32"), rngs=nnx.Rngs(0))
    assert describe_vision.why_recorded(cnn) == (("kind", "CNN"),)
