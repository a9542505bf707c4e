"""BERT and MiniLM: an encoder of texts, norm last, erf GELU, learned positions, types of tokens.

Reference: Devlin et al. 2019, arXiv:1810.04805; names: `transformers`, `BertModel` and
`BertForMaskedLM`. Of heads above it that of masked tokens alone is read.
"""

from attention_jax.models.text_encoder import TextEncoder, TextEncoderConfig
from attention_jax.nn.transformer import TransformerConfig
from attention_jax.pretrained.families._parts import ACTIVATIONS, linear, norm, refused, word
from attention_jax.pretrained.types import (
    SAME,
    Described,
    Family,
    Form,
    Rule,
    Settings,
    Special,
)

_HEAD = "cls.predictions"
# `architectures` whose files have no pooler, or one that was not trained.
WITHOUT_POOLER = {"BertForMaskedLM", "BertForTokenClassification", "BertForQuestionAnswering"}


def config(settings: Settings) -> TextEncoderConfig:
    """Our configuration of a config.json."""
    settings.refuse("position_embedding_type", ("absolute",))
    settings.refuse("is_decoder", (False,))
    settings.refuse("add_cross_attention", (False,))
    transformer = TransformerConfig(
        settings.need("vocab_size"),
        settings.need("hidden_size"),
        layers=settings.need("num_hidden_layers"),
        heads=settings.need("num_attention_heads"),
        feed_forward=settings.need("intermediate_size"),
        positions="learned",
        norm="post",
        max_length=settings.get("max_position_embeddings", 512),
        activation=settings.choose("hidden_act", ACTIVATIONS, "gelu"),
        norm_epsilon=settings.get("layer_norm_eps", 1e-12),
        dropout_rate=settings.get("hidden_dropout_prob", 0.1),
        attention_dropout_rate=settings.get("attention_probs_dropout_prob", 0.1),
        embedding_scale=1.0,
        embedding_norm=True,
    )
    kinds = set(settings.get("architectures", ()))
    words = f"{_HEAD}.transform.dense.weight" in settings.tensors
    if words:
        settings.refuse("tie_word_embeddings", (True,))
    return TextEncoderConfig(
        transformer,
        token_types=settings.get("type_vocab_size", 2),
        pooler=not kinds & WITHOUT_POOLER,
        words=words,
    )


def described(config: TextEncoderConfig) -> Described:
    """The config.json of our configuration.

    Raises:
      ValueError: no BERT is so.
    """
    kind = "BertModel" if config.pooler else "BertForMaskedLM"
    if config.pooler and config.words:
        kind = "BertForPreTraining"
    return described_as(config, "bert") | {"architectures": [kind]}


def described_as(config: TextEncoderConfig, name: str) -> Described:
    """The config.json that BERT and RoBERTa share."""
    own = config.transformer
    refused(own, name, norm="post", norm_kind="layer", biases="all", embedding_scale=1.0)
    refused(own, name, positions="learned", embedding_norm=True, qk_norm=False, kv_heads=None)
    refused(own, name, head_width=None, value_width=None, recurrence=None)
    refused(own, name, attention="scaled_dot")
    return {
        "model_type": name,
        "vocab_size": own.vocabulary_size,
        "hidden_size": own.width,
        "num_hidden_layers": own.layers,
        "num_attention_heads": own.heads,
        "intermediate_size": own.feed_forward,
        "max_position_embeddings": own.max_length,
        "type_vocab_size": config.token_types,
        "hidden_act": word(ACTIVATIONS, own.activation, "activation"),
        "layer_norm_eps": own.norm_epsilon,
        "hidden_dropout_prob": own.dropout_rate,
        "attention_probs_dropout_prob": own.attention_dropout_rate,
    }


def rules(config: TextEncoderConfig) -> list[Rule]:
    """The table of names."""
    found = body(config)
    if config.words:
        found += [
            *linear(f"{_HEAD}.transform.dense", "words/dense"),
            *norm(f"{_HEAD}.transform.LayerNorm", "words/norm"),
            Rule(f"{_HEAD}.bias", "words/bias"),
        ]
    return found


def body(config: TextEncoderConfig, *, positions: Form = SAME) -> list[Rule]:
    """The table of all but the head, which BERT and RoBERTa share."""
    found = [
        Rule("embeddings.word_embeddings.weight", "embedding/table/embedding"),
        Rule("embeddings.position_embeddings.weight", "embedding/learned/embedding", positions),
        *norm("embeddings.LayerNorm", "embedding_norm"),
    ]
    if config.token_types:
        found.append(Rule("embeddings.token_type_embeddings.weight", "types/embedding"))
    if config.pooler:
        found += linear("pooler.dense", "pooler")
    for n in range(config.transformer.layers):
        theirs, ours = f"encoder.layer.{n}", f"stack/layers/{n}"
        for part in ("query", "key", "value"):
            found += linear(f"{theirs}.attention.self.{part}", f"{ours}/attention/{part}")
        found += [
            *linear(f"{theirs}.attention.output.dense", f"{ours}/attention/out"),
            *norm(f"{theirs}.attention.output.LayerNorm", f"{ours}/around_attention/norm"),
            *linear(f"{theirs}.intermediate.dense", f"{ours}/feed_forward/up"),
            *linear(f"{theirs}.output.dense", f"{ours}/feed_forward/down"),
            *norm(f"{theirs}.output.LayerNorm", f"{ours}/around_feed_forward/norm"),
        ]
    return found


def special(settings: Settings) -> Special:
    """Padding alone; a tokenizer says which tokens begin and end a text."""
    return Special(settings.get("pad_token_id", 0))


FAMILY = Family(
    name="bert",
    model_types=("bert",),
    config=config,
    build=lambda config, rngs: TextEncoder(config, rngs=rngs),
    rules=rules,
    special=special,
    described=described,
    rows=("embedding/table/embedding", "words/bias"),
    prefix="bert.",
    bare=tuple(
        f"{_HEAD}.{name}"
        for name in (
            "bias",
            *(f"transform.{x}.{y}" for x in ("dense", "LayerNorm") for y in ("weight", "bias")),
        )
    ),
    ignored=(
        r"embeddings\.position_ids",
        r"pooler\..*",
        r"cls\.predictions\.decoder\..*",
        r"cls\.seq_relationship\..*",
    ),
    older=((r"LayerNorm\.gamma$", "LayerNorm.weight"), (r"LayerNorm\.beta$", "LayerNorm.bias")),
    writes_tokens=False,
)
