"""Batches on a mesh; with one device nothing is changed."""

import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from attention_jax.data.types import Seq2SeqBatch, SeriesBatch, TokenBatch
from attention_jax.parallel import placement
from attention_jax.parallel.mesh import MeshShape, make_mesh


def batch(rows):
    tokens = np.arange(rows * 4, dtype=np.int32).reshape(rows, 4)
    return TokenBatch(tokens, tokens, np.ones((rows, 4), np.float32))


def test_a_batch_stays_as_it_is_where_parameters_lie_on_one_device():
    given = batch(3)
    assert placement.spread(given, {"w": jax.numpy.ones(2)}) is given
    assert placement.spread(given, {}) is given


def test_empty_rows_have_no_weight():
    found = placement.padded(batch(3), 8)
    assert len(found.tokens) == 8 and not found.weights[3:].any() and not found.tokens[3:].any()
    np.testing.assert_array_equal(found.tokens[:3], batch(3).tokens)
    assert placement.padded(given := batch(8), 8) is given


@pytest.mark.parametrize(
    ("shape", "context", "spec"),
    [
        ((8, 16), 4, P(("data", "fsdp"), "context")),
        ((8, 16, 3), 4, P(("data", "fsdp"), "context")),
        ((8, 18), 4, P(("data", "fsdp"))),
        ((8,), 4, P(("data", "fsdp"))),
        ((8, 16), 1, P(("data", "fsdp"))),
    ],
)
def test_positions_are_shared_where_the_axis_divides_them(shape, context, spec):
    assert placement.batch_spec(shape, context) == spec


def test_one_process_reads_all_rows():
    mesh = make_mesh(MeshShape(), jax.devices()[:1])
    assert placement.own_rows(mesh, 8) == slice(0, 8)
    assert placement.mesh_of(jax.numpy.ones(2)) is None
    np.testing.assert_array_equal(placement.fetch(jax.numpy.ones(2)), np.ones(2))


def test_empty_positions_have_no_weight():
    found = placement.lengthened(batch(3), 3)
    assert found.tokens.shape == (3, 6) and not found.weights[:, 4:].any()
    np.testing.assert_array_equal(found.tokens[:, :4], batch(3).tokens)
    assert not found.tokens[:, 4:].any()


def test_frames_are_filled_up_and_what_belongs_to_rows_stays():
    frames = np.ones((2, 5, 3), np.float32)
    mask = np.ones((2, 5), bool)
    target = np.ones((2, 4), np.int32)
    found = placement.lengthened(Seq2SeqBatch(frames, mask, target, target, mask[:, :4]), 4)
    assert found.source.shape == (2, 8, 3) and found.source_mask.shape == (2, 8)
    assert found.target_in.shape == (2, 4) and not found.source_mask[:, 5:].any()
    series = SeriesBatch(frames, np.ones(2, np.float32), np.ones(2, np.float32))
    assert placement.lengthened(series, 4) is series
    assert placement.lengthened(batch(3), 1).tokens.shape == (3, 4)
