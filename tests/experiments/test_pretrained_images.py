"""Image models of other libraries from the command line: classes of files, and their page."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attention_jax import pretrained
from attention_jax.nn.patches import ImageConfig
from attention_jax.nn.transformer import TransformerConfig
from attention_jax.pretrained.families import _vision
from experiments.common.experiment import PageFlags, PredictFlags
from experiments.common.pretrained_runs import load_pretrained
from experiments.predict import PredictConfig
from tests.support import checkpoints

Image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
pytest.importorskip("safetensors", reason="safetensors is not installed")

NAMES = {"0": "cat", "1": "dog, hound", "2": "owl"}
BESIDE = (PredictConfig(),)
PROCESSOR = "preprocessor_config.json"


def written(folder, family="vit", *, head=True, names=NAMES, processor=None):
    """A small random model, with names of its classes, and how it takes its pictures."""
    own = {"layers": 2, "heads": 2, "feed_forward": 24, "positions": "learned"}
    own |= {"activation": "gelu", "dropout_rate": 0.0}
    choices = {"registers": 1, "places": "all", "pooling": "distilled"} if family == "deit" else {}
    if family.startswith("dinov2"):
        choices, own = {"pooling": "both"}, own | {"layer_scale": 1.0}
    config = _vision.VisionConfig(
        TransformerConfig(3, 8, **own), ImageConfig(12, 12, 3, patch=4), head=head, **choices
    )
    model = _vision.build(config, nnx.Rngs(0))
    if head:
        model.head.kernel[...] *= 20.0  # so that classes are told apart
    checkpoints.written(family, config, model, folder)
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"id2label": names}))
    if processor is not None:
        (folder / PROCESSOR).write_text(json.dumps(processor))
    return folder


def picture(path, width=30, height=18, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def used(folder, member="predict"):
    return load_pretrained(folder, [f"--pretrained={folder}"], member=member, beside=BESIDE)


def shares(model, pixels):
    """The probability of each class, of an array from 0 to 255."""
    logits = model.classify(jnp.asarray(pixels, jnp.float32)[None] / 255)[0]
    found = np.exp(np.asarray(logits, np.float64))
    return found / found.sum()


@pytest.mark.parametrize(
    ("family", "processor", "resized", "box"),
    [
        ("vit", None, (12, 12), None),
        ("vit", {"size": 12, "resample": 3}, (12, 12), None),
        ("deit", {"size": {"height": 16, "width": 20}, "crop_size": 12}, (20, 16), (4, 2, 16, 14)),
        ("dinov2", {"size": {"shortest_edge": 14}, "crop_size": 12}, (23, 14), (5, 1, 17, 13)),
        ("dinov2", {"size": {"shortest_edge": 14}, "crop_size": 8}, (23, 14), (7, 3, 15, 11)),
    ],
)
def test_the_classes_of_files_are_those_of_the_model(tmp_path, family, processor, resized, box):
    """The pictures are those that Pillow gives by hand: sizes and corners are written out here."""
    if processor is not None and "crop_size" in processor:
        processor |= {"do_center_crop": True, "resample": 3}
    folder = written(tmp_path / "model", family, processor=processor)
    path = picture(tmp_path / "a.png")
    by_hand = Image.open(path).resize(resized, 3 if processor else 2)
    by_hand = np.asarray(by_hand if box is None else by_hand.crop(box))
    model = pretrained.load(folder).model
    if len(by_hand) != 12:
        model = model.resized(ImageConfig(8, 8, 3, 4))
    wanted = shares(model, by_hand)
    run = used(folder)
    lines = list(run.experiment.predict(run, PredictFlags(file=str(path), scores=True)))
    probabilities, names = zip(*(line.split("\t") for line in lines), strict=True)
    order = np.argsort(-wanted)
    assert list(names) == [NAMES[str(i)] for i in order]
    np.testing.assert_allclose([float(x) for x in probabilities], wanted[order], atol=2e-4)
    (best,) = run.experiment.predict(run, PredictFlags(file=str(path)))
    assert best == names[0]


def test_a_folder_of_pictures_has_a_line_each(tmp_path):
    folder = written(tmp_path / "model")
    (tmp_path / "own").mkdir()
    for n in range(6):  # more than a batch
        picture(tmp_path / "own" / f"{n}.png", seed=n)
    run = used(folder)
    lines = list(run.experiment.predict(run, PredictFlags(file=str(tmp_path / "own"))))
    assert [line.split("\t")[0] for line in lines] == [f"{n}.png" for n in range(6)]
    one = [
        next(run.experiment.predict(run, PredictFlags(file=str(tmp_path / "own" / f"{n}.png"))))
        for n in range(6)
    ]
    assert [line.split("\t")[1] for line in lines] == one


@pytest.mark.parametrize(("family", "before"), [("vit", 1), ("deit", 2), ("dinov2", 1)])
def test_the_page_shows_the_attention_of_all_patches(tmp_path, family, before):
    run, page = used(written(tmp_path / "model", family), "page"), None
    page = run.experiment.page
    given = PageFlags(file=str(picture(tmp_path / "a.png")), alternatives=2)
    (reading,) = page.read(run, page.items(run, given), given)
    maps = reading.maps["encoder"]
    assert maps.weights.shape == (2, 2, before + 9, before + 9) and maps.is_exact.all()
    np.testing.assert_allclose(maps.weights.sum(-1), 1, rtol=1e-5)
    assert len(reading.source) == before + 9 and reading.target[0] in NAMES.values()
    assert len(reading.alternatives) == 2
    pooling = {"vit": "token", "deit": "distilled", "dinov2": "both"}[family]
    assert page.about(run) == f"transformer, attention scaled_dot, pooling {pooling}"
    with pytest.raises(ValueError, match="`--file` must name a picture"):
        page.items(run, PageFlags())


def test_what_is_beside_the_weights_is_written_again(tmp_path):
    said = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6], "size": 12}
    loaded = pretrained.load(written(tmp_path / "model", processor=said))
    pretrained.save(loaded, tmp_path / "again")
    again = pretrained.load(tmp_path / "again")
    assert again.config == loaded.config and again.beside == loaded.beside == {PROCESSOR: said}


CROPPED = {"do_center_crop": True, "size": {"shortest_edge": 10}, "crop_size": 12}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"head": False}, "must name a model that knows classes"),
        ({"names": {"0": "cat"}}, "must name all of 3 classes; it names 1"),
        ({"processor": {"rescale_factor": 0.01}}, "`rescale_factor` .* must be 1 / 255"),
        ({"processor": {"do_rescale": False}}, "`rescale_factor` .* must be 1 / 255"),
        ({"processor": {"resample": 9}}, "`resample` .* must be one of"),
        ({"processor": {"size": "big"}}, "`size` .* must be a number"),
        ({"processor": {"size": 13}}, "must be a multiple of the model's patches of 4"),
        ({"processor": {"size": {"shortest_edge": 12}}}, "`do_center_crop` .* must be true"),
        ({"processor": CROPPED}, "`crop_size` .* must be no larger than `size`"),
    ],
)
def test_what_cannot_be_used_is_told_in_one_line(tmp_path, changes, said):
    with pytest.raises(ValueError, match=said):
        used(written(tmp_path / "model", **changes))
