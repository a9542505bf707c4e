"""Pictures of attention under a spectrogram: they are drawn, and misfits are refused."""

import io

import matplotlib.image
import numpy as np
import pytest

from attention_jax.analysis.plots import speech_alignment

SIZES = {"frames_per_position": 4, "seconds_per_frame": 0.01}


@pytest.mark.parametrize("heads", [1, 3])
def test_the_weights_stand_where_the_time_is(heads, tmp_path):
    path = tmp_path / "alignment.png"
    weights = np.zeros((1, heads, 2, 10), np.float32)
    weights[:, :, 0, 0] = weights[:, :, 1, 9] = 1
    frames = np.zeros((38, 5), np.float32)
    speech_alignment.alignment(frames, weights, ["a", "$b"], path, title="$x", **SIZES)
    picture = matplotlib.image.imread(path)[..., :3]
    # Of the last panel: its darkest blue is at both ends, first above, then below.
    blue = np.all(np.abs(picture - np.array([8, 48, 107]) / 255) < 0.02, axis=-1)
    last = blue[picture.shape[0] * (2 if heads > 1 else 1) // (3 if heads > 1 else 2) :]
    rows, columns = np.nonzero(last)
    middle = (columns.min() + columns.max()) / 2
    assert rows[columns < middle].max() <= rows[columns > middle].min()


def test_weights_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(
        ValueError, match=r"t=1 tokens and k=2 positions of 4 frames; got \(1, 1, 1, 3"
    ):
        speech_alignment.alignment(
            np.zeros((8, 5)), np.zeros((1, 1, 1, 3)), ["a"], tmp_path / "x.png", **SIZES
        )


def test_a_spectrogram_has_time_across_and_low_bands_below():
    frames = np.zeros((30, 5), np.float32)
    frames[20:, 0] = 1  # the lowest band, in the last third
    png = speech_alignment.spectrogram(frames, width=70, height=11)
    loud = matplotlib.image.imread(io.BytesIO(png))[..., :3].sum(axis=-1) > 1.5
    assert loud.shape == (10, 60)
    assert loud[8:, 40:].all() and not loud[:8].any() and not loud[:, :40].any()
