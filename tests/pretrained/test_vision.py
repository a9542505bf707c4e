"""ViT, DeiT and DINOv2: answers equal those of `transformers`, at other sizes too."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attention_jax import pretrained
from attention_jax.nn.patches import ImageConfig, Pixels
from attention_jax.nn.transformer import TransformerConfig
from attention_jax.pretrained.families import _vision
from tests.support import checkpoints

SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4}
SIZES |= {"image_size": 12, "patch_size": 4, "num_labels": 5}
WITH_UNITS, WITH_RATIO = SIZES | {"intermediate_size": 24}, SIZES | {"mlp_ratio": 3}
PEERS = {
    "ViTForImageClassification": WITH_UNITS,
    "ViTModel": WITH_UNITS,
    "DeiTForImageClassification": WITH_UNITS,
    "DeiTForImageClassificationWithTeacher": WITH_UNITS,
    "Dinov2ForImageClassification": WITH_RATIO,
    "Dinov2Model": WITH_RATIO | {"use_swiglu_ffn": True},
    "Dinov2WithRegistersForImageClassification": WITH_RATIO,
}


def peer(name, folder, **changes):
    """A small random model of `transformers`, written to a folder."""
    transformers = checkpoints.transformers()
    kind = name.split("For")[0].removesuffix("Model")
    config = getattr(transformers, f"{kind}Config")(**PEERS[name] | changes)
    return checkpoints.shaken(getattr(transformers, name)(config), folder)


def pictures(height=12, width=12, seed=0):
    return np.random.default_rng(seed).random((2, height, width, 3), np.float32)


def their_answer(model, pixels, images, **more):
    torch = checkpoints.torch()
    scaled = (images - np.array(pixels.mean)) / np.array(pixels.deviation)
    with torch.no_grad():
        found = model(torch.tensor(scaled.transpose(0, 3, 1, 2).astype(np.float32)), **more)
    return (found.logits if hasattr(found, "logits") else found.last_hidden_state).numpy()


def answer(loaded, images, model=None):
    model = loaded.model if model is None else model
    return (model.classify if loaded.config.head else model.states)(jnp.asarray(images))


@pytest.mark.parametrize("name", PEERS)
def test_answers_are_those_of_transformers_and_written_files_are_read(tmp_path, name):
    model, images = peer(name, tmp_path / "theirs"), pictures()
    loaded = pretrained.load(tmp_path / "theirs")
    wanted = their_answer(model, loaded.config.pixels, images)
    np.testing.assert_allclose(answer(loaded, images), wanted, rtol=1e-4, atol=1e-5)

    pretrained.save(loaded, tmp_path / "ours")
    read = type(model).from_pretrained(tmp_path / "ours").eval()
    np.testing.assert_array_equal(their_answer(read, loaded.config.pixels, images), wanted)


@pytest.mark.parametrize("name", PEERS)
def test_places_are_interpolated_for_other_sizes(tmp_path, name):
    model, images = peer(name, tmp_path), pictures(8, 20)
    loaded = pretrained.load(tmp_path)
    more = {} if name.startswith("Dino") else {"interpolate_pos_encoding": True}
    wanted = their_answer(model, loaded.config.pixels, images, **more)
    own = loaded.model.resized(ImageConfig(8, 20, 3, 4), antialias="Registers" in name)
    np.testing.assert_allclose(answer(loaded, images, own), wanted, rtol=1e-4, atol=1e-5)


def test_how_pixels_are_scaled_is_read_beside_the_weights(tmp_path):
    config = random_config("vit")
    checkpoints.written("vit", config, _vision.build(config, nnx.Rngs(0)), tmp_path)
    assert pretrained.load(tmp_path).config.pixels == Pixels()
    own = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(own))
    loaded, images = pretrained.load(tmp_path), pictures(8, 12)
    assert loaded.config.pixels == Pixels((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    plain = loaded.model
    plain.pixels = Pixels()
    mean, deviation = (np.array(own[x], np.float32) for x in ("image_mean", "image_std"))
    wanted = plain.classify(jnp.asarray(((images - mean) / deviation + 1) / 2))
    np.testing.assert_allclose(answer(loaded, images), wanted, rtol=1e-4, atol=1e-5)


def random_config(family, **changes):
    own = {"layers": 1, "heads": 2, "feed_forward": 24, "positions": "learned"}
    own |= {"activation": "gelu", "dropout_rate": 0.0}
    choices = {"registers": 1, "places": "all"} if family == "deit" else {}
    if family.startswith("dinov2"):
        choices, own = {"pooling": "both"}, own | {"layer_scale": 1.0}
    transformer = TransformerConfig(5, 8, **own | changes.pop("transformer", {}))
    image = ImageConfig(8, 12, 3, patch=4)
    return _vision.VisionConfig(transformer, image, **choices | changes)


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("vit", {}),
        ("vit", {"head": False}),
        ("deit", {}),
        ("deit", {"pooling": "distilled"}),
        ("dinov2", {}),
        ("dinov2_with_registers", {"registers": 3, "transformer": {"activation": "swiglu"}}),
    ],
)
def test_a_model_is_the_same_after_writing_and_reading(tmp_path, family, changes):
    config = random_config(family, **changes)
    model = _vision.build(config, nnx.Rngs(0))
    checkpoints.written(family, config, model, tmp_path)
    loaded, images = pretrained.load(tmp_path), pictures(8, 12)
    same = loaded.model
    same.pixels = model.pixels  # of which config.json says nothing
    wanted = answer(loaded, images, model)
    np.testing.assert_array_equal(answer(loaded, images, same), wanted)


def test_a_model_without_a_head_does_not_classify():
    model = _vision.build(random_config("vit", head=False), nnx.Rngs(0))
    with pytest.raises(ValueError, match="`classify` needs a layer of logits"):
        model.classify(jnp.asarray(pictures(8, 12)))


def test_a_wrong_shape_is_refused(tmp_path):
    config = random_config("vit")
    checkpoints.written("vit", config, _vision.build(config, nnx.Rngs(0)), tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"image_size": 16}))
    with pytest.raises(ValueError, match=r"position_embeddings must have shape \(17, 8\)"):
        pretrained.load(tmp_path)


@pytest.mark.parametrize(
    ("family", "transformer", "said"),
    [
        ("vit", {"layer_scale": 1.0}, "`layer_scale` must be None"),
        ("dinov2", {"layer_scale": None}, "`layer_scale` a number"),
        ("dinov2", {"feed_forward": 20}, "`feed_forward` must be a whole multiple"),
        ("deit", {"norm": "post"}, "`norm` of a model must be 'pre' to be written as deit"),
    ],
)
def test_a_model_that_none_is_like_is_not_written(tmp_path, family, transformer, said):
    config = random_config(family, transformer=transformer)
    with pytest.raises(ValueError, match=said):
        checkpoints.written(family, config, _vision.build(config, nnx.Rngs(0)), tmp_path / "new")
    assert not (tmp_path / "new").exists()
