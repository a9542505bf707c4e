"""Tiny models that are exported: the same mechanisms as language models and as translators."""

from flax import nnx

from attention_jax.models import seq2seq
from attention_jax.models.language import TransformerLM
from attention_jax.nn.recurrent import RNNConfig
from attention_jax.nn.transformer import TransformerConfig

WORDS = 11
# Mechanisms: scores, masks, biases, normalizers, recurrences, positions and heads that differ.
CASES = {
    "scaled_dot": {},
    "additive": {"attention": "additive"},
    "alibi": {"attention": "alibi", "positions": "none"},
    "sliding_window": {"attention": "sliding_window(size=2)"},
    "gated_delta": {"attention": "gated_delta"},
    "entmax15": {"attention": "entmax15"},
    "rope": {"positions": "rope"},
    "grouped_heads": {"kv_heads": 1},
}
MORE = {
    name: {"attention": name}
    for name in (
        "cosine",
        "gated_linear",
        "linear",
        "sparsemax",
        "t5_bias",
        "top_k",
    )
}
RNNS = {
    "gru, additive": {"attention": "additive"},
    "lstm, general": {"attention": "general", "cell": "lstm"},
    "gru, none": {"attention": "none"},
}


def config(name, **more):
    own = {"width": 8, "heads": 2, "layers": 1, "feed_forward": 8, "dropout_rate": 0.0}
    return TransformerConfig(WORDS, **own | (CASES | MORE)[name] | more)


def language(name, **more):
    return TransformerLM(config(name, **more), rngs=nnx.Rngs(0))


def translator(name):
    own = RNNConfig(WORDS, 8, **RNNS[name]) if name in RNNS else config(name)
    return seq2seq.build(own, rngs=nnx.Rngs(0))
