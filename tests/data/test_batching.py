"""Batches: nothing lost, few shapes, bounded size, and an order that can be resumed."""

import json

import jax
import numpy as np
import pytest

from attention_jax.data import batching
from attention_jax.data.batching import (
    BucketedBatches,
    default_boundaries,
    encode_examples,
    pad,
    pipeline,
)
from attention_jax.data.text_windows import RandomWindows
from attention_jax.data.types import BOS, EOS, PAD, Example


def random_pairs(count, *, longest=29, seed=0):
    generator = np.random.default_rng(seed)

    def ids():
        return generator.integers(4, 50, generator.integers(0, longest + 1)).tolist()

    return [(ids(), ids()) for _ in range(count)]


def sentences(batch):
    """The pairs of a batch, read back from its arrays."""
    found = []
    for source, seen, target, weight in zip(
        batch.source, batch.source_mask, batch.target_out, batch.weights, strict=True
    ):
        if weight.any():
            found.append(
                (tuple(source[seen][:-1].tolist()), tuple(target[weight > 0][:-1].tolist()))
            )
    return found


def as_set(pairs):
    return sorted((tuple(source), tuple(target)) for source, target in pairs)


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def test_padding_is_as_written_by_hand():
    batch = pad([([7, 8], [9])], rows=2, length=4)
    np.testing.assert_array_equal(batch.source, [[7, 8, EOS, PAD], [PAD] * 4])
    np.testing.assert_array_equal(batch.source_mask, [[1, 1, 1, 0], [0] * 4])
    np.testing.assert_array_equal(batch.target_in, [[BOS, 9, PAD, PAD], [PAD] * 4])
    np.testing.assert_array_equal(batch.target_out, [[9, EOS, PAD, PAD], [PAD] * 4])
    np.testing.assert_array_equal(batch.weights, [[1, 1, 0, 0], [0] * 4])


@pytest.mark.parametrize("shuffle", [True, False])
def test_every_epoch_holds_every_sentence_once(shuffle):
    pairs = random_pairs(101)
    batches = BucketedBatches(pairs, tokens_per_batch=64, max_length=30, shuffle=shuffle)
    for epoch in range(3):
        found = [pair for batch in batches.epoch(epoch) for pair in sentences(batch)]
        assert as_set(found) == as_set(pairs)


def test_batches_are_within_the_bound_and_of_few_shapes():
    batches = BucketedBatches(random_pairs(300), tokens_per_batch=64, max_length=30)
    shapes = {x.shape for batch in batches.epoch() for x in batch}
    assert all(rows * length <= 64 for rows, length in shapes)
    assert {length for _, length in shapes} == set(batches.boundaries) <= {8, 12, 16, 24, 30}
    assert len(shapes) == len(batches.boundaries)


def test_a_sentence_goes_to_the_first_bucket_that_holds_it_and_its_end():
    pairs = [([5] * 7, [5]), ([5], [5] * 8)]
    batches = BucketedBatches(pairs, tokens_per_batch=1, max_length=12, shuffle=False)
    assert [batch.source.shape for batch in batches.epoch()] == [(1, 8), (1, 12)]


def test_too_long_ones_are_counted():
    batches = BucketedBatches([([5] * 9, [5]), ([5], [5])], tokens_per_batch=32, max_length=9)
    assert batches.too_long == 1
    assert [sentences(batch) for batch in batches.epoch()] == [[((5,), (5,))]]


def test_the_order_depends_on_seed_and_epoch_alone():
    def batches(seed):
        pairs = random_pairs(80)
        return BucketedBatches(pairs, tokens_per_batch=64, max_length=30, seed=seed)

    first, again, other = batches(1), batches(1), batches(2)
    count = first.batches_per_epoch
    last, start = again[2 * count - 1], again[0]  # out of turn
    assert same(last, first[2 * count - 1]) and same(start, first[0])
    assert not all(same(first[i], other[i]) for i in range(count))
    assert not all(same(first[i], first[count + i]) for i in range(count))


@pytest.mark.parametrize("drawn", [0, 5, 100])
def test_the_pipeline_resumes_from_plain_json(drawn):
    batches = BucketedBatches(random_pairs(80), tokens_per_batch=64, max_length=30)
    iterator, resumed = pipeline(batches), pipeline(batches)
    for _ in range(drawn):
        next(iterator)
    resumed.set_state(json.loads(json.dumps(iterator.get_state())))
    for index in range(drawn, drawn + 20):
        batch = next(iterator)
        assert same(batch, next(resumed)) and same(batch, batches[index])


def test_default_boundaries_grow_by_at_most_half():
    assert default_boundaries(50) == (8, 12, 16, 24, 32, 48, 50)
    assert default_boundaries(8) == (8,)
    assert default_boundaries(1) == (1,)


def test_examples_are_encoded_by_their_first_reference():
    class Letters:
        def encode(self, text):
            return [ord(letter) for letter in text]

    examples = [Example("ab", ("c", "d"))]
    assert encode_examples(examples, Letters()) == [([97, 98], [99])]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"max_length": 0}, "`max_length` must be .* at least 1; got 0"),
        ({"tokens_per_batch": 0}, "`tokens_per_batch` must be .* at least 1; got 0"),
        ({"boundaries": (8, 16)}, "must increase and end in max_length=30"),
        ({"boundaries": (16, 8, 30)}, "must increase and end in max_length=30"),
        ({"max_length": 1}, "Raise `max_length`"),
    ],
)
def test_wrong_sizes_are_named(wrong, message):
    sizes = {"tokens_per_batch": 64, "max_length": 30, **wrong}
    with pytest.raises(ValueError, match=message):
        BucketedBatches([([5, 6], [7])], **sizes)


def windows():
    return RandomWindows(np.arange(200), rows=5, length=8, seed=0)


def buckets():
    pairs = [(range(i % 5 + 1), range(i % 3 + 1)) for i in range(37)]
    return BucketedBatches(pairs, tokens_per_batch=60, max_length=12)


@pytest.mark.parametrize("make", [windows, buckets])
@pytest.mark.parametrize("shares", [1, 2, 3, 8])
def test_processes_together_read_each_row_once(make, shares):
    """Empty rows fill a batch up, so that all have as many; none is read twice or lost."""

    def own(number):
        def rows(count):
            each = -(-count // shares)
            return each * shares, slice(number * each, (number + 1) * each)

        return batching.OwnRows(make(), rows)

    whole, parts = make(), [own(number) for number in range(shares)]
    for index in (0, 1, 5):
        found = [part[index] for part in parts]
        assert len({part.rows for part in found}) == 1
        together = jax.tree.map(lambda *x: np.concatenate(x), *(part.batch for part in found))
        count = len(whole[index].weights)
        assert len(together.weights) == found[0].rows >= count
        assert not together.weights[count:].any()
        for one, many in zip(whole[index], together, strict=True):
            np.testing.assert_array_equal(one, many[:count])


def test_a_share_goes_on_where_it_stopped():
    half = batching.OwnRows(windows(), lambda rows: (6, slice(3, 6)))
    iterator = batching.pipeline(half)
    next(iterator)
    state, expected = iterator.get_state(), next(iterator)
    again = batching.pipeline(half)
    again.set_state(state)
    np.testing.assert_array_equal(next(again).batch.tokens, expected.batch.tokens)
    # All processes save the same place, which is that of one process too.
    alone = batching.pipeline(windows())
    alone.set_state(state)
    np.testing.assert_array_equal(next(alone).tokens[3:5], expected.batch.tokens[:2])
