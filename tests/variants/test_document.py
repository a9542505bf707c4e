import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import variants
from attention_jax.core import masks
from attention_jax.core.types import Options

IDS = jnp.array([[7, 7, 3, 3, 3], [1, 2, 2, 2, 9]])


@pytest.mark.parametrize(
    "options, documents",
    [
        ({"length": 2}, [[[0, 1], [2, 3], [4]]] * 2),
        ({"ids": IDS}, [[[0, 1], [2, 3, 4]], [[0], [1, 2, 3], [4]]]),
    ],
)
def test_each_document_is_attended_to_as_if_it_were_alone(qkv, options, documents):
    got = jax.jit(variants.get("document", **options).attend)({}, *qkv)
    q, k, v = (np.asarray(x, np.float64) for x in qkv)
    for b, t, h in np.ndindex(got.shape[:-1]):
        seen = next(places for places in documents[b] if t in places)
        weights = np.exp(k[b, seen, h // 2] @ q[b, t, h] / np.sqrt(8))
        expected = weights @ v[b, seen, h // 2] / weights.sum()
        np.testing.assert_allclose(got[b, t, h], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_the_callers_mask_holds_as_well(qkv):
    attend = variants.get("document", length=2).attend
    got = jax.jit(lambda *qkv: attend({}, *qkv, Options(mask=masks.causal)))(*qkv)
    # The first of each document sees itself alone.
    np.testing.assert_allclose(got[:, ::2], qkv[2][:, ::2].repeat(2, axis=2), rtol=1e-6)


@pytest.mark.slow
def test_ids_may_be_traced(qkv):
    run = jax.jit(lambda ids, *qkv: variants.get("document", ids=ids).attend({}, *qkv))
    known = jax.jit(variants.get("document", ids=IDS).attend)({}, *qkv)
    np.testing.assert_allclose(run(IDS, *qkv), known, rtol=1e-6)


def test_bad_options_are_refused(qkv, users_errors):
    with pytest.raises(ValueError, match="`length` and `ids` must not both be given; got length=2"):
        variants.get("document", length=2, ids=IDS)
    with pytest.raises(ValueError, match="`length` must be a whole number of at least 1; got 0"):
        variants.get("document", length=0)
    with pytest.raises(
        ValueError, match=r"`ids` must be an array \[b s\] of whole .*got an array int32"
    ):
        variants.get("document", ids=IDS[0])
    three = jnp.tile(IDS[:1], (3, 1))
    with pytest.raises(ValueError, match="a row for each sequence, .* got 3 rows, and 2 sequences"):
        variants.get("document", ids=three).attend({}, *qkv)
    with pytest.raises(ValueError, match=r"`query_ids` .*got \(2, 4\).* Axis t must be 5, or 1"):
        variants.get("document", ids=IDS[:, :4]).attend({}, *qkv)
