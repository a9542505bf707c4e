"""What the layers hand on: to the variants, and to Flax's own layer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attention_jax import variants
from attention_jax.core import masks, scores
from attention_jax.engine.api import attention
from attention_jax.nn.attention import MultiHeadAttention
from attention_jax.nn.flax_calls import attention_function
from attention_jax.nn.layers import Embedding, Stack, dropout


def layer(variant=None, params=None, **options):
    """Flax's layer with a variant, or with its own attention."""
    own = {} if variant is None else {"attention_fn": attention_function(variant, params)}
    return nnx.MultiHeadAttention(
        num_heads=4, in_features=16, decode=False, rngs=nnx.Rngs(3, dropout=7), **own, **options
    )


def called(module, x, **given):
    """What the layer gives, by one program."""
    return nnx.jit(lambda module, x: module(x, **given))(module, x)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("mask", ["none", "padding", "causal"])
def test_flax_gets_what_its_own_attention_gives(mask, draw):
    x = draw(2, 6, 16)
    given = {"is_causal": True} if mask == "causal" else {}
    if mask == "padding":
        given["mask"] = jnp.arange(6)[None, None, None, :] < jnp.array([4, 6]).reshape(2, 1, 1, 1)
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):  # inside Flax
        expected = called(layer(), x, **given)
        got = called(layer(variants.get("scaled_dot")), x, **given)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_flax_takes_further_axes_of_the_batch(draw):
    x = draw(2, 3, 5, 16)
    with jax.numpy_rank_promotion("allow"):
        attend = layer(variants.get("cosine"))
        got, alone = called(attend, x), called(attend, x[1])
    np.testing.assert_allclose(got[1], alone, rtol=1e-5, atol=1e-6)


WITHOUT_FEATURES = [x for x in variants.names() if variants.get(x).features is None]


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", WITHOUT_FEATURES)
def test_flax_runs_any_variant(name, draw):
    variant = variants.get(name)
    params = variant.init(jax.random.key(0), heads=4, kv_heads=4, head_width=4)
    with jax.numpy_rank_promotion("allow"):
        is_causal = variant.roles == ("causal",)
        out = called(layer(variant, params), draw(1, 5, 16), is_causal=is_causal)
    assert out.shape == (1, 5, 16) and jnp.isfinite(out).all()


def test_flax_cannot_give_the_layers_input(draw):
    variant = variants.get("gated_delta", gates="input")
    params = variant.init(jax.random.key(0), heads=4, kv_heads=4, head_width=4, width=16)
    with jax.numpy_rank_promotion("allow"):
        with pytest.raises(ValueError, match="`features` must be given.*`nn.MultiHeadAttention`"):
            called(layer(variant, params), draw(1, 5, 16), is_causal=True)


@pytest.mark.slow
def test_flax_drops_pairs_by_themselves_or_not_at_all(draw):
    x, variant = draw(1, 5, 16), variants.get("scaled_dot")
    with jax.numpy_rank_promotion("allow"):
        with pytest.raises(ValueError, match="`broadcast_dropout` must be False"):
            called(layer(variant, dropout_rate=0.5), x, deterministic=False)
        drops = layer(variant, dropout_rate=0.5, broadcast_dropout=False)
        dropped = called(drops, x, deterministic=False)
        assert (dropped != called(drops, x, deterministic=True)).any()


@pytest.mark.slow
def test_the_function_is_the_variant(qkv):
    q, k, v = qkv
    visible = masks.from_array(jnp.ones((1, 1, 5, 5), bool))
    k, v = jnp.repeat(k, 2, axis=2), jnp.repeat(v, 2, axis=2)

    @jax.jit
    def both(q, k, v):
        got = attention_function(variants.get("dot"))(q, k, v, mask=jnp.ones((1, 1, 5, 5)))
        return got, attention(q, k, v, score=scores.dot, mask=visible)

    np.testing.assert_array_equal(*both(q, k, v))


@pytest.mark.sampled(1)
@pytest.mark.parametrize("rate", [0.1, 0.25, 0.5])
def test_dropout_drops_its_share_and_scales_the_rest(rate):
    x = jnp.linspace(1.0, 2.0, 30_003).reshape(3, -1)
    got = dropout(x, rate, nnx.Rngs(dropout=3))
    kept = got != 0
    # The rate is rounded to a multiple of 2^-16.
    np.testing.assert_allclose(got[kept], x[kept] / (1 - rate), rtol=1e-4)
    share = 1 - float(kept.mean())
    assert share == pytest.approx(rate, abs=4 * np.sqrt(rate * (1 - rate) / x.size))
    assert float(got.mean()) == pytest.approx(float(x.mean()), rel=0.02)


@pytest.mark.slow
def test_dropout_is_drawn_from_its_key_and_left_out_without_one():
    x, keys = jnp.ones((5, 7)), nnx.Rngs(dropout=3)
    first, second = dropout(x, 0.5, keys), dropout(x, 0.5, keys)
    assert (first != second).any()
    np.testing.assert_array_equal(first, dropout(x, 0.5, nnx.Rngs(dropout=3)))
    assert dropout(x, 0.5, None) is x and dropout(x, 0.0, keys) is x


@pytest.mark.parametrize("make", [MultiHeadAttention, attention_function], ids=["layer", "flax"])
def test_a_variant_that_is_none_is_named_as_its_argument(make, users_errors):
    more = {"width": 8, "heads": 2, "rngs": nnx.Rngs(0)} if make is MultiHeadAttention else {}
    with pytest.raises(ValueError, match="^`variant` must be the name of a variant.*; got int"):
        make(variant=5, **more)


@pytest.mark.parametrize("rows", [1, 3, 4, 5])
def test_scores_of_few_vectors_are_those_of_the_table(draw, rows):
    """Products of few rows are ordered by themselves."""
    table = Embedding(11, 8, rngs=nnx.Rngs(0))
    x = draw(rows, 1, 8)
    expected = np.asarray(x, np.float64) @ np.asarray(table.table.embedding[...], np.float64).T
    np.testing.assert_allclose(table.logits(x), expected, rtol=1e-5, atol=1e-6)


class Half(nnx.Module):
    """Half of a linear map, with dropout, that counts its calls."""

    calls: list[int] = []

    def __init__(self, *, rngs):
        self.map = nnx.Linear(6, 6, rngs=rngs)

    def __call__(self, x, scale, *, rngs=None):
        self.calls.append(1)
        return dropout(self.map(x) * scale, 0.5, rngs)


@pytest.mark.parametrize("has_list", [False, True])
def test_layers_that_are_alike_are_traced_once_with_their_own_dropout(has_list, monkeypatch):
    monkeypatch.setattr(Half, "calls", [])
    graph, state = nnx.split(Stack([lambda rngs: Half(rngs=rngs)] * 3, rngs=nnx.Rngs(0)))
    x, scale = jnp.ones((4, 6)), jnp.float32(0.5)

    def run(state, x, key):
        stack, rngs = nnx.merge(graph, state), nnx.Rngs(dropout=key)
        if has_list:  # which cannot be hashed
            for layer in stack.layers:
                layer.names = nnx.static(["a"])
        return stack(x, scale, rngs=rngs), rngs.dropout()

    def by_itself(state, x, key):
        stack, rngs = nnx.merge(graph, state), nnx.Rngs(dropout=key)
        for layer in stack.layers:
            x = layer(x, scale, rngs=rngs)
        return x, rngs.dropout()

    key = jax.random.key(1)
    want, own_key = by_itself(state, x, key)
    Half.calls.clear()
    got, next_key = jax.jit(run)(state, x, key)
    assert len(Half.calls) == (3 if has_list else 1)
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-7)
    assert next_key == own_key
    gradient = jax.jit(jax.grad(lambda *given: run(*given)[0].sum()))(state, x, key)
    own = jax.grad(lambda *given: by_itself(*given)[0].sum())(state, x, key)
    for a, b in zip(jax.tree.leaves(gradient), jax.tree.leaves(own), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
