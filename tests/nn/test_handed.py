"""Values that layers hand on: loops of the equations in float64, steps, gradients, refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attention_jax.models.image_transformer import VisionTransformer
from attention_jax.models.language import TransformerLM
from attention_jax.models.seq2seq_transformer import Seq2SeqTransformer
from attention_jax.nn import attention_calls
from attention_jax.nn.patches import ImageConfig
from attention_jax.nn.recurrence import Recurrence
from attention_jax.nn.transformer import TransformerConfig
from tests.support.equations import linear, norm, numbers

SIZES = {"width": 8, "layers": 3, "heads": 2, "feed_forward": 8, "dropout_rate": 0.0}
RESIDUAL = {"value_residual": True}
T = 6


def config(**changes):
    return TransformerConfig(7, **SIZES | RESIDUAL | changes)


def begun(model):
    """The model with shares of values that are all different."""
    draw = np.random.default_rng(1)
    for path, leaf in nnx.to_flat_state(nnx.state(model, nnx.Param)):
        if path[-1] == "value_mix":
            leaf[...] = jnp.asarray(draw.normal(size=2), jnp.float32)
    return model


def language(**changes):
    return begun(TransformerLM(config(**changes), rngs=nnx.Rngs(0)))


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


def stacked(layers, x, *, causal):
    """A stack by the equations: norms first, ReLU, values mixed with those of the first layer."""
    first = None
    for layer in layers:
        inside = norm(layer.around_attention.norm, x)
        own = layer.attention
        q, k, v = (linear(part, inside) for part in (own.query, own.key, own.value))
        if first is None:
            first = v
        else:
            a, b = numbers(layer.value_mix)
            v = a * first + b * v
        x = x + attended(own, q, k, v, causal=causal)
        inside = linear(layer.feed_forward.up, norm(layer.around_feed_forward.norm, x))
        x = x + linear(layer.feed_forward.down, np.maximum(inside, 0))
    return x


CASES = {
    "residual": {},
    "residual, two layers, grouped": {"layers": 2, "kv_heads": 1},
}


@pytest.mark.parametrize("name", CASES)
def test_the_logits_are_those_of_the_equations(name, text):
    """Zhou et al. 2024, arXiv:2410.17897: U_n = A_n (a_n V_1 + b_n V_n)."""
    model = language(**CASES[name])
    for tokens, found in zip(text, model.logits(text), strict=True):
        x = np.asarray(model.embedding(tokens[None])[0], np.float64)
        x = norm(model.norm, stacked(model.stack.each(), x, causal=True))
        wanted = x @ numbers(model.embedding.table.embedding).T
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_encoders_of_pictures_hand_on_too(name):
    image = ImageConfig(4, 4, 1, patch=2)
    model = begun(VisionTransformer(image, config(**CASES[name]), rngs=nnx.Rngs(0)))
    images = jnp.asarray(np.random.default_rng(0).random((2, 4, 4, 1)), jnp.float32)
    x = np.asarray(model.encoder_input(images)[0], np.float64)
    wanted = norm(model.norm, stacked(model.encoder.each(), x, causal=False)[0])
    found = model.classify(images)[0]
    np.testing.assert_allclose(found, linear(model.head, wanted), rtol=1e-4, atol=1e-5)


STEPS = {
    **CASES,
    "residual, rope": {"positions": "rope", "qk_norm": True, "norm": "post"},
    "residual, a state": {"attention": "linear"},
    "residual, latents": {"attention": "latent", "positions": "none", "layers": 2},
    "residual, features": {"attention": "[gated_delta, alibi]", "positions": "none"},
}


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", STEPS)
def test_steps_reproduce_the_whole(name, text):
    model = language(**STEPS[name])
    logits = nnx.jit(lambda model: model.logits(text))(model)

    @nnx.jit
    def stepwise(model):
        state, first = model.read_on(model.start(2, T), text[:, :3])
        _, rest = jax.lax.scan(model.step, state, text.T[3:])
        return jnp.concatenate([first[None], rest]).swapaxes(0, 1)

    np.testing.assert_allclose(stepwise(model), logits[:, 2:], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_a_decoder_steps_as_it_reads(name, text):
    model = begun(Seq2SeqTransformer(config(**CASES[name]), rngs=nnx.Rngs(0)))
    mask = jnp.arange(T)[None] < jnp.array([[T], [4]])
    memory = model.encode(text, mask)
    state, found = model.start(memory, T), []
    for token in text.T:
        state, logits = model.step(state, token)
        found.append(logits)
    wanted = model.decode(text, memory)
    np.testing.assert_allclose(jnp.stack(found, 1), wanted, rtol=1e-4, atol=1e-5)


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
    found = [hasattr(layer, "value_mix") for layer in language().stack.each()]
    assert found == [False, True, True]
    model = TransformerLM(config(), rngs=nnx.Rngs(0))
    np.testing.assert_array_equal(model.stack.each()[1].value_mix[...], [0.5, 0.5])


@pytest.mark.parametrize("name", CASES)
def test_recorded_calls_hold_what_was_handed_on(name, text):
    model = language(**CASES[name])
    first, *rest = attention_calls.record(model, lambda copy: copy.logits(text))
    for call, layer in zip(rest, model.stack.each()[1:], strict=True):
        a, b = layer.value_mix[...]
        keys, own = layer.attention.keys_values(call.x)
        np.testing.assert_array_equal(call.keys_values[0], keys)
        wanted = a * first.keys_values[1] + b * own
        np.testing.assert_allclose(call.keys_values[1], wanted, rtol=1e-5, atol=1e-6)


def test_bfloat16_values_stay_so(text):
    model = language(dtype="bfloat16", layers=2)
    with jax.numpy_dtype_promotion("standard"):  # Flax's own layer norm mixes the two types
        found = model.logits(text)
    wanted = language(layers=2).logits(text)
    assert model.stack.each()[1].value_mix.dtype == jnp.float32
    np.testing.assert_allclose(found, wanted, rtol=0.1, atol=0.1)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"scan": True}, "`value_residual` must be False with `scan`"),
        ({"recurrence": Recurrence()}, "`value_residual` must be False where a recurrence"),
        ({"layers": 1}, "`layers` must be at least 2 with `value_residual`"),
        ({"value_residual": 1}, "`value_residual` must be"),
    ],
)
def test_what_cannot_be_handed_on_is_refused(changes, said):
    with pytest.raises(ValueError) as caught:
        config(**changes).check()
    assert str(caught.value).startswith(said) and "\n" not in str(caught.value)


def test_a_layer_above_the_first_needs_what_it_handed_on():
    _, layer, _ = language().stack.each()
    with pytest.raises(ValueError, match="^`x` must hold the values of a layer below"):
        layer(jnp.ones((1, 2, 8)))
