"""Tones: the same from the same seed, the letters that they spell, and what is held out."""

import numpy as np
import pytest

from attention_jax.data.audio import tone_words

SMALL = {"train_size": 60, "validation_size": 10, "test_size": 10}


def test_a_recording_sounds_the_chords_of_its_letters():
    utterance = tone_words.tones(**SMALL, noise=0.0).train[0]
    samples = utterance.samples()
    assert len(samples) == utterance.length and samples.dtype == np.float32
    assert np.abs(samples).max() <= 1
    # The loudest frequencies of a stretch of sound are those of its letter.
    sounding = np.convolve(np.abs(samples), np.ones(40), "same") > 1e-3
    edges = np.flatnonzero(np.diff(np.concatenate([[0], sounding.astype(int), [0]])))
    letters = utterance.transcript.replace(" ", "")
    assert len(edges) == 2 * len(letters)
    for letter, (start, end) in zip(letters, edges.reshape(-1, 2), strict=True):
        power = np.abs(np.fft.rfft(samples[start:end], 8000)) ** 2
        low, high = power[300:1400].argmax() + 300, power[1400:].argmax() + 1400
        np.testing.assert_allclose((low, high), tone_words.chord(letter), rtol=0.04)


def test_letters_sound_different_and_words_use_no_others():
    assert len({tone_words.chord(letter) for letter in tone_words.LETTERS}) == len(
        tone_words.LETTERS
    )
    assert set("".join(tone_words.WORDS)) == set(tone_words.LETTERS)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_and_another_does_not():
    first, again, other = (tone_words.tones(**SMALL, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.train[7].samples(), again.train[7].samples())
    assert [u.transcript for u in first.train] == [u.transcript for u in again.train]
    assert [u.transcript for u in first.train] != [u.transcript for u in other.train]
    # A longer training set begins as a shorter one does.
    more = tone_words.tones(**SMALL | {"train_size": 70}, seed=1)
    np.testing.assert_array_equal(first.train[7].samples(), more.train[7].samples())


@pytest.mark.slow
def test_unseen_words_are_never_heard_in_training():
    corpus = tone_words.tones(**SMALL | {"train_size": 500})
    words = {word for u in corpus.train for word in u.transcript.split()}
    unseen = {word for u in corpus.tests["unseen"] for word in u.transcript.split()}
    assert list(corpus.tests) == ["test", "unseen"] and not words & unseen
    assert len(words) > 80


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train_size": 0}, "`train_size` must be"),
        ({"most_words": 0}, "`most_words` must be"),
        ({"noise": -1.0}, "`noise` must not be negative; got -1.0"),
    ],
)
def test_what_cannot_be_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        tone_words.tones(**options)
