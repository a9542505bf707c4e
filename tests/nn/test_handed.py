"""Keys and values that layers hand on: the equations in float64, steps, gradients, refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attention_jax.analysis import attention_maps
from attention_jax.models.image_transformer import VisionTransformer
from attention_jax.models.language import TransformerLM
from attention_jax.models.seq2seq_transformer import Seq2SeqTransformer
from attention_jax.nn import attention_calls
from attention_jax.nn.attention import MultiHeadAttention
from attention_jax.nn.heads import Heads
from attention_jax.nn.patches import ImageConfig
from attention_jax.nn.recurrence import Recurrence
from attention_jax.nn.transformer import TransformerConfig
from tests.support.equations import linear, norm, numbers

SIZES = {"width": 8, "layers": 3, "heads": 2, "feed_forward": 8, "dropout_rate": 0.0}
RESIDUAL, SHARED = {"value_residual": True}, {"kv_sharing": 2}
T = 6


def config(**changes):
    return TransformerConfig(7, **SIZES | changes)


def begun(model):
    """The model with shares of values that are all different."""
    draw = np.random.default_rng(1)
    for path, leaf in nnx.to_flat_state(nnx.state(model, nnx.Param)):
        if path[-1] == "value_mix":
            leaf[...] = jnp.asarray(draw.normal(size=2), jnp.float32)
    return model


def language(**changes):
    return begun(TransformerLM(config(**changes), rngs=nnx.Rngs(0)))


@nnx.jit
def whole(model, text):
    return model.logits(text)


@pytest.fixture
def text():
    return jnp.asarray(np.random.default_rng(0).integers(0, 7, (2, T)), jnp.int32)


def attended(layer, q, k, v, *, causal):
    """Softmax attention of one sequence, a query at a time."""
    out, size = np.zeros_like(q), layer.head_width
    for h, i in np.ndindex(layer.heads, len(q)):
        own, g = slice(h * size, (h + 1) * size), h * layer.kv_heads // layer.heads
        last = i + 1 if causal else len(q)
        keys, values = (x[:last, g * size : (g + 1) * size] for x in (k, v))
        weights = np.exp(keys @ q[i, own] / np.sqrt(size))
        out[i, own] = weights @ values / weights.sum()
    return linear(layer.out, out)


def stacked(layers, x, *, residual, group, causal):
    """A stack by the equations: norms first, ReLU, and what is handed on."""
    first = k = v = None
    for number, layer in enumerate(layers):
        inside = norm(layer.around_attention.norm, x)
        own = layer.attention
        if number % group == 0:
            k, v = linear(own.key, inside), linear(own.value, inside)
            first = v if first is None else first
            if residual and number:
                a, b = numbers(layer.value_mix)
                v = a * first + b * v
        x = x + attended(own, linear(own.query, inside), k, v, causal=causal)
        inside = linear(layer.feed_forward.up, norm(layer.around_feed_forward.norm, x))
        x = x + linear(layer.feed_forward.down, np.maximum(inside, 0))
    return x


def wanted_of(layers, x, name, *, causal):
    residual, group = (
        CASES[name].get(x, y) for x, y in (("value_residual", False), ("kv_sharing", 1))
    )
    return stacked(layers, x, residual=residual, group=group, causal=causal)


CASES = {
    "residual": RESIDUAL,
    "residual, two layers, grouped": RESIDUAL | {"layers": 2, "kv_heads": 1},
    "shared": SHARED | {"layers": 4},
    "shared, two layers, grouped": SHARED | {"layers": 2, "kv_heads": 1},
    "both, cut off": RESIDUAL | SHARED,
}


@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", CASES)
def test_the_logits_are_those_of_the_equations(name, text):
    """Zhou et al. 2024, arXiv:2410.17897: U_n = A_n (a_n V_1 + b_n V_n).

    Brandon et al. 2024, arXiv:2405.12981: K and V of the first layer of a group.
    """
    model = language(**CASES[name])
    logits = whole(model, text)
    for tokens, found in zip(text, logits, strict=True):
        x = np.asarray(model.embedding(tokens[None])[0], np.float64)
        x = norm(model.norm, wanted_of(model.stack.each(), x, name, causal=True))
        wanted = x @ numbers(model.embedding.table.embedding).T
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("name", CASES)
def test_encoders_of_pictures_hand_on_too(name):
    image = ImageConfig(4, 4, 1, patch=2)
    model = begun(VisionTransformer(image, config(**CASES[name]), rngs=nnx.Rngs(0)))
    images = jnp.asarray(np.random.default_rng(0).random((2, 4, 4, 1)), jnp.float32)
    x = np.asarray(model.encoder_input(images)[0], np.float64)
    states = wanted_of(model.encoder.each(), x, name, causal=False)
    wanted = linear(model.head, norm(model.norm, states[0]))
    found = nnx.jit(lambda model: model.classify(images))(model)[0]
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


ROPE = {"positions": "rope", "qk_norm": True, "norm": "post"}
STEPS = {
    **CASES,
    "both, rope": RESIDUAL | SHARED | ROPE,
    "shared, a pattern": SHARED | {"layers": 4, "attention": "[2*sliding_window(size=3), 2*alibi]"},
    "shared, features": SHARED | {"layers": 2, "attention": "content_bias"},
    "shared, learned, another score": SHARED | {"layers": 2, "attention": "additive"},
    "residual, a state": RESIDUAL | {"attention": "linear"},
    "residual, latents": RESIDUAL | {"attention": "latent", "positions": "none", "layers": 2},
    "residual, features": RESIDUAL | {"attention": "[gated_delta, alibi]", "positions": "none"},
}


@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", STEPS)
def test_steps_reproduce_the_whole(name, text):
    model = language(**STEPS[name])
    logits = whole(model, text)

    @nnx.jit
    def stepwise(model):
        state, first = model.read_on(model.start(2, T), text[:, :3])
        _, rest = jax.lax.scan(model.step, state, text.T[3:])
        return jnp.concatenate([first[None], rest]).swapaxes(0, 1)

    np.testing.assert_allclose(stepwise(model), logits[:, 2:], rtol=1e-4, atol=1e-5)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("name", CASES)
def test_a_decoder_steps_as_it_reads(name, text):
    model = begun(Seq2SeqTransformer(config(**CASES[name]), rngs=nnx.Rngs(0)))
    mask = jnp.arange(T)[None] < jnp.array([[T], [4]])

    @nnx.jit
    def both(model):
        memory = model.encode(text, mask)
        _, steps = jax.lax.scan(model.step, model.start(memory, T), text.T)
        return steps.swapaxes(0, 1), model.decode(text, memory)

    np.testing.assert_allclose(*both(model), rtol=1e-4, atol=1e-5)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("name", CASES)
def test_gradients_reach_all_parameters_and_recomputing_changes_none(name, text):
    def gradients(remat):
        graph, params = nnx.split(language(**CASES[name], remat=remat))

        @jax.jit
        def own(params):
            logits = nnx.merge(graph, params).logits(text, rngs=nnx.Rngs(dropout=0))
            return jnp.sin(logits).sum()

        return nnx.to_flat_state(jax.grad(own)(params))

    plain, again = gradients(False), gradients(True)
    for (path, found), (_, other) in zip(plain, again, strict=True):
        np.testing.assert_allclose(other[...], found[...], rtol=1e-4, atol=1e-5)
        assert np.isfinite(found[...]).all()
        # A bias of keys moves all scores of a query alike.
        assert path[-2:] == ("key", "bias") or np.abs(found[...]).max() > 1e-6, path


def test_the_first_layer_alone_has_no_shares():
    model = TransformerLM(config(**RESIDUAL), rngs=nnx.Rngs(0))
    found = [hasattr(layer, "value_mix") for layer in model.stack.each()]
    assert found == [False, True, True]
    np.testing.assert_array_equal(model.stack.each()[1].value_mix[...], [0.5, 0.5])


def test_recorded_calls_hold_what_was_handed_on(text):
    model = language(**RESIDUAL, **SHARED)
    first, shared, mixed = attention_calls.record(model, lambda copy: copy.logits(text))
    for found, wanted in zip(shared.keys_values, first.keys_values, strict=True):
        np.testing.assert_array_equal(found, wanted)
    layer = model.stack.each()[2]
    a, b = layer.value_mix[...]
    keys, own = layer.attention.keys_values(mixed.x)
    np.testing.assert_array_equal(mixed.keys_values[0], keys)
    wanted = a * first.keys_values[1] + b * own
    np.testing.assert_allclose(mixed.keys_values[1], wanted, rtol=1e-5, atol=1e-6)
    found = attention_maps.call_weights(shared)
    q, k = numbers_of(shared.module.queries(shared.x)), numbers_of(first.keys_values[0])
    for h, i in np.ndindex(2, T):
        weights = np.exp(k[0, : i + 1, h] @ q[0, i, h] / 2)
        own = found.weights[0, h, i, : i + 1]
        np.testing.assert_allclose(own, weights / weights.sum(), rtol=1e-4, atol=1e-5)


def numbers_of(x):
    return np.asarray(x, np.float64)


def test_layers_that_share_have_fewer_parameters_and_half_the_cache():
    plain, shared = (TransformerLM(config(layers=4, **x), rngs=nnx.Rngs(0)) for x in ({}, SHARED))

    def count(tree):
        return sum(x.size for x in jax.tree.leaves(tree))

    saved = count(nnx.state(plain, nnx.Param)) - count(nnx.state(shared, nnx.Param))
    assert saved == 2 * 2 * (8 * 8 + 8)  # two layers, keys and values, kernel and bias
    caches = [model.start(2, T).layers for model in (plain, shared)]
    assert count(caches[0]) == 2 * count(caches[1]) == 4 * 2 * 2 * T * 8
    assert [count(cache) > 0 for cache in caches[1]] == [True, False, True, False]
    paths = [dict(nnx.to_flat_state(nnx.state(x, nnx.Param))) for x in (plain, shared)]
    gone = {path[-3:-1] for path in set(paths[0]) - set(paths[1])}
    assert gone == {("attention", "key"), ("attention", "value")}
    assert set(paths[1]) < set(paths[0])


def test_a_module_without_keys_says_so(text):
    layer = language(**SHARED, layers=2).stack.each()[1].attention
    x = jnp.ones((1, 2, 8))
    with pytest.raises(ValueError, match="^`given` must hold the keys and values of another layer"):
        layer(x)
    with pytest.raises(ValueError, match="^`shared_kv` must be False where an attention keeps"):
        MultiHeadAttention(8, heads=Heads(2, shared_kv=True), variant="linear", rngs=nnx.Rngs(0))


@pytest.mark.slow
def test_bfloat16_values_stay_so(text):
    model = language(**RESIDUAL, dtype="bfloat16", layers=2)
    with jax.numpy_dtype_promotion("standard"):  # Flax's own layer norm mixes the two types
        found = model.logits(text)
    wanted = language(**RESIDUAL, layers=2).logits(text)
    assert model.stack.each()[1].value_mix.dtype == jnp.float32
    np.testing.assert_allclose(found, wanted, rtol=0.1, atol=0.1)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (RESIDUAL | {"scan": True}, "`value_residual` must be False with `scan`"),
        (RESIDUAL | {"recurrence": Recurrence()}, "`value_residual` must be False where a rec"),
        (RESIDUAL | {"layers": 1}, "`layers` must be above `kv_sharing` with `value_residual`"),
        (RESIDUAL | {"kv_sharing": 3}, "`layers` must be above `kv_sharing` with `value_residual`"),
        ({"value_residual": 1}, "`value_residual` must be"),
        (SHARED | {"scan": True}, "`kv_sharing` must be 1 with `scan`"),
        (SHARED | {"recurrence": Recurrence()}, "`kv_sharing` must be 1 where a recurrence"),
        (SHARED | {"layers": 1}, "`kv_sharing` must be at most `layers`"),
        (SHARED | {"attention": "linear"}, "`kv_sharing` must be 1 where an attention keeps a st"),
        (SHARED | {"attention": "[alibi, dot]"}, "`attention` must be one throughout each group"),
        ({"kv_sharing": 0}, "`kv_sharing` must be"),
        ({"kv_sharing": True}, "`kv_sharing` must be"),
    ],
)
def test_what_cannot_be_handed_on_is_refused(changes, said):
    with pytest.raises(ValueError) as caught:
        config(**changes).check()
    assert str(caught.value).startswith(said) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "said"), [(RESIDUAL, "values"), (SHARED, "keys and values")], ids=str
)
def test_a_layer_above_the_first_needs_what_it_handed_on(changes, said):
    _, layer, _ = language(**changes).stack.each()
    with pytest.raises(ValueError, match=f"^`x` must hold the {said} of a layer below"):
        layer(jnp.ones((1, 2, 8)))
