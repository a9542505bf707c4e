"""Batches of recordings: their frames, their transcripts, and that they can be resumed."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax.data.audio import spectrogram, tone_words
from attention_jax.data.audio.batches import make as batches_make
from attention_jax.data.audio.batches import one, tight
from attention_jax.data.audio.corpus import of_array
from attention_jax.data.audio.spectrogram import Spectrogram
from attention_jax.data.batching import Batches, pipeline
from attention_jax.data.tokenizer import Tokenizer
from attention_jax.data.types import BOS, EOS

CORPUS = tone_words.tones(train_size=12, validation_size=3, test_size=3)
VOCABULARY = Tokenizer.learn((u.transcript for u in CORPUS.train), kind="character")


def make(**options):
    options = {"frames_per_batch": 1200, "buckets": 2} | options
    return batches_make(CORPUS.train, VOCABULARY, Spectrogram(), **options)


@pytest.mark.slow
def test_every_recording_comes_once_with_its_frames_and_its_transcript():
    batches = make()
    assert isinstance(batches, Batches) and len(batches.boundaries) == 2
    known = {u.transcript: u for u in CORPUS.train}
    seen = []
    for batch in batches.epoch():
        assert batch.source.dtype == np.float32
        for row in np.flatnonzero(batch.weights.any(axis=1)):
            ids, t = batch.target_out[row], int(batch.weights[row].sum())
            text = VOCABULARY.decode(ids[:t].tolist())
            seen.append(text)
            assert ids[t - 1] == EOS and batch.target_in[row, 0] == BOS
            np.testing.assert_array_equal(batch.target_in[row, 1:t], ids[: t - 1])
            s = int(batch.source_mask[row].sum())
            frames = spectrogram.log_mel(known[text].samples(), Spectrogram())
            expected = spectrogram.normalized(frames, jnp.ones(len(frames), bool))
            assert s == len(frames) and not batch.source[row, s:].any()
            np.testing.assert_allclose(batch.source[row, :s], expected, rtol=1e-3, atol=1e-3)
        empty = ~batch.weights.any(axis=1)
        assert not batch.source[empty].any() and not batch.source_mask[empty].any()
    assert sorted(seen) == sorted(u.transcript for u in CORPUS.train)


@pytest.mark.slow
def test_batches_depend_on_seed_and_index_alone():
    first, again = make(seed=4), make(seed=4)
    again[40]
    for a, b in zip(first[7], again[7], strict=True):
        np.testing.assert_array_equal(a, b)
    iterator = pipeline(make(seed=4))
    for _ in range(3):
        next(iterator)
    state = iterator.get_state()
    expected = next(iterator)
    resumed = pipeline(make(seed=4))
    resumed.set_state(state)
    for a, b in zip(expected, next(resumed), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_longer_recordings_are_left_out_and_counted():
    frames = sorted(Spectrogram().frames(u.length) for u in CORPUS.train)
    batches = make(max_frames=frames[7])
    rows = sum(int(batch.weights.any(axis=1).sum()) for batch in batches.epoch())
    assert batches.too_long == 12 - rows and rows >= 8


def test_a_bound_below_every_recording_is_refused():
    shortest = min(Spectrogram().frames(u.length) for u in CORPUS.train)
    with pytest.raises(ValueError, match=f"the shortest has {shortest} frames. Raise `max_frames`"):
        make(max_frames=shortest - 1)
    assert make(max_frames=shortest).too_long < len(CORPUS.train)


@pytest.mark.slow
def test_no_batch_is_larger_than_asked():
    for batch in make(frames_per_batch=700).epoch():
        assert batch.source.shape[0] * batch.source.shape[1] <= 700


def test_a_recording_shorter_than_a_frame_is_refused():
    short = of_array("x.wav", "a", np.zeros(199, np.float32))
    with pytest.raises(ValueError, match="at least one window of 200 samples; x.wav has 199"):
        batches_make([short], VOCABULARY, Spectrogram(), frames_per_batch=100)


def test_one_batch_of_what_is_given():
    items = [(u, VOCABULARY.encode(u.transcript)) for u in CORPUS.validation]
    batch = one(items, Spectrogram(), rows=4)
    assert batch.source.shape[0] == 4 and batch.source.shape[1] % 8 == 0
    assert not batch.source_mask[3].any()


def test_bucket_lengths_need_the_least_padding():
    lengths = np.random.default_rng(0).integers(1, 80, 40).tolist()
    ends = sorted({-(-length // 8) * 8 for length in lengths})

    def needed(chosen):
        return sum(min(end for end in chosen if end >= length) for length in lengths)

    for buckets in (1, 2, 3):
        ways = itertools.combinations(ends[:-1], buckets - 1)
        best = min(needed((*way, ends[-1])) for way in ways)
        found = tight(lengths, buckets)
        assert needed(found) == best and len(found) <= buckets
    assert tight([9, 9], 5) == (16,)
    with pytest.raises(ValueError, match="`buckets` must be at least 1; got 0"):
        tight([9], 0)
