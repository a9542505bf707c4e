"""Spoken digits: the official split, sequences of one speaker, and damaged archives."""

import io
import zipfile

import numpy as np
import pytest

from attention_jax.data.audio import spoken_digits, wav
from tests.support.paths import DATA

REAL = DATA / "fsdd" / "fsdd_recordings.zip"
needs_data = pytest.mark.skipif(not REAL.is_file(), reason="needs the zip of spoken digits")


def archive(path, *, indices=range(9), extra=()):
    """A zip of noise named as digits: of two speakers, 30 samples and more each."""
    draw = np.random.default_rng(0)
    with zipfile.ZipFile(path, "w") as opened:
        for digit in range(10):
            for speaker in ("ada", "bob"):
                for index in indices:
                    noise = draw.normal(0, 0.1, 300 + digit)
                    data = wav.write(noise, rate=8000)
                    opened.writestr(f"recordings/{digit}_{speaker}_{index}.wav", data)
        opened.writestr("recordings/README.md", "notes")
        for name, data in extra:
            opened.writestr(name, data)
    return path


def test_the_official_split(tmp_path):
    corpus = spoken_digits.single(archive(tmp_path / "d.zip"))
    sizes = [len(part) for part in (corpus.train, corpus.validation, corpus.tests["test"])]
    assert sizes == [40, 40, 100]
    indices = {int(u.name.removesuffix(".wav").split("_")[-1]) for u in corpus.tests["test"]}
    assert indices == set(range(5))
    utterance = corpus.train[0]
    assert utterance.transcript == "zero" and len(utterance.samples()) == utterance.length == 300


@pytest.mark.slow
def test_sequences_are_of_one_speaker_and_one_split(tmp_path):
    path = archive(tmp_path / "d.zip")
    options = {"train_size": 30, "validation_size": 5, "test_size": 20, "seed": 3}
    corpus, again = (
        spoken_digits.sequences(spoken_digits.single(path), **options) for _ in range(2)
    )
    single = spoken_digits.single(path)
    counts = set()
    for number, utterance in enumerate(corpus.tests["test"]):
        words = utterance.transcript.split()
        counts.add(len(words))
        assert set(words) <= set(spoken_digits.WORDS)
        samples = utterance.samples()
        # No pause is shorter than 0.05 s; its noise has a generator of its own.
        noise = np.random.default_rng((3, 2, number, 1)).standard_normal(400, np.float32)
        np.testing.assert_array_equal(samples[:400], np.float32(1e-3) * noise)
        speaker = utterance.name.split()[-1]
        own = [u for u in single.tests["test"] if speaker in u.name]
        # The first word is one of the speaker's test recordings, after its pause.
        inside = [u for u in own if u.transcript == words[0]]
        fits = [
            np.abs(np.correlate(samples[: 400 + 3300 + u.length], u.samples(), "valid")).max()
            / np.square(u.samples()).sum()
            for u in inside
        ]
        assert max(fits) == pytest.approx(1, abs=0.05)
    assert counts == {3, 4, 5, 6, 7}
    assert {len(u.transcript.split()) for u in corpus.train} >= {1, 2, 7}
    for one, other in zip(corpus.train, again.train, strict=True):
        assert one.transcript == other.transcript
        np.testing.assert_array_equal(one.samples(), other.samples())


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (wav.write(np.zeros(400), rate=16000), "8000 samples a second; .*9_eve_0.wav has 16"),
        (wav.write(np.zeros(400), rate=8000)[:-9], "was cut off"),
        (b"nothing", "must be a WAV or FLAC file"),
    ],
)
def test_a_bad_recording_is_one_line_or_left_out(data, message, tmp_path):
    path = archive(tmp_path / "d.zip", extra=[("recordings/9_eve_0.wav", data)])
    with pytest.raises(ValueError, match=message) as caught:
        spoken_digits.single(path)
    assert "\n" not in str(caught.value) and "--skip_bad" in str(caught.value)
    corpus = spoken_digits.single(path, skip_bad=True)
    assert len(corpus.tests["test"]) == 100 and len(corpus.skipped) == 1


def test_a_recording_of_another_name_is_bad(tmp_path):
    data = wav.write(np.zeros(400), rate=8000)
    path = archive(tmp_path / "d.zip", extra=[("recordings/nine.wav", data)])
    with pytest.raises(ValueError, match="named digit_speaker_index.wav; got recordings/nine.wav"):
        spoken_digits.single(path)


def test_a_damaged_member_is_one_line_or_left_out(tmp_path):
    path = archive(tmp_path / "d.zip")
    data = bytearray(path.read_bytes())
    info = zipfile.ZipFile(io.BytesIO(data)).infolist()[4]
    data[info.header_offset + 100] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(ValueError, match=rf"`data` must be whole; {info.filename} is damaged"):
        spoken_digits.single(path)
    assert len(spoken_digits.single(path, skip_bad=True).skipped) == 1


def test_an_archive_that_is_none_is_one_line(tmp_path):
    path = archive(tmp_path / "d.zip")
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(ValueError, match="d.zip is damaged or none") as caught:
        spoken_digits.single(path, skip_bad=True)
    assert "\n" not in str(caught.value)
    with pytest.raises(FileNotFoundError, match="none.zip does not exist"):
        spoken_digits.single(tmp_path / "none.zip")
    with zipfile.ZipFile(tmp_path / "empty.zip", "w"):
        pass
    with pytest.raises(ValueError, match="empty.zip holds none"):
        spoken_digits.single(tmp_path / "empty.zip")


def test_splits_without_recordings_are_refused(tmp_path):
    path = archive(tmp_path / "d.zip", indices=range(5))
    with pytest.raises(ValueError, match="recordings of the train split; got none"):
        spoken_digits.sequences(spoken_digits.single(path))
    with pytest.raises(ValueError, match="`fewest` must be .* got fewest=5, most=4"):
        spoken_digits.sequences(spoken_digits.single(path), fewest=5, most=4)


@pytest.mark.slow
@needs_data
def test_the_real_archive_has_300_test_recordings():
    corpus = spoken_digits.single(REAL)
    assert len(corpus.train) + len(corpus.validation) == 2700
    assert len(corpus.tests["test"]) == 300
    assert {u.transcript for u in corpus.train} == set(spoken_digits.WORDS)
