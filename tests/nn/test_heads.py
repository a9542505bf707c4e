"""Options of heads: biases, norms of queries and keys, rotary positions; loops in float64."""

import math

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attention_jax.core import masks
from attention_jax.core.rotary import Rotary
from attention_jax.nn.attention import MultiHeadAttention
from attention_jax.nn.heads import BIASES, Heads
from attention_jax.nn.transformer import TransformerConfig
from attention_jax.nn.transformer_layers import EncoderLayer
from tests.support.equations import numbers

WIDTH, HEADS, KV_HEADS, T = 8, 2, 1, 5


def build(rope=False, **options):
    own = Heads(HEADS, KV_HEADS, **options)
    layer = MultiHeadAttention(WIDTH, heads=own, variant="scaled_dot", rope=rope, rngs=nnx.Rngs(0))
    draw = np.random.default_rng(1)
    for name, leaf in nnx.to_flat_state(nnx.state(layer, nnx.Param)):
        if name[-1] != "kernel":  # biases and gains begin as 0 and 1
            leaf[...] = jnp.asarray(draw.normal(size=leaf.shape), jnp.float32)
    return layer


def projected(layer, x):
    """`W x + b` without what is not there."""
    bias = 0.0 if layer.bias is None else numbers(layer.bias)
    return x @ numbers(layer.kernel) + bias


def normed(layer, x, epsilon):
    """Dehghani et al. 2023, section 2, by the root of the mean square."""
    return numbers(layer.scale) * x / math.sqrt((x**2).mean() + epsilon)


def rotated(x, position):
    """Halves, base 100, of 4 channels."""
    out = np.array(x)
    for c in range(2):
        angle = position * 100.0 ** (-2 * c / 4)
        out[c] = x[c] * math.cos(angle) - x[c + 2] * math.sin(angle)
        out[c + 2] = x[c + 2] * math.cos(angle) + x[c] * math.sin(angle)
    return out


def by_equation(layer, x, *, qk_norm, rope, epsilon):
    """Causal attention of one sequence, a head, a query and a key at a time."""
    q, k, v = (projected(part, x) for part in (layer.query, layer.key, layer.value))
    size, e = q.shape[1] // HEADS, v.shape[1] // KV_HEADS
    own = np.zeros((T, HEADS * e))

    def vector(rows, norm, i, h):
        found = rows[i, h * size : (h + 1) * size]
        found = normed(norm, found, epsilon) if qk_norm else found
        return rotated(found, i) if rope else found

    norms = (layer.query_norm, layer.key_norm) if qk_norm else (None, None)
    for h, i in np.ndindex(HEADS, T):
        query = vector(q, norms[0], i, h)
        keys = [vector(k, norms[1], j, h * KV_HEADS // HEADS) for j in range(i + 1)]
        weights = np.array([math.exp(key @ query / math.sqrt(size)) for key in keys])
        g = h * KV_HEADS // HEADS
        values = v[: i + 1, g * e : (g + 1) * e]
        own[i, h * e : (h + 1) * e] = weights @ values / weights.sum()
    return projected(layer.out, own)


CASES = [
    *({"biases": biases} for biases in BIASES),
    {"qk_norm": True, "norm_epsilon": 0.3},
    {"qk_norm": True, "norm_epsilon": 0.3, "biases": "qkv", "rope": Rotary(100.0, "halves")},
    {"head_width": 6},
    {"head_width": 3, "value_width": 5, "qk_norm": True, "norm_epsilon": 0.3},
]


@pytest.mark.sampled(2)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_heads_attend_by_the_equations_and_so_do_their_steps(case, draw):
    layer, x = build(**case), draw(2, T, WIDTH)
    found = layer(x, mask=masks.causal)
    own = {"qk_norm": case.get("qk_norm", False), "rope": "rope" in case}
    own["epsilon"] = case.get("norm_epsilon")
    wanted = [by_equation(layer, np.asarray(y, np.float64), **own) for y in x]
    np.testing.assert_allclose(found, np.stack(wanted), rtol=1e-4, atol=1e-5)
    cache, steps = layer.init_cache(2, T), []
    for i in range(T):
        cache, out = layer.decode_step(x[:, i : i + 1], cache, jnp.int32(i))
        steps.append(out)
    np.testing.assert_allclose(jnp.concatenate(steps, axis=1), wanted, rtol=1e-4, atol=1e-5)


def names(biases):
    """The biases of an encoder's layer by their places."""
    config = TransformerConfig(9, width=8, heads=2, feed_forward=4, biases=biases)
    state = nnx.to_flat_state(nnx.state(EncoderLayer(config, rngs=nnx.Rngs(0)), nnx.Param))
    return {"/".join(map(str, path[:-1])) for path, _ in state if path[-1] == "bias"}


def test_biases_stand_where_the_config_says():
    inside = {f"attention/{x}" for x in ("query", "key", "value")}
    rest = {"attention/out", "feed_forward/up", "feed_forward/down"}
    rest |= {f"around_{x}/norm" for x in ("attention", "feed_forward")}
    assert names("all") == inside | rest
    assert names("qkv") == inside
    assert names("none") == set()


def test_true_is_the_rotary_as_it_comes(draw):
    x = draw(1, T, WIDTH)
    np.testing.assert_array_equal(build(rope=True)(x), build(rope=Rotary())(x))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"heads": 3}, "`heads` must divide `width`"),
        ({"heads": Heads(2, 3)}, "`kv_heads` must divide `heads`"),
        ({"heads": Heads(2), "kv_heads": 1}, "`kv_heads` must be left out"),
        ({"heads": Heads(2, biases="some")}, "`biases` must be one of 'all', 'qkv', 'none'"),
        ({"heads": Heads(2, norm_epsilon=0.0)}, "`norm_epsilon` must be above 0"),
        ({"heads": Heads(2, head_width=0)}, "`head_width` must be"),
        ({"heads": Heads(2, value_width=True)}, "`value_width` must be"),
        ({"heads": 2, "rope": Rotary(share=0.1)}, "`share` must leave"),
        ({"heads": 2, "rope": Rotary(axes=2)}, "`axes` of rotary positions must be 1"),
        ({"heads": 8, "rope": True}, "`width` of a head must be a multiple of 2"),
    ],
    ids=str,
)
def test_a_wrong_choice_is_named(given, said):
    with pytest.raises(ValueError) as caught:
        MultiHeadAttention(WIDTH, variant="dot", rngs=nnx.Rngs(0), **given)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_a_config_checks_them():
    for field, value in (("biases", "some"), ("qk_norm", 1), ("rotary", Rotary(share=2.0))):
        name = "share" if field == "rotary" else field
        with pytest.raises(ValueError, match=f"^`{name}` must be"):
            TransformerConfig(9)._replace(**{field: value}).check()
