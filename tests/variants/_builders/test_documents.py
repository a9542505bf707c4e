"""Packed documents: states, convolutions and what is not finite stay inside each."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import masks, variants
from attention_jax.core import checks, lifting
from attention_jax.core.types import Options
from attention_jax.variants._builders import documents, recurrence

SIZES = {"heads": 2, "kv_heads": 1, "head_width": 8}
# Shorter than a convolution, as long as a chunk of 16, and over several chunks.
LENGTHS = [(1, 2, 16, 90, 1, 9), (90, 9, 2, 1, 1, 16)]


def ids_of(lengths):
    """Ids in no order, each of one document."""
    return jnp.asarray([np.repeat(np.arange(len(n))[::-1] * 3 - 4, n) for n in lengths], jnp.int32)


def runs_of(ids, *, length=None, offset=0, alone=True):
    b, t = jnp.shape(ids)
    mask = masks.documents(ids, ids)
    length = t if length is None else length
    return documents.runs_of("this", mask, batch=b, length=length, offset=offset, alone=alone)


def made(text):
    variant = variants.resolve(text)
    more = {} if variant.features is None else {"width": 12}
    return variant, variant.init(jax.random.key(0), **SIZES, **more)


def inputs(draw, length, batch=2):
    return draw(batch, length, 2, 8), draw(batch, length, 1, 8), draw(batch, length, 1, 6)


def attend(variant, params, qkv, mask, x=None):
    more = {} if x is None else {"features": variant.features(params, x)}
    return variant.attend(params, *qkv, Options(mask=mask), **more)


NAMES = ["delta", "cosformer", "hgrn2", "rwkv7", "delta_product(gated=True, convolution=7)", "kda"]
NAMES += ["mamba2", "retention", "performer", "based", "lightning", "gated_linear", "linear"]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_long_documents_are_apart(draw, name):
    """Over chunks, with hidden keys, one of them the first of its document."""
    variant, params = made(name)
    qkv, ids = inputs(draw, 119), ids_of(LENGTHS)
    x = None if variant.features is None else draw(2, 119, 12)
    seen = jnp.ones((2, 119), bool).at[:, 19].set(False).at[0, 50].set(False)

    @jax.jit
    def apart(qkv, x, seen):
        return attend(variant, params, qkv, masks.causal & masks.keys(seen), x)

    mask = masks.causal & masks.keys(seen) & masks.documents(ids, ids)
    packed = attend(variant, params, qkv, mask, x)
    for row, lengths in enumerate(LENGTHS):
        ends = np.cumsum(lengths)
        for begin, end in zip(ends - lengths, ends, strict=True):
            if end - begin < 9:
                continue
            own = tuple(y[row : row + 1, begin:end] for y in qkv)
            cut = None if x is None else x[row : row + 1, begin:end]
            alone = apart(own, cut, seen[row : row + 1, begin:end])
            np.testing.assert_allclose(packed[row, begin:end], alone[0], rtol=2e-4, atol=2e-5)


def test_runs_begin_where_ids_change():
    runs = runs_of(jnp.asarray([[4, 4, 2, 2, 2], [1, 0, 0, 9, 9]]))
    np.testing.assert_array_equal(runs.since, [[0, 1, 0, 1, 2], [0, 0, 1, 0, 1]])
    np.testing.assert_array_equal(runs.start, [[0, 0, 2, 2, 2], [0, 1, 1, 3, 3]])


def test_ids_are_looked_up_at_global_positions():
    """A call begins anew, and positions without an id are documents of their own, unseen."""
    ids = jnp.asarray([[4, 4, 4, 2, 2]])
    runs = runs_of(ids, length=3, offset=1)
    np.testing.assert_array_equal(runs.since, [[0, 1, 0]])
    runs = jax.jit(lambda ids: runs_of(ids, length=4, offset=jnp.int32(3)))(ids)
    np.testing.assert_array_equal(runs.since, [[0, 1, 0, 0]])
    np.testing.assert_array_equal(runs.inside, [[True, True, False, False]])
    assert not documents.torn(runs, runs.inside).any()


def test_one_row_of_ids_serves_all_sequences(draw):
    variant, params = made("linear")
    qkv, ids = inputs(draw, 5), jnp.asarray([[1, 1, 0, 0, 0]])
    one, many = (
        attend(variant, params, qkv, masks.causal & masks.documents(x, x))
        for x in (ids, jnp.repeat(ids, 2, axis=0))
    )
    np.testing.assert_array_equal(one, many)


@pytest.mark.parametrize("array", [jnp.asarray, np.asarray])
def test_ids_stay_one_array_where_they_are_lifted(array):
    """As for a mesh that types arrays; two arrays stay two."""
    ids, other = array([[1, 1, 0]]), array([[1, 1, 0]])

    def rebuilt(mask):
        lifted, found = lifting.lift_mask(mask, [checks.mask_function(mask)]), []
        jax.eval_shape(lambda arrays: found.append(lifted.bound(arrays)), lifted.arrays)
        return found[0]

    assert masks.common_ids(rebuilt(masks.documents(ids, ids))) is not None
    assert masks.common_ids(rebuilt(masks.documents(ids, other))) is None


def test_a_convolution_stays_in_its_document(draw):
    """out_t = sum of taps_l x_(t - l) over the lags l that stay inside."""
    taps, x = draw(2, 4, 3), draw(1, 7, 2, 3)
    ids = np.array([0, 0, 1, 2, 2, 2, 2])
    reach = jnp.concatenate([draw(1, 3, 2, 3), x], axis=1)
    got = recurrence.convolve(taps, x, reach, runs=runs_of(jnp.asarray(ids[None])))
    expected = np.zeros((7, 2, 3))
    for t in range(7):
        for lag in range(4):
            if t >= lag and ids[t] == ids[t - lag]:
                expected[t] += np.asarray(taps[:, lag] * x[0, t - lag])
    np.testing.assert_allclose(got[0], expected, rtol=1e-5, atol=1e-6)


def test_what_is_not_finite_spoils_its_document_alone(draw):
    variant, params = made("gated_linear")
    q, k, v = inputs(draw, 8, 1)
    ids = jnp.asarray([[0, 0, 0, 1, 1, 1, 2, 2]])
    bad = v.at[0, 4].set(jnp.nan)
    out = attend(variant, params, (q, k, bad), masks.causal & masks.documents(ids, ids))
    expected = np.zeros(8, bool)
    expected[4:6] = True
    np.testing.assert_array_equal(np.isnan(out[0]).any((-1, -2)), expected)


@pytest.mark.parametrize("seed", range(3))
def test_rows_whose_document_is_torn_are_found(seed):
    """By the definition: a visible key of the same id, and another id between."""
    draw = np.random.default_rng(seed)
    ids, seen = draw.integers(0, 4, (3, 12)), draw.random((3, 12)) < 0.6
    runs = jax.jit(lambda ids: runs_of(ids, alone=False))(ids)
    expected = [
        [
            any(
                seen[b, j] and ids[b, j] == ids[b, i] and (ids[b, j:i] != ids[b, i]).any()
                for j in range(i)
            )
            for i in range(12)
        ]
        for b in range(3)
    ]
    np.testing.assert_array_equal(documents.torn(runs, jnp.asarray(seen)), expected)


def test_a_torn_document_is_refused_or_nan(draw):
    variant, params = made("linear")
    qkv, ids = inputs(draw, 5, 1), jnp.asarray([[1, 2, 2, 1, 1]])

    @jax.jit
    def run(ids, seen):
        mask = masks.causal & masks.documents(ids, ids) & masks.keys(seen)
        return attend(variant, params, qkv, mask)

    with pytest.raises(ValueError, match="runs of positions for linear.*document 1 of sequence 0"):
        attend(variant, params, qkv, masks.causal & masks.documents(ids, ids))
    every = jnp.ones((1, 5), bool)
    bad = np.isnan(run(ids, every)[0]).any((-1, -2))
    np.testing.assert_array_equal(bad, [False, False, False, True, True])
    assert np.isfinite(run(ids, every.at[:, 0].set(False))).all()


def test_what_cannot_be_honored_is_refused_in_one_line(draw):
    ids = jnp.asarray([[1, 1, 0, 0, 0]])
    packed, qkv = masks.documents(ids, ids), inputs(draw, 5)
    other = masks.documents(ids, ids + 1)
    for name, line, mask in (
        ("linear", "`mask` may be .* with these `masks.documents` once; got .* on i", packed),
        ("linformer", "`mask` may be .* joined by `&`; got .* on i", packed),
        ("delta", "`masks.documents` must have one array", masks.causal & other),
        ("delta", "`masks.documents` once", masks.causal & packed & other),
    ):
        variant, params = made(name)
        with pytest.raises(ValueError, match=line) as caught:
            attend(variant, params, qkv, mask)
        assert "\n" not in str(caught.value)


def test_packed_documents_are_refused_where_a_sequence_is_divided():
    mesh = jax.sharding.AbstractMesh((2,), ("sequence",), axis_types=(jax.sharding.AxisType.Auto,))
    variant, params = made("retention")
    x, ids = jnp.ones((1, 8, 2, 8)), jnp.zeros((1, 8), int).at[:, 4:].set(1)
    options = Options(mask=masks.causal & masks.documents(ids, ids), context="sequence")
    with (
        jax.sharding.use_abstract_mesh(mesh),
        pytest.raises(ValueError, match="`context` must be None for packed documents") as caught,
    ):
        jax.eval_shape(lambda x: variant.attend(params, x, x, x, options), x)
    assert "\n" not in str(caught.value)
