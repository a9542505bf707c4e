"""Files that a trained run is given: one or a folder, and what is wrong with them."""

import numpy as np
import pytest
from PIL import Image

from attention_jax.data.audio import wav
from attention_jax.data.audio.spectrogram import Spectrogram
from attention_jax.nn.patches import ImageConfig
from experiments.common import input_files

IMAGE = ImageConfig(height=2, width=4)


@pytest.fixture
def grey():
    return np.random.default_rng(0).integers(0, 256, (2, 4), np.uint8)


def test_pictures_of_a_folder_are_named_and_fitted(tmp_path, grey, capsys):
    Image.fromarray(grey).save(tmp_path / "b.png")
    ((name, picture),) = input_files.images(str(tmp_path / "b.png"), IMAGE)
    assert name == "b.png" and not capsys.readouterr().err
    np.testing.assert_array_equal(picture[..., 0], grey)
    for name in ("a.png", "c.JPG"):
        Image.fromarray(grey.repeat(3, axis=0)).convert("RGB").save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("")
    found = input_files.images(str(tmp_path), IMAGE)
    assert [name for name, _ in found] == ["a.png", "b.png", "c.JPG"]
    assert all(picture.shape == (2, 4, 1) for _, picture in found)
    assert capsys.readouterr().err.splitlines() == [
        f"{tmp_path}: not used: 1 .txt",
        "resized to 4 x 2 pixels: a.png, of 4 x 6, and 1 more",
    ]


def test_recordings_have_the_rate_of_the_run(tmp_path):
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, 800).astype(np.float32)
    for name, rate in (("a.wav", 8000), ("b.wav", 4000)):
        (tmp_path / name).write_bytes(wav.write(samples, rate=rate))
    (one,) = input_files.recordings(str(tmp_path / "a.wav"), Spectrogram())
    np.testing.assert_allclose(one.samples(), samples, atol=2**-15)
    with pytest.raises(ValueError, match="8000 samples a second; .*b.wav has 4000.*--resample"):
        input_files.recordings(str(tmp_path), Spectrogram())
    both = input_files.recordings(str(tmp_path), Spectrogram(), resample=True)
    assert [(one.name, one.length) for one in both] == [("a.wav", 800), ("b.wav", 1600)]


def test_bad_files_are_one_clear_line_or_left_out(tmp_path, capsys):
    (tmp_path / "bad.wav").write_bytes(b"nothing")
    (tmp_path / "short.wav").write_bytes(wav.write(np.zeros(150), rate=8000))
    for name, message in (
        ("bad.wav", "bad.wav is not"),
        ("short.wav", "at least one window of 200 samples; short.wav has 150"),
        ("", "bad.wav is not"),
        ("none.wav", "`--file` must name a recording, or a folder of such; .*none.wav does not ex"),
    ):
        with pytest.raises(ValueError, match=message) as caught:
            input_files.recordings(str(tmp_path / name), Spectrogram())
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="`--file` must name an image, .*; got none"):
        input_files.images(None, IMAGE)
    with pytest.raises(ValueError, match="holds no file in .png, .jpg, .jpeg"):
        input_files.images(str(tmp_path), IMAGE)
    (tmp_path / "whole.wav").write_bytes(wav.write(np.zeros(400), rate=8000))
    (one,) = input_files.recordings(str(tmp_path), Spectrogram(), skip_bad=True)
    assert one.name == "whole.wav" and capsys.readouterr().err.count("left out: ") == 2
    with pytest.raises(ValueError, match="bad.wav is not"):
        input_files.recordings(str(tmp_path / "bad.wav"), Spectrogram(), skip_bad=True)
