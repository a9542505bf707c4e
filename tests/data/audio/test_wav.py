"""WAV files against scipy's writer, and what is refused of them."""

import io
import wave

import numpy as np
import pytest
import scipy.io.wavfile

from attention_jax.data.audio import wav


def made(width=2, *, rate=8000, channels=1, count=100):
    """A file of random bytes, by the standard library, and the whole numbers in it."""
    raw = np.random.default_rng(0).integers(0, 256, count * channels * width, np.uint8).tobytes()
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as opened:
        opened.setnchannels(channels)
        opened.setsampwidth(width)
        opened.setframerate(rate)
        opened.writeframes(raw)
    step = width * channels
    numbers = [
        int.from_bytes(raw[i : i + width], "little", signed=width > 1)
        for i in range(0, len(raw), step)
    ]
    return buffer.getvalue(), np.array(numbers, np.float64)


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_samples_of_every_width(width):
    data, numbers = made(width)
    expected = (numbers - 128) / 128 if width == 1 else numbers / 2 ** (8 * width - 1)
    found = wav.read(data, name="x.wav", rate=8000)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-7)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32"])
def test_files_that_scipy_writes(dtype):
    info = np.iinfo(dtype)
    whole = np.random.default_rng(1).integers(info.min, info.max, 50, dtype)
    buffer = io.BytesIO()
    scipy.io.wavfile.write(buffer, 16000, whole)
    middle = 2.0 ** (info.bits - 1)
    expected = (whole - (middle if dtype == "uint8" else 0.0)) / middle
    found = wav.read(buffer.getvalue(), name="x.wav", rate=16000)
    np.testing.assert_allclose(found, expected, atol=1e-7)


def test_what_is_written_is_read():
    samples = np.linspace(-1, 0.999, 77).astype(np.float32)
    data = wav.write(samples, rate=8000)
    assert scipy.io.wavfile.read(io.BytesIO(data))[0] == 8000
    found = wav.read(data, name="x.wav", rate=8000)
    np.testing.assert_allclose(found, samples, atol=2**-16)


def test_another_rate_is_changed_where_asked():
    at = np.arange(16000) / 16000
    tone = (0.5 * np.sin(2 * np.pi * 440 * at)).astype(np.float32)
    data = wav.write(tone, rate=16000)
    found = wav.read(data, name="x.wav", rate=8000, resample=True)
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(8000) / 8000)
    assert found.shape == (8000,) and found.dtype == np.float32
    np.testing.assert_allclose(found[100:-100], expected[100:-100], atol=2e-3)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (made(rate=16000)[0], "must have 8000 samples a second; a.wav has 16000. .*--resample"),
        (made(channels=2)[0], "must have one channel; a.wav has 2. Mix it down"),
        (made()[0][:-30], "holds 85 of 100. It was cut off: fetch it again"),
        (made(count=0)[0], "holds 0 of 0"),
        (made()[0][:30], "must be a WAV file of PCM; a.wav is not"),
        (b"ID3 something else", "must be a WAV file of PCM; a.wav is not .*ffmpeg"),
        (b"", "must be a WAV file of PCM; a.wav is not .it ends too early."),
    ],
)
def test_what_does_not_fit_is_one_clear_line(data, message):
    with pytest.raises(ValueError, match=message) as caught:
        wav.read(data, name="a.wav", rate=8000)
    assert "\n" not in str(caught.value)


def test_numbers_that_are_no_pcm_are_refused():
    buffer = io.BytesIO()
    scipy.io.wavfile.write(buffer, 8000, np.zeros(9, np.float32))
    with pytest.raises(
        ValueError, match="must be a WAV file of PCM; f.wav is not .*unknown format"
    ):
        wav.read(buffer.getvalue(), name="f.wav", rate=8000)
