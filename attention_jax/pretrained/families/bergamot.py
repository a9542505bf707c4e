"""Marian's own files: Bergamot's students, which translate in browsers, and other Transformers.

Norms after sums, sinusoids in halves, one table for all; in place of a decoder's self-attention an
SSRU, where the model says so. The first input of a decoder is the zero vector, with its position.
Head 0 of the last layer's attention to the source is trained to align words.

References: Kim et al. 2019, aclanthology.org/D19-5632; students: Bogoychev et al. 2020,
aclanthology.org/2020.ngt-1.26; alignment: Garg et al. 2019, arXiv:1909.02074.
"""

from typing import Any

from attention_jax.core import checks
from attention_jax.core.sinusoids import Sinusoids
from attention_jax.models import seq2seq
from attention_jax.models.seq2seq import Seq2SeqConfig
from attention_jax.nn.recurrence import Recurrence
from attention_jax.nn.transformer import TransformerConfig
from attention_jax.pretrained.families._parts import refused, sides, word
from attention_jax.pretrained.types import Described, Family, Rule, Settings, Special

ALIGNMENT_HEAD = 0  # of the last layer's attention to the source
_ACTIVATIONS = {"relu": "relu", "swish": "swish", "gelu": "gelu"}
_AUTOREGRESSION = {"rnn": True, "self-attention": False}
_FIXED = {  # of those that can be read, where a file says it at all
    "type": "transformer",
    "tied-embeddings-all": "true",
    "transformer-preprocess": "",
    "transformer-postprocess": "dan",
    "transformer-postprocess-emb": "d",
    "transformer-postprocess-top": "",
    "transformer-ffn-depth": "2",
    "transformer-no-projection": "false",
    "transformer-train-position-embeddings": "false",
    "transformer-pool": "false",
    "output-omit-bias": "false",
    "lemma-dim-emb": "0",
    "ulr": "false",
}
_SHARED: dict[str, Any] = {
    "norm": "post",
    "positions": "sinusoidal",
    "sinusoids": Sinusoids("halves", "tensor2tensor"),
    "norm_epsilon": 1e-6,
    "output_bias": True,
    "embedding_scale": None,
}
_MAPS = {"q": "query", "k": "key", "v": "value", "o": "out"}


def config(settings: Settings) -> Seq2SeqConfig:
    """Our configuration of what a file says of its model."""
    for key, value in _FIXED.items():
        settings.refuse(key, (value,))
    recurrent = settings.choose("transformer-decoder-autoreg", _AUTOREGRESSION, "self-attention")
    if recurrent:
        settings.choose("dec-cell", {"ssru": "ssru"})
        settings.refuse("dec-cell-base-depth", ("2",))
        settings.refuse("dec-cell-high-depth", ("1",))
    encoder = TransformerConfig(
        _number(settings, "vocab_size"),
        _number(settings, "dim-emb"),
        layers=_number(settings, "enc-depth"),
        heads=_number(settings, "transformer-heads"),
        feed_forward=_number(settings, "transformer-dim-ffn"),
        activation=settings.choose("transformer-ffn-activation", _ACTIVATIONS, "swish"),
        **_SHARED,
    )
    own = _number(settings, "transformer-decoder-dim-ffn", "0")
    decoder = encoder._replace(
        layers=_number(settings, "dec-depth"),
        feed_forward=own or encoder.feed_forward,
        recurrence=Recurrence("ssru") if recurrent else None,
    )
    return Seq2SeqConfig(encoder, decoder)


def _number(settings: Settings, key: str, default: str | None = None) -> int:
    found = str(settings.need(key) if default is None else settings.get(key, default))
    if not found.isdecimal():
        raise ValueError(
            f"`{key}` of {settings.name} must be a whole number; got {checks.said(found)}. Fetch "
            "the file anew."
        )
    return int(found)


def described(config: Seq2SeqConfig) -> Described:
    """The words of a file for our configuration.

    Raises:
      ValueError: no model of Marian is so.
    """
    encoder, decoder = both = sides(config, "bergamot")
    for side in both:
        refused(side, "bergamot", **_SHARED, norm_kind="layer", biases="all", tied=True)
        refused(side, "bergamot", embedding_norm=False, kv_heads=None, head_width=None)
        refused(side, "bergamot", value_width=None, qk_norm=False)
        refused(side, "bergamot", attention="scaled_dot", cross_attention=None)
    refused(encoder, "bergamot", recurrence=None, activation=decoder.activation)
    refused(encoder, "bergamot", heads=decoder.heads)
    if decoder.recurrence is not None:
        refused(decoder.recurrence, "bergamot", cell="ssru")
    return _FIXED | {
        "model_type": "bergamot",
        "vocab_size": str(decoder.vocabulary_size),
        "dim-emb": str(decoder.width),
        "enc-depth": str(encoder.layers),
        "dec-depth": str(decoder.layers),
        "transformer-heads": str(decoder.heads),
        "transformer-dim-ffn": str(encoder.feed_forward),
        "transformer-decoder-dim-ffn": str(decoder.feed_forward),
        "transformer-ffn-activation": word(_ACTIVATIONS, decoder.activation, "activation"),
        "transformer-decoder-autoreg": "rnn" if decoder.recurrence else "self-attention",
        "dec-cell": "ssru" if decoder.recurrence else "gru",
    }


def rules(config: Seq2SeqConfig) -> list[Rule]:
    """The table of names."""
    encoder, decoder = sides(config, "bergamot")
    found = [
        Rule("Wemb", "embedding/table/embedding"),
        Rule("decoder_ff_logit_out_b", "output_bias"),
    ]
    for n in range(encoder.layers):
        theirs, ours = f"encoder_l{n + 1}", f"encoder/layers/layers/{n}"
        found += _attention(f"{theirs}_self", ours, "attention") + _feed_forward(theirs, ours)
    for n in range(decoder.layers):
        theirs, ours = f"decoder_l{n + 1}", f"decoder/layers/{n}"
        if decoder.recurrence is None:
            found += _attention(f"{theirs}_self", ours, "attention")
        else:
            found += _recurrence(theirs, ours)
        found += _attention(f"{theirs}_context", ours, "cross_attention")
        found += _feed_forward(theirs, ours)
    return found


def _attention(theirs: str, ours: str, part: str) -> list[Rule]:
    found = _norm(f"{theirs}_Wo", f"{ours}/around_{part}")
    for letter, own in _MAPS.items():
        found += _linear(f"{theirs}_W{letter}", f"{theirs}_b{letter}", f"{ours}/{part}/{own}")
    return found


def _recurrence(theirs: str, ours: str) -> list[Rule]:
    cell = f"{ours}/recurrence/ways/0"
    return [
        Rule(f"{theirs}_rnn_W", f"{cell}/project/kernel"),
        *_linear(f"{theirs}_rnn_Wf", f"{theirs}_rnn_bf", f"{cell}/forget_gate"),
        *_norm(f"{theirs}_rnn_ffn", f"{ours}/around_attention"),
    ]


def _feed_forward(theirs: str, ours: str) -> list[Rule]:
    name = f"{theirs}_ffn"
    return [
        *_linear(f"{name}_W1", f"{name}_b1", f"{ours}/feed_forward/up"),
        *_linear(f"{name}_W2", f"{name}_b2", f"{ours}/feed_forward/down"),
        *_norm(f"{name}_ffn", f"{ours}/around_feed_forward"),
    ]


def _linear(kernel: str, bias: str, ours: str) -> list[Rule]:
    return [Rule(kernel, f"{ours}/kernel"), Rule(bias, f"{ours}/bias")]


def _norm(theirs: str, ours: str) -> list[Rule]:
    return [
        Rule(f"{theirs}_ln_scale", f"{ours}/norm/scale"),
        Rule(f"{theirs}_ln_bias", f"{ours}/norm/bias"),
    ]


def special(settings: Settings) -> Special:
    """Its sentences end with token 0, and begin with none."""
    del settings
    return Special(end=0, unknown=1)


FAMILY = Family(
    name="bergamot",
    model_types=("bergamot",),
    config=config,
    build=lambda config, rngs: seq2seq.build(config, rngs=rngs),
    rules=rules,
    special=special,
    described=described,
    ignored=(r"\w+_QuantMultA",),
)
