"""Empty arrays give empty or zero outputs in every variant and implementation, or one line."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import attention, variants
from attention_jax.core import masks
from attention_jax.core.types import Options
from attention_jax.variants._by_queries import by_queries

SIZES = dict(b=2, t=3, s=3, d=4, e=4)


def arrays(**sizes):
    b, t, s, d, e = ({**SIZES, **sizes}[x] for x in "btsde")
    return jnp.ones((b, t, 4, d)), jnp.ones((b, s, 2, d)), jnp.ones((b, s, 2, e))


@pytest.mark.parametrize("name", variants.names())
def test_every_variant_takes_empty_arrays(name):
    variant = by_queries(variants.get(name))
    params = jax.eval_shape(
        lambda: variant.init(jax.random.key(0), heads=4, kv_heads=2, head_width=4)
    )
    params = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), params)
    options = Options(mask=masks.causal if variant.roles == ("causal",) else None)
    for empty in ("b", "t", "s", "e"):
        qkv = arrays(**{empty: 0})
        out = variant.attend(params, *qkv, options)
        assert out.shape == (*qkv[0].shape[:3], qkv[2].shape[-1])
        np.testing.assert_array_equal(out, np.zeros(out.shape))


@pytest.mark.parametrize("name", ["scaled_dot", "linear", "performer", "hierarchical"])
def test_what_has_no_width_is_refused(name, users_errors):
    variant = by_queries(variants.get(name))
    with pytest.raises(ValueError, match="`head_width` must be a whole number of at least 1"):
        variant.init(jax.random.key(0), heads=4, kv_heads=2, head_width=0)
    with pytest.raises(ValueError, match="`query` must be at least 1 wide"):
        variant.attend({}, *arrays(d=0))


@pytest.mark.sampled(2)
@pytest.mark.parametrize("implementation", ["reference", "dense", "blockwise"])
def test_every_implementation_takes_empty_arrays(implementation):
    call = dict(implementation=implementation, return_lse=True, mask=masks.causal)
    for empty in ("b", "t", "s", "e"):
        qkv = arrays(**{empty: 0})
        out, lse = attention(*qkv, **call)
        assert out.shape == (*qkv[0].shape[:3], qkv[2].shape[-1]) and lse.shape == out.shape[:3]
        np.testing.assert_array_equal(out, np.zeros(out.shape))
        if empty == "e":
            np.testing.assert_allclose(lse, attention(*arrays(), **call)[1], rtol=1e-6)
    with pytest.raises(ValueError, match="`query` must be at least 1 wide"):
        attention(*arrays(d=0))


def test_numpy_arrays_are_taken(users_errors):
    params = variants.get("linear").init(jax.random.key(0), heads=4, kv_heads=2, head_width=4)
    qkv = arrays()
    got = variants.get("linear").attend(params, *map(np.asarray, qkv))
    np.testing.assert_array_equal(got, variants.get("linear").attend(params, *qkv))
