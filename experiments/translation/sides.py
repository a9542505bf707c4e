"""Encoder and decoder of different kinds: their flags, and the configuration that these give."""

from typing import Annotated, Any, NamedTuple

from attention_jax import variants
from attention_jax.models.seq2seq import Seq2SeqConfig
from attention_jax.nn import linear_cells, recurrent
from attention_jax.nn.recurrence import Recurrence
from attention_jax.nn.recurrent import RNNConfig
from attention_jax.nn.transformer import ONE_VECTOR, TransformerConfig, name_at
from experiments.common.config import MOST_LAYERS, ModelFlags
from experiments.common.flags import Flag

KINDS = ("transformer", *recurrent.CELLS, *linear_cells.CELLS)
# Models that may be compared, beside those of one usual kind.
MODELS: dict[str, dict[str, Any]] = {
    "gru_heads": {"model": "rnn", "cell": "gru", "decoder_heads": 4},
    "gru_self_attention": {
        "model": "rnn",
        "cell": "gru",
        "decoder_heads": 4,
        "encoder_attention_layers": 1,
    },
} | {
    f"transformer_{kind}": {"model": "transformer", "decoder": kind} for kind in linear_cells.CELLS
}
Network = TransformerConfig | RNNConfig | Seq2SeqConfig


class SideFlags(NamedTuple):
    """Encoder and decoder, each of its own kind.

    Attributes:
      encoder: kind of the encoder: transformer; cells, gru or lstm; or a linear recurrence in place
        of a Transformer's self-attention, ssru, min_gru, rg_lru or mlstm. Default: that of --model.
      decoder: kind of the decoder. Of gru and lstm --attention is that to the source, and
        self-attention is scaled_dot, unless --cross_attention names the one to the source. With
        --cross_attention=none the decoder knows the source as one vector. Default: that of --model.
      decoder_heads: of a gru or lstm decoder: heads with which it attends to the source. Several
        have projections, and any attention that `attention-jax list` shows as cross.
      encoder_attention_layers: of a gru or lstm encoder: layers of self-attention above its cells.
    """

    encoder: Annotated[str | None, Flag(choices=KINDS)] = None
    decoder: Annotated[str | None, Flag(choices=KINDS)] = None
    decoder_heads: Annotated[int, Flag(low=1)] = 1
    encoder_attention_layers: Annotated[int, Flag(low=0, high=MOST_LAYERS)] = 0


def kinds(model: ModelFlags, sides: SideFlags) -> tuple[str, str]:
    """The kinds of encoder and decoder."""
    own = model.cell if model.model == "rnn" else "transformer"
    return sides.encoder or own, sides.decoder or own


def named(model: ModelFlags, sides: SideFlags) -> tuple[str, str]:
    """The model in a word, and its attention: that to the source, where the two sides differ."""
    if sides.encoder is None and sides.decoder is None:
        return model.model, model.attention_text
    both = kinds(model, sides)
    name = "transformer" if set(both) == {"transformer"} else "_".join(both)
    return name, _to_source(model, both[1]) or _itself(model, both[1])


def network(
    model: ModelFlags, sides: SideFlags, vocabulary_size: int, *, max_length: int
) -> Network:
    """Sizes and choices of the model.

    Raises:
      ValueError: flags that do not go together.
    """
    encoder, decoder = kinds(model, sides)
    _check(model, sides, encoder, decoder)
    if sides == SideFlags():
        return model.network(vocabulary_size, max_length=max_length)
    made = {
        kind: _side(model, sides, kind, decoder).network(vocabulary_size, max_length=max_length)
        for kind in (encoder, decoder)
    }
    above = sides.encoder_attention_layers
    for kind, own in made.items():
        if isinstance(own, RNNConfig):
            layers = _above(model, above, decoder, own, max_length=max_length) if above else None
            made[kind] = own._replace(decoder_heads=sides.decoder_heads, self_attention=layers)
        elif kind != "transformer":
            if "transformer" in made:  # which hands on by itself
                own = own._replace(value_residual=False, kv_sharing=1)
            made[kind] = own._replace(recurrence=Recurrence(kind, model.bidirectional))
    return made[decoder] if encoder == decoder else Seq2SeqConfig(made[encoder], made[decoder])


def described(config: Network) -> str | None:
    """A line that says what stands where; None of a model whose sides are of one usual kind."""
    usual = isinstance(config, RNNConfig) and config.self_attention is None
    if usual and config.decoder_heads == 1:
        return None
    if isinstance(config, TransformerConfig) and config.recurrence is None:
        return None
    both = config if isinstance(config, Seq2SeqConfig) else Seq2SeqConfig(config, config)
    encoder, decoder = _said(both.encoder, "bidirectional"), _said(both.decoder, "causal")
    if isinstance(both.encoder, RNNConfig) and both.encoder.self_attention is not None:
        encoder += f" below {_said(both.encoder.self_attention, 'bidirectional')}"
    return f"encoder: {encoder}; decoder: {decoder}; between the two: {_look(both.decoder)}"


def _look(decoder: TransformerConfig | RNNConfig) -> str:
    """How the decoder knows the source."""
    if isinstance(decoder, RNNConfig):
        found, heads = variants.label(decoder.attention), decoder.decoder_heads
    else:
        found, heads = name_at(decoder, "cross"), decoder.heads
    return "one vector" if found == ONE_VECTOR else f"{found}, {heads} head{'s' * (heads > 1)}"


def _said(side: TransformerConfig | RNNConfig, role: str) -> str:
    if isinstance(side, RNNConfig):
        return side.cell
    return side.recurrence.cell if side.recurrence else f"transformer ({name_at(side, role)})"


def _to_source(model: ModelFlags, decoder: str) -> str | None:
    """The attention of the decoder to the source, where it has one of its own."""
    if decoder in recurrent.CELLS:
        return model.cross_attention or model.attention or "additive"
    none = ONE_VECTOR if model.attention == ONE_VECTOR else None
    return model.cross_attention or none


def _itself(model: ModelFlags, decoder: str) -> str:
    """The self-attention of Transformers."""
    of_all = decoder not in recurrent.CELLS or model.cross_attention is not None
    found = model.attention if of_all else None
    return "scaled_dot" if found in (None, ONE_VECTOR) else found


def _side(model: ModelFlags, sides: SideFlags, kind: str, decoder: str) -> ModelFlags:
    """The flags of one side, as of a model that has two of its kind."""
    if kind not in recurrent.CELLS:
        return model._replace(
            model="transformer",
            attention=_itself(model, decoder),
            cross_attention=_to_source(model, decoder) if kind == decoder else None,
        )
    attention = _to_source(model, decoder) if kind == decoder else "additive"
    return model._replace(model="rnn", cell=kind, attention=attention)


def _above(
    model: ModelFlags, layers: int, decoder: str, cells: RNNConfig, *, max_length: int
) -> TransformerConfig:
    """Self-attention above cells, which tell positions apart already."""
    own = model._replace(
        model="transformer",
        layers=layers,
        positions="none",
        rotary_options=ModelFlags().rotary_options,
        sinusoid_options=ModelFlags().sinusoid_options,
        attention=_itself(model, decoder),
        cross_attention=None,
    )
    found: Any = own.network(cells.vocabulary_size, max_length=max_length)
    return found


def _check(model: ModelFlags, sides: SideFlags, encoder: str, decoder: str) -> None:
    """Refuses flags of a side of another kind."""
    cells = " or ".join(recurrent.CELLS)
    if sides.decoder_heads > 1 and decoder not in recurrent.CELLS:
        raise ValueError(
            f"`--decoder_heads` is of a {cells} decoder; got --decoder_heads={sides.decoder_heads} "
            f"beside a {decoder} one. Its heads are --heads."
        )
    if sides.encoder_attention_layers and encoder not in recurrent.CELLS:
        raise ValueError(
            f"`--encoder_attention_layers` is of a {cells} encoder; got "
            f"--encoder_attention_layers={sides.encoder_attention_layers} above a {encoder} one. "
            "Leave it out."
        )
    if sides == SideFlags():
        return
    to_source = _to_source(model, decoder)
    for name in ("decoder_heads", "encoder_attention_layers"):
        got = getattr(sides, name)
        if to_source == ONE_VECTOR and got != getattr(SideFlags(), name):
            raise ValueError(
                f"`--{name}` needs a decoder that attends; got --{name}={got} without attention. "
                "Name one by --cross_attention."
            )
    if model.attention == ONE_VECTOR and "transformer" in (encoder, decoder):
        raise ValueError(
            "`--attention=none` does not go with a transformer, which is its self-attention. For a "
            "decoder that does not attend to the source give --cross_attention=none."
        )
