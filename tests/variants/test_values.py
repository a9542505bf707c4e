"""Variants and layers made alike are equal, and survive a pickle."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attention_jax import variants
from attention_jax.nn.attention import MultiHeadAttention
from attention_jax.variants import _registry

MINE = """
from attention_jax import variants
def mine(power=1):
    return variants.from_score(lambda params: lambda q, k: (q @ k) ** power)
"""


@pytest.mark.parametrize("name", variants.names())
def test_a_variant_is_equal_to_another_of_its_name_and_to_a_pickled_copy(name):
    first = variants.get(name)
    _registry._kept_call.cache_clear()
    for other in (variants.resolve(name), pickle.loads(pickle.dumps(first))):
        assert first == other and hash(first) == hash(other)
    for other in ("scaled_dot", "alibi"):
        assert (variants.get(other) == first) == (name == other)


def test_options_tell_them_apart_and_arrays_are_options_too():
    window = variants.get("sliding_window", size=3)
    assert window == variants.resolve("sliding_window(size=3)") != variants.get("sliding_window")
    one, two = (variants.get("document", ids=jnp.array([[0, 1]])) for _ in range(2))
    assert one == two == pickle.loads(pickle.dumps(one))
    assert one != variants.get("document", ids=jnp.array([[0, 0]]))


@pytest.mark.slow
def test_a_variant_of_a_file_too(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    first = variants.get(str(path), power=2)
    copy = pickle.loads(pickle.dumps(first))
    assert first == copy and first != variants.get(str(path))
    x = jax.random.normal(jax.random.key(0), (1, 3, 1, 2))
    np.testing.assert_array_equal(copy.attend({}, x, x, x), first.attend({}, x, x, x))
    path.write_text(MINE.replace("** power", "* power"))
    assert variants.get(str(path), power=2) != first


@pytest.mark.parametrize("variant", ["alibi", "sliding_window(size=2)", "additive"])
def test_layers_have_equal_static_parts_and_pickle(variant):
    first, second = (
        MultiHeadAttention(8, heads=2, variant=variant, rngs=nnx.Rngs(seed)) for seed in (0, 1)
    )
    static, _ = nnx.split(first)
    assert static == nnx.split(second)[0] and hash(static) == hash(nnx.split(second)[0])
    copy, x = pickle.loads(pickle.dumps(first)), jnp.ones((1, 4, 8))
    assert nnx.split(copy)[0] == static
    np.testing.assert_array_equal(copy(x), first(x))
