"""Recordings one after another, and what is left out."""

import numpy as np
import pytest

from attention_jax.data.audio.corpus import Skipped, checked_transcript, joined, of_array


def test_joined_recordings_stand_where_the_pauses_say(draw):
    parts = [
        of_array(name, name, np.asarray(draw(n)) * 0.1) for name, n in (("one", 50), ("two", 30))
    ]
    found = joined("both", parts, (10, 20, 5), (0, 1))
    samples = found.samples()
    assert found.transcript == "one two" and found.length == len(samples) == 115
    assert samples.dtype == np.float32
    np.testing.assert_allclose(samples[10:60], parts[0].samples(), atol=0.01)
    np.testing.assert_allclose(samples[80:110], parts[1].samples(), atol=0.01)
    quiet = np.concatenate([samples[:10], samples[60:80], samples[110:]])
    assert 0 < np.abs(quiet).max() < 0.01
    np.testing.assert_array_equal(samples, found.samples())


def test_the_first_bad_one_is_raised_with_the_way_around_it():
    def bad():
        raise ValueError("`audio` must be audible.")

    with pytest.raises(ValueError, match="must be audible. Or leave such recordings out by --skip"):
        Skipped(False).attempt(bad)
    skipped = Skipped(True)
    assert skipped.attempt(bad) is None
    assert skipped.reasons == ["`audio` must be audible."]


def test_transcripts_have_single_spaces_and_something_to_say():
    assert checked_transcript("  a \t b\n", name="x") == "a b"
    with pytest.raises(ValueError, match="`transcript` must not be empty; that of x.wav is"):
        checked_transcript(" \n", name="x.wav")
