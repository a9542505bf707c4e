"""WAV and FLAC files against other writers, and what is refused of them."""

import io
import struct
import wave

import numpy as np
import pytest
import scipy.io.wavfile
import soundfile

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


@pytest.mark.slow
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
        (made()[0][:30], "must be a WAV or FLAC file; a.wav is not .*No 'data' chunk"),
        (b"ID3 something else", "must be a WAV or FLAC file; a.wav is not .*ffmpeg"),
        (b"", "must be a WAV or FLAC file; a.wav is not .*not recognised"),
    ],
)
def test_what_does_not_fit_is_one_clear_line(data, message):
    with pytest.raises(ValueError, match=message) as caught:
        wav.read(data, name="a.wav", rate=8000)
    assert "\n" not in str(caught.value)


def encoded(samples, *, rate=8000, **how):
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, **how)
    return buffer.getvalue()


NOISE = 0.2 * np.random.default_rng(2).normal(size=3000)


@pytest.mark.parametrize(
    ("how", "step"),
    [
        ({"format": "WAV", "subtype": "FLOAT"}, 1e-7),
        ({"format": "WAV", "subtype": "DOUBLE"}, 1e-7),
        ({"format": "WAVEX", "subtype": "PCM_24"}, 2**-23),
        ({"format": "RF64", "subtype": "PCM_16"}, 2**-15),
        ({"format": "WAV", "subtype": "ULAW"}, 0.02),
        ({"format": "WAV", "subtype": "ALAW"}, 0.02),
        ({"format": "FLAC", "subtype": "PCM_16"}, 2**-15),
        ({"format": "FLAC", "subtype": "PCM_24"}, 2**-23),
    ],
    ids=lambda value: "-".join(value.values()) if isinstance(value, dict) else "",
)
def test_kinds_that_people_have(how, step):
    found = wav.read(encoded(NOISE, **how), name="x", rate=8000)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, NOISE, atol=step)


def test_a_cut_flac_file_is_one_clear_line():
    data = encoded(NOISE, format="FLAC")
    for end in (len(data) // 2, 60, 20):
        with pytest.raises(ValueError, match="must be a WAV or FLAC file; f.flac is not") as caught:
            wav.read(data[:end], name="f.flac", rate=8000)
        assert "\n" not in str(caught.value)


def resized(data, size):
    """The file with another size in the header of its data, which stand at byte 44."""
    assert data[36:40] == b"data"
    return data[:40] + struct.pack("<I", size) + data[44:]


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000])
def test_a_streamed_file_is_read_to_its_end(size):
    data, numbers = made()
    found = wav.read(resized(data, size), name="x.wav", rate=8000)
    np.testing.assert_allclose(found, numbers / 2**15, atol=1e-7)


def test_no_samples_are_made_of_what_stands_behind_an_empty_chunk():
    note = b"LIST" + struct.pack("<I", 6) + b"by me!"
    with pytest.raises(ValueError, match="holds 0 of 0"):
        wav.read(made(count=0)[0] + note, name="x.wav", rate=8000)


def test_chunks_before_and_behind_the_samples_are_skipped():
    data, numbers = made()
    note = b"LIST" + struct.pack("<I", 5) + b"by me" + b"\0"
    found = wav.read(data[:12] + note + data[12:] + note, name="x.wav", rate=8000)
    np.testing.assert_allclose(found, numbers / 2**15, atol=1e-7)
    with pytest.raises(ValueError, match="holds 90 of 100. It was cut off"):
        wav.read(data[:12] + note + data[12:-20], name="x.wav", rate=8000)


def test_what_is_no_number_is_refused():
    data = encoded(np.where(np.arange(9) == 4, np.nan, 0.0), format="WAV", subtype="FLOAT")
    with pytest.raises(ValueError, match="must hold finite numbers; f.wav does not"):
        wav.read(data, name="f.wav", rate=8000)
