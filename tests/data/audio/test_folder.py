"""A user's recordings: a folder, a table, and each way in which they can be bad."""

import numpy as np
import pytest
import soundfile

from attention_jax.data.audio import wav
from attention_jax.data.audio.folder import read


def sine(rate=8000):
    at = np.arange(rate // 10) / rate
    return wav.write(0.3 * np.sin(2 * np.pi * 440 * at), rate=rate)


@pytest.fixture
def folder(tmp_path):
    for i in range(12):
        (tmp_path / f"{i}.wav").write_bytes(sine())
        (tmp_path / f"{i}.txt").write_text(f"word  {i}\n")
    return tmp_path


def everything(corpus):
    return [*corpus.train, *corpus.validation, *corpus.tests["test"]]


def test_a_folder_of_recordings_beside_their_texts(folder):
    corpus = read(folder, rate=8000)
    assert (len(corpus.train), len(corpus.validation), len(corpus.tests["test"])) == (8, 2, 2)
    assert {u.transcript for u in everything(corpus)} == {f"word {i}" for i in range(12)}
    assert all(len(u.samples()) == u.length == 800 for u in everything(corpus))
    again = read(folder, rate=8000)
    assert [u.name for u in corpus.train] == [u.name for u in again.train]
    other = read(folder, rate=8000, seed=1)
    assert [u.name for u in corpus.train] != [u.name for u in other.train]


def test_no_recording_is_left_out_for_the_letters_of_its_suffix(folder):
    for old, new in (("3.wav", "3.WAV"), ("4.wav", "4.Wav"), ("4.txt", "4.TXT")):
        (folder / old).rename(folder / new)
    found = everything(read(folder, rate=8000))
    assert {u.transcript for u in found} == {f"word {i}" for i in range(12)}


def test_flac_files_stand_beside_wav_files(folder):
    samples = wav.read((folder / "3.wav").read_bytes(), name="3.wav", rate=8000)
    soundfile.write(folder / "3.flac", samples, 8000, subtype="PCM_16")
    (folder / "3.wav").unlink()
    found = {u.transcript: u for u in everything(read(folder, rate=8000))}
    assert found.keys() == {f"word {i}" for i in range(12)}
    np.testing.assert_array_equal(found["word 3"].samples(), samples)


def test_a_table_names_files_and_splits(folder):
    table = folder / "all.tsv"
    splits = ["train", "validation", "test"] * 4
    table.write_text("".join(f"{i}.wav\tsaid {i}\t{s}\n" for i, s in enumerate(splits)))
    corpus = read(table, rate=8000)
    assert [u.transcript for u in corpus.tests["test"]] == ["said 2", "said 5", "said 8", "said 11"]


def test_another_rate_is_refused_or_resampled(folder):
    (folder / "3.wav").write_bytes(sine(16000))
    with pytest.raises(ValueError, match="3.wav has 16000. .*--resample. Or leave .*--skip_bad"):
        read(folder, rate=8000)
    assert len(everything(read(folder, rate=8000, resample=True))) == 12
    corpus = read(folder, rate=8000, skip_bad=True)
    assert len(everything(corpus)) == 11 and len(corpus.skipped) == 1


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "3.txt").write_text(" \n"), "`transcript` must not be empty; .*3.wav is"),
        (lambda f: (f / "3.txt").unlink(), "`transcript` must not be empty; .*3.wav is"),
        (lambda f: (f / "3.wav").write_bytes(sine()[:-50]), "3.wav holds 775 of 800. It was cut"),
        (lambda f: (f / "3.wav").write_bytes(b"x"), "must be a WAV or FLAC file; .*3.wav is not"),
    ],
)
def test_a_bad_recording_is_one_line_or_left_out(folder, spoil, message):
    spoil(folder)
    with pytest.raises(ValueError, match=message) as caught:
        read(folder, rate=8000)
    assert "\n" not in str(caught.value)
    corpus = read(folder, rate=8000, skip_bad=True)
    assert len(everything(corpus)) == 11 and len(corpus.skipped) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1.wav said\n", "lines of file, transcript .* line 1 of .*all.tsv is '1.wav said'"),
        ("1.wav\tsaid\tsometimes\n", "lines of file, transcript"),
        ("1.wav\tone\ttrain\n2.wav\ttwo\n", "names it on 1 of 2"),
        ("none.wav\tone\n", "none.wav does not"),
        ("1.wav\tone\n2.wav\ttwo\n", "has none for train, of 2 in all"),
    ],
)
def test_a_bad_table_is_one_line(folder, text, message):
    table = folder / "all.tsv"
    table.write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        read(table, rate=8000)
    assert "\n" not in str(caught.value)


def test_an_empty_folder_and_no_folder_are_one_line(tmp_path):
    with pytest.raises(ValueError, match="`path` must be a folder of recordings"):
        read(tmp_path, rate=8000)
    with pytest.raises(ValueError, match="`--sounds` must be a folder of recordings"):
        read(tmp_path, rate=8000, argument="--sounds")
    with pytest.raises(FileNotFoundError, match="none.tsv does not exist"):
        read(tmp_path / "none.tsv", rate=8000)
