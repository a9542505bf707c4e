"""Batches of pictures: each once an epoch, bounded changes, and the same from any start."""

import json

import numpy as np
import pytest

from attention_jax.data.batching import pipeline
from attention_jax.data.images.batches import ImageBatches, changed


def pictures(count=10):
    images = np.random.default_rng(0).integers(0, 256, (count, 5, 4, 2), np.uint8)
    return images, np.arange(count, dtype=np.int32)


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("shuffle", [True, False])
def test_every_epoch_holds_every_picture_once(shuffle):
    images, labels = pictures()
    batches = ImageBatches(images, labels, rows=4, shuffle=shuffle)
    assert batches.batches_per_epoch == 3
    for epoch in range(3):
        found = list(batches.epoch(epoch))
        assert {batch.images.shape for batch in found} == {(4, 5, 4, 2)}
        seen = np.concatenate([batch.labels[batch.weights > 0] for batch in found])
        assert sorted(seen) == list(range(10)) and (not shuffle) == (list(seen) == list(range(10)))
        for batch in found:
            real = batch.weights > 0
            np.testing.assert_allclose(batch.images[real] * 255, images[batch.labels[real]])
            assert not batch.images[~real].any()


def test_a_picture_moves_and_turns_as_drawn():
    """Against the sentence in the docstring, pixel by pixel."""
    images, _ = pictures(200)
    found = changed(images, np.random.default_rng(3), shift=2, flip=True)
    moves = set()
    for image, new in zip(images, found, strict=True):
        fits = []
        for down, right, mirrored in np.ndindex(5, 5, 2):
            wanted = np.empty_like(image)
            for y, x in np.ndindex(5, 4):
                column = min(max((3 - x if mirrored else x) - (right - 2), 0), 3)
                wanted[y, x] = image[min(max(y - (down - 2), 0), 4), column]
            fits += [(down - 2, right - 2, mirrored)] if np.array_equal(wanted, new) else []
        assert len(fits) == 1
        moves.update(fits)
    assert len(moves) == 50  # every move within the bounds is drawn
    same_again = changed(images, np.random.default_rng(3), shift=0, flip=False)
    np.testing.assert_array_equal(same_again, images)


def test_batches_depend_on_seed_and_index_alone():
    def build(seed):
        return ImageBatches(*pictures(50), rows=8, seed=seed, shift=2, flip=True)

    first, again, other = build(1), build(1), build(2)
    last, start = again[20], again[0]  # out of turn
    assert same(last, first[20]) and same(start, first[0])
    assert not same(first[0], other[0]) and not same(first[0], first[7])


@pytest.mark.parametrize("drawn", [0, 9])
def test_the_pipeline_resumes_from_plain_json(drawn):
    batches = ImageBatches(*pictures(50), rows=8, shift=1)
    iterator, resumed = pipeline(batches), pipeline(batches)
    for _ in range(drawn):
        next(iterator)
    resumed.set_state(json.loads(json.dumps(iterator.get_state())))
    for index in range(drawn, drawn + 9):
        batch = next(iterator)
        assert same(batch, next(resumed)) and same(batch, batches[index])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"rows": 0}, "`rows` must be a whole number of at least 1; got 0"),
        ({"shift": 4}, "`shift` must be at least 0 and below 4, .* got 4"),
        ({"shift": -1}, "got -1"),
        ({"labels": np.zeros(3, np.int32)}, "equally many, and at least one; got 10 and 3"),
        ({"images": pictures()[0][:0], "labels": np.zeros(0, np.int32)}, "got 0 and 0"),
    ],
)
def test_wrong_arguments_are_named(wrong, message, users_errors):
    images, labels = pictures()
    with pytest.raises(ValueError, match=message):
        ImageBatches(**({"images": images, "labels": labels, "rows": 4} | wrong))
