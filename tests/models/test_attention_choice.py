"""Every model takes a Variant or its text, and says in which roles it cannot use one."""

import jax.numpy as jnp
import pytest
from flax import nnx

from attention_jax import variants
from attention_jax.models import (
    RNNLM,
    AudioFrontEnd,
    ImageRNN,
    Seq2SeqRNN,
    Seq2SeqTransformer,
    SpeechTransformerEncoder,
    TransformerLM,
    VisionTransformer,
)
from attention_jax.nn import ImageConfig, MultiHeadAttention, RNNConfig, TransformerConfig
from attention_jax.nn.transformer import name_at

IMAGE, AUDIO = ImageConfig(8, 8), AudioFrontEnd(features=4)
BUILD = {
    "seq2seq": lambda config, rngs: Seq2SeqTransformer(config, rngs=rngs),
    "language": lambda config, rngs: TransformerLM(config, rngs=rngs),
    "image": lambda config, rngs: VisionTransformer(IMAGE, config, rngs=rngs),
    "speech": lambda config, rngs: SpeechTransformerEncoder(config, AUDIO, rngs=rngs),
    "seq2seq rnn": lambda config, rngs: Seq2SeqRNN(config, rngs=rngs),
    "language rnn": lambda config, rngs: RNNLM(config, rngs=rngs),
    "image rnn": lambda config, rngs: ImageRNN(IMAGE, config, rngs=rngs),
}
TEXT = "additive(width=3)"


def config_of(model, attention, **others):
    if model.endswith("rnn"):
        return RNNConfig(vocabulary_size=7, width=8, attention=attention)
    return TransformerConfig(
        vocabulary_size=7, width=8, layers=1, heads=2, attention=attention, **others
    )


def variants_in(model, attention, **others):
    """The variants of a model that is described, not computed."""
    config = config_of(model, attention, **others)
    built = nnx.eval_shape(lambda: BUILD[model](config, nnx.Rngs(0)))
    found = [part.variant for _, part in nnx.iter_graph(built) if hasattr(part, "variant")]
    assert found
    return found


@pytest.mark.parametrize("model", BUILD)
def test_a_text_with_options_is_its_variant(model):
    wanted = variants.get("additive", width=3)
    assert set(variants_in(model, TEXT)) == {wanted}
    assert set(variants_in(model, wanted)) == {wanted}


def test_a_variant_of_ones_own_serves_without_a_file():
    own = variants.from_score(lambda params: lambda q, k: -jnp.abs(q - k).sum())
    assert set(variants_in("seq2seq", own)) == {own}
    assert set(variants_in("seq2seq", "alibi", cross_attention=own)) == {variants.get("alibi"), own}


@pytest.mark.slow
def test_a_layer_by_itself_takes_a_text():
    layer = MultiHeadAttention(8, heads=2, variant=TEXT, rngs=nnx.Rngs(0))
    assert layer.variant == variants.get("additive", width=3)
    assert layer.learned["w"].shape == (3,)


def test_what_stands_in_a_role_has_a_name():
    config = config_of("seq2seq", "sliding_window(size=3)")
    assert name_at(config, "causal") == "sliding_window(size=3)"
    assert name_at(config, "cross") == "scaled_dot"
    own = variants.get("alibi")
    assert name_at(config_of("seq2seq", own), "causal") == "a Variant"


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("model", "attention", "others", "message"),
    [
        ("seq2seq", "alibi", {"cross_attention": "alibi"}, "between two sequences, .* got 'alibi'"),
        ("language", "prefix(length=3)", {}, r"'prefix\(length=3\)' does not. Use scaled_dot"),
        ("language rnn", "coverage", {}, "'coverage' does not. Use scaled_dot"),
        ("seq2seq rnn", "alibi", {}, "'alibi' does neither. Use additive"),
        ("seq2seq rnn", variants.get("alibi"), {}, "'a Variant' does neither"),
        ("image rnn", "alibi", {}, "'alibi' does not. Use additive"),
        ("seq2seq", "sliding_window(size='x')", {}, "`size` must be a whole number"),
        ("seq2seq", "sliding_window(", {}, "could not be read"),
    ],
)
def test_a_variant_that_cannot_serve_is_refused_by_its_text(model, attention, others, message):
    with pytest.raises(ValueError, match=message):
        BUILD[model](config_of(model, attention, **others), nnx.Rngs(0))
