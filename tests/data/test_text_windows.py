"""Windows of a text: what they hold, that draws repeat, that nothing is left out."""

import numpy as np
import pytest

from attention_jax.data.batching import Batches, pipeline
from attention_jax.data.text_windows import AllWindows, RandomWindows

TEXT = np.arange(100) + 4


def test_targets_are_the_next_tokens_wherever_a_window_begins():
    batches = RandomWindows(TEXT, rows=500, length=7, seed=0)
    assert isinstance(batches, Batches)
    window = batches[3]
    np.testing.assert_array_equal(window.targets, window.tokens + 1)
    np.testing.assert_array_equal(np.diff(window.tokens), 1)
    # The last window ends with the text.
    assert set(window.tokens[:, 0]) == set(range(4, 97)) and window.weights.sum() == 3500


def test_a_batch_depends_on_seed_and_index_alone():
    one, same, other = (RandomWindows(TEXT, rows=3, length=8, seed=seed) for seed in (1, 1, 2))
    one[0]
    np.testing.assert_array_equal(one[5].tokens, same[5].tokens)
    assert (one[5].tokens != other[5].tokens).any() and (one[5].tokens != one[6].tokens).any()
    iterator = pipeline(one)
    first = next(iterator)
    state = iterator.get_state()
    second = next(iterator)
    iterator.set_state(state)
    np.testing.assert_array_equal(next(iterator).tokens, second.tokens)
    np.testing.assert_array_equal(first.tokens, one[0].tokens)


def test_epochs_follow_each_other_and_the_first_has_number_0():
    batches = RandomWindows(TEXT, rows=3, length=8, seed=1)
    first, second = list(batches.epoch()), list(batches.epoch(1))
    assert len(first) == len(second) == batches.batches_per_epoch == 4
    for index, window in enumerate(first + second):
        np.testing.assert_array_equal(window.tokens, batches[index].tokens)


@pytest.mark.parametrize(("rows", "length"), [(4, 8), (1, 99), (50, 3), (2, 98)])
def test_all_windows_predict_each_token_once(rows, length):
    batches = AllWindows(TEXT, rows=rows, length=length)
    assert isinstance(batches, Batches)
    found = list(batches.epoch())
    assert {window.tokens.shape for window in found} == {(rows, length)}
    real = [window.weights > 0 for window in found]
    targets = np.concatenate([w.targets[at] for w, at in zip(found, real, strict=True)])
    tokens = np.concatenate([w.tokens[at] for w, at in zip(found, real, strict=True)])
    np.testing.assert_array_equal(targets, TEXT[1:])
    np.testing.assert_array_equal(tokens, TEXT[:-1])


def test_a_text_that_is_too_short_is_refused():
    for length in (100, 101):
        with pytest.raises(ValueError, match=f"than the {length} of a window; got 100. Use a long"):
            RandomWindows(TEXT, rows=1, length=length, seed=0)
    with pytest.raises(ValueError, match="`rows` must be .* at least 1; got 0"):
        AllWindows(TEXT, rows=0, length=10)
