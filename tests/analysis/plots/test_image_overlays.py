"""Maps over images: every panel is there, and colors follow the weights."""

import io

import numpy as np
import pytest
from matplotlib.image import imread

from attention_jax.analysis.plots import image_overlays


@pytest.mark.sampled(2)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("named", [{}, {"rollout": np.eye(3)[None].repeat(2, 0)}])
def test_the_overview_has_a_column_for_each_picture(tmp_path, channels, named):
    images = np.full((2, 6, 6, channels), 128, np.uint8)
    lost = np.zeros((2, 3, 3))
    lost[:, 1, 1] = 1
    few, many = tmp_path / "few.png", tmp_path / "many.png"
    image_overlays.overview(
        images[:1], ["cat $1"], {k: v[:1] for k, v in named.items()}, lost[:1], few
    )
    image_overlays.overview(images, ["cat", "dog (is cat)"], named, lost, many)
    shapes = [imread(path).shape for path in (few, many)]
    assert shapes[1][1] > shapes[0][1]
    # Something has a color: the patch that decided.
    assert np.ptp(imread(many)[..., :3], axis=-1).max() > 0.2


def test_heads_have_a_row_for_each_layer(tmp_path):
    image = np.zeros((6, 4, 1), np.uint8)
    for layers in (1, 3):
        names = [f"layer {i + 1}" for i in range(layers)]
        image_overlays.heads(
            image,
            np.ones((layers, 2, 3, 2)),
            tmp_path / f"{layers}.png",
            names=names,
            title="a cat",
        )
    one, three = (imread(tmp_path / f"{layers}.png").shape for layers in (1, 3))
    assert three[0] > 2 * one[0] and abs(three[1] - one[1]) < 20


@pytest.mark.parametrize("star", ["", "*"])
def test_colors_and_a_star_are_explained_below(star):
    image, ones = np.zeros((6, 6, 1), np.uint8), np.ones((1, 3, 3))
    drawn = [
        image_overlays.overview(image[None], ["cat"], {f"rollout{star}": ones}, ones),
        image_overlays.heads(image, ones[None], names=[f"layer 1{star}"]),
    ]
    texts = [" ".join(figure.get_supxlabel().split()) for figure in drawn]
    assert all("yellow the largest of the panel" in text for text in texts)
    assert [image_overlays.STAR in text for text in texts] == [bool(star)] * 2


@pytest.mark.parametrize("channels", [1, 3])
def test_an_enlarged_picture_has_the_same_pixels(channels):
    image = np.random.default_rng(0).integers(0, 256, (4, 6, channels), np.uint8)
    found = np.rint(255 * imread(io.BytesIO(image_overlays.enlarged(image, side=20)))[..., :3])
    assert found.shape == (12, 18, 3)
    np.testing.assert_array_equal(found[1::3, 1::3], np.broadcast_to(image, (4, 6, 3)))
    assert imread(io.BytesIO(image_overlays.enlarged(image, side=2))).shape[:2] == (4, 6)
