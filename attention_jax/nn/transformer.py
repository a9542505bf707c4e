"""Shared parts of Transformers: config, stacks and norms, variants by role.

The models of `models/` share these; none of them imports another.

Reference: Vaswani et al. 2017, arXiv:1706.03762.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array

from attention_jax import variants
from attention_jax.core import checks, contexts, plain_types
from attention_jax.core.calls import clear_fields
from attention_jax.core.rotary import Rotary
from attention_jax.core.sinusoids import Sinusoids
from attention_jax.core.types import Context, Variant
from attention_jax.nn import handed
from attention_jax.nn.feed_forward import ACTIVATIONS
from attention_jax.nn.heads import Heads
from attention_jax.nn.layers import Embedding, Stack
from attention_jax.nn.norms import EPSILON, NORMS, PLACEMENTS, LayerNorm, RMSNorm, norm_of
from attention_jax.nn.recurrence import Recurrence

POSITIONS = ("sinusoidal", "learned", "rope", "none")
STAND_IN = "scaled_dot"  # where the named variant cannot serve
ONE_VECTOR = "none"  # between two sequences: no attention
_CHOICES = {
    "positions": POSITIONS,
    "norm": PLACEMENTS,
    "norm_kind": NORMS,
    "activation": tuple(ACTIVATIONS),
    "dtype": ("float32", "bfloat16"),
}
# Fields that are None or above 0, and what None stands for.
_ABOVE_ZERO = {
    "embedding_scale": "the root of the width",
    "logit_cap": "no bound",
    "layer_scale": "no gains",
}


@clear_fields
class TransformerConfig(NamedTuple):
    """Sizes and choices of a Transformer; the defaults are a small one.

    Attributes:
      attention: a Variant, or its text as `variants.resolve` takes it: "alibi",
        "sliding_window(size=64)", "mine.py". In a role that it does not have (`Variant.roles`),
        scaled dot stands in: in the encoder for one that only looks back, in the decoder for one
        that must see all, and between the two for one that goes by distances, which mean nothing
        between two sentences. Layers that differ have a pattern, which is repeated over them, and
        cut off at the last: "[3*gated_delta, scaled_dot]", or a tuple.
      cross_attention: another one, or another pattern, between decoder and encoder; or "none": then
        all that the decoder knows of the source is one vector, added to each of its inputs.
      positions: one of `POSITIONS`.
      norm: where norms stand: "pre", before each sub-layer, "post", after its shortcut's sum, or
        "sandwich", before and after each sub-layer.
      activation: of the feed-forward layers, one of `ACTIVATIONS`; swiglu and geglu are gated.
      dropout_rate: on embeddings, hidden units and the output of each sub-layer.
      attention_dropout_rate: on attention weights.
      max_length: the longest input, where positions are learned.
      dtype: of the computation: "float32" or "bfloat16". Parameters are float32.
      scan: one compiled layer in a loop: compiles faster.
      remat: recomputes layers in the backward pass: saves memory.
      context: the axis of the mesh over which sequences are divided in training, or a `Context`;
        None where each device has whole ones.
      norm_kind: "layer" or "rms".
      norm_epsilon: added to the mean square of each norm.
      biases: what adds learned vectors in layers: "all" linear maps and layer norms, the "qkv"
        projections alone, or "none".
      qk_norm: whether each head's queries and keys are normed by the root of their mean square.
      rotary: how they turn, where `positions` is "rope"; a tuple is repeated over the layers.
      embedding_scale: of the vectors of tokens, and of learned positions beside them; None for the
        root of the width.
      embedding_norm: whether vectors are normed before the first layer, positions included.
      head_width: of queries and keys of each head; None for the width of the model, divided by the
        heads.
      value_width: of values of each head; None for as wide as keys.
      output_bias: whether logits of tokens have a learned bias, the table being tied or not; those
        of images always do.
      logit_cap: c of the logits c tanh(x / c) of tokens; None for x.
      sinusoids: their layout and rates, where `positions` is "sinusoidal".
      recurrence: a linear recurrence in place of self-attention; None for self-attention.
      layer_scale: the first value of learned gains of the channels of each sub-layer's output,
        before its shortcut; None for no gains.
      value_residual: whether the values of each self-attention but the first are mixed with those
        of the first, by two learned numbers a layer: Zhou et al. 2024, arXiv:2410.17897.
      kv_sharing: self-attentions in a group, of which the first alone has projections to keys and
        values, and a cache; the others use its: Brandon et al. 2024, arXiv:2405.12981.
    """

    vocabulary_size: int
    width: int = 128
    layers: int = 4
    heads: int = 4
    kv_heads: int | None = None
    feed_forward: int = 256
    attention: variants.Pattern = "scaled_dot"
    cross_attention: variants.Pattern | None = None
    positions: str = "sinusoidal"
    norm: str = "pre"
    activation: str = "relu"
    tied: bool = True
    dropout_rate: float = 0.1
    attention_dropout_rate: float = 0.0
    max_length: int = 1024
    dtype: str = "float32"
    scan: bool = False
    remat: bool = False
    context: Context | str | None = None
    norm_kind: str = "layer"
    norm_epsilon: float = EPSILON
    biases: str = "all"
    qk_norm: bool = False
    rotary: Rotary | tuple[Rotary, ...] = Rotary()
    embedding_scale: float | None = None
    embedding_norm: bool = False
    output_bias: bool = False
    logit_cap: float | None = None
    head_width: int | None = None
    value_width: int | None = None
    recurrence: Recurrence | None = None
    layer_scale: float | None = None
    value_residual: bool = False
    kv_sharing: int = 1
    sinusoids: Sinusoids = Sinusoids()

    def check(self) -> None:
        """Raises ValueError where a field is of another type, or out of its range."""
        plain_types.check_fields(self)
        for name in ("vocabulary_size", "width", "layers", "heads", "feed_forward", "max_length"):
            checks.positive(name, getattr(self, name))
        heads_of(self).check(self.width)
        for name in ("dropout_rate", "attention_dropout_rate"):
            checks.fraction(name, getattr(self, name))
        for name, choices in _CHOICES.items():
            checks.one_of(name, getattr(self, name), choices)
        for name, beside in _ABOVE_ZERO.items():
            if getattr(self, name) is not None:
                checks.above_zero(name, getattr(self, name), beside=f", or None for {beside}")
        for own in _turns(self.rotary):
            own.check()
        self.sinusoids.check()
        if self.context is not None:
            contexts.checked(self.context)
        if self.recurrence is not None:
            self.recurrence.check(width=self.width, heads=self.heads, context=self.context)
        self._check_together()

    def _check_together(self) -> None:
        """Raises ValueError where what layers hand on, or a loop over them, cannot be."""
        handed.check(
            self.value_residual,
            self.kv_sharing,
            layers=self.layers,
            attention=variants.pattern(self.attention),
            scan=self.scan,
            recurs=self.recurrence is not None,
        )
        if self.kv_sharing > 1 and len(_turns(self.rotary)) > 1:
            raise ValueError(
                "`rotary` must be one where `kv_sharing` is above 1, for keys are turned once; got "
                f"{len(self.rotary)}. Leave one of the two out."
            )
        if self.scan:
            self._check_alike("attention", variants.pattern(self.attention))
            self._check_alike("cross_attention", self.cross_pattern)
            self._check_alike("rotary", _turns(self.rotary))

    def _check_alike(self, name: str, found: tuple[Variant | str | Rotary, ...]) -> None:
        if len(set(found)) > 1:
            own = getattr(self, name)
            said = checks.said(own) if name == "rotary" else repr(variants.label(own))
            raise ValueError(
                "`scan` must be False where layers differ: it runs one compiled layer; got "
                f"`{name}` {said}. Leave `scan` out."
            )

    @property
    def cross_pattern(self) -> tuple[Variant | str, ...]:
        """The pattern of `cross_attention`; empty where that of self-attention serves."""
        if self.cross_attention in (None, ONE_VECTOR):
            return (ONE_VECTOR,) if self.cross_attention else ()
        return variants.pattern(self.cross_attention, argument="cross_attention")

    @property
    def first_rotary(self) -> Rotary:
        """The rotary positions of the first layer: of `at(n)`, those of layer n."""
        return _turns(self.rotary)[0]

    def at(self, layer: int) -> "TransformerConfig":
        """The configuration of one layer, whose attention is no pattern.

        >>> TransformerConfig(10, attention="[2*alibi, scaled_dot]").at(5).attention
        'scaled_dot'
        """
        own, between = variants.pattern(self.attention), self.cross_pattern
        cross = between[layer % len(between)] if between else None
        turns = _turns(self.rotary)
        return self._replace(
            attention=own[layer % len(own)],
            cross_attention=cross,
            rotary=turns[layer % len(turns)],
        )


def _turns(rotary: Rotary | tuple[Rotary, ...]) -> tuple[Rotary, ...]:
    """The pattern of rotary positions; a `Rotary` is a tuple too."""
    if isinstance(rotary, Rotary):
        return (rotary,)
    if not rotary:
        raise ValueError("`rotary` must be a `Rotary`, or several; got (). Leave it out.")
    return rotary


def heads_of(config: TransformerConfig) -> Heads:
    """The heads of each attention of a configuration."""
    fields = set(Heads._fields) & set(config._fields)
    return Heads(**{name: getattr(config, name) for name in fields})


def variant_at(config: TransformerConfig, role: str) -> Variant:
    """The variant of the first layer in one of `core.types.ROLES`, as `TransformerConfig` says.

    Raises:
      ValueError: `cross_attention` cannot stand between two sequences.
    """
    return variants.resolve(_chosen(config, role))


def name_at(config: TransformerConfig, role: str) -> str:
    """The text of the variants of all layers in a role: of one, where they are alike."""
    count = math.lcm(len(variants.pattern(config.attention)), len(config.cross_pattern) or 1)
    return in_turn([_chosen(config.at(n), role) for n in range(min(count, config.layers))])


def in_turn(attentions: Sequence[Variant | str]) -> str:
    """The text of the attentions of layers: of one, where they are alike.

    >>> in_turn(["alibi", "alibi", "dot"]), in_turn(["alibi", "alibi"])
    ('[2*alibi, dot]', 'alibi')
    """
    runs = [(x, len(list(same))) for x, same in itertools.groupby(map(variants.label, attentions))]
    if len(runs) == 1:
        return runs[0][0]
    return f"[{', '.join(f'{n}*{name}' if n > 1 else name for name, n in runs)}]"


def _chosen(config: TransformerConfig, role: str) -> Variant | str:
    """Of the first layer."""
    if role == "cross" and config.cross_pattern:
        cross = config.cross_pattern[0]
        if cross != ONE_VECTOR and "cross" not in variants.resolve(cross).roles:
            raise ValueError(
                "`cross_attention` must serve between two sequences, of which distances and a "
                f"common order mean nothing; got {variants.label(cross)!r}. Use "
                "scaled_dot, or another that `attention-jax list` shows as cross."
            )
        return cross
    own = variants.pattern(config.attention)[0]
    return own if role in variants.resolve(own).roles else STAND_IN


def stack(layer: Callable[..., nnx.Module], config: TransformerConfig, *, rngs: nnx.Rngs) -> Stack:
    """As many layers as the configuration says, built by `layer(config, number=n, rngs=rngs)`."""
    return Stack(
        [partial(_built, layer, config.at(number), number) for number in range(config.layers)],
        scan=config.scan,
        remat=config.remat,
        rngs=rngs,
    )


def _built(
    layer: Callable[..., nnx.Module], config: TransformerConfig, number: int, rngs: nnx.Rngs
) -> nnx.Module:
    return layer(config, number=number, rngs=rngs)


def norm_at(config: TransformerConfig, *, rngs: nnx.Rngs) -> LayerNorm | RMSNorm:
    """A norm of the model's width, of the kind that the configuration says."""
    return norm_of(
        config.norm_kind,
        config.width,
        epsilon=config.norm_epsilon,
        bias=config.biases == "all",
        dtype=jnp.dtype(config.dtype),
        rngs=rngs,
    )


def last_norm(config: TransformerConfig, *, rngs: nnx.Rngs) -> Callable[[Array], Array]:
    """The norm after the last layer; none after a post-norm layer, which ends in its own."""
    return _unchanged if config.norm == "post" else norm_at(config, rngs=rngs)


def embedding_norm(config: TransformerConfig, *, rngs: nnx.Rngs) -> Callable[[Array], Array]:
    """The norm before the first layer, where the configuration has one.

    Reference: Le Scao et al. 2022, arXiv:2211.05100, section 3.2.3.
    """
    return norm_at(config, rngs=rngs) if config.embedding_norm else _unchanged


def embedding_of(config: TransformerConfig, *, rngs: nnx.Rngs) -> Embedding:
    """The table of tokens, of the sizes and choices of a configuration."""
    return Embedding(
        config.vocabulary_size,
        config.width,
        positions=added_positions(config),
        max_length=config.max_length,
        scale=config.embedding_scale,
        dtype=jnp.dtype(config.dtype),
        context=config.context,
        rngs=rngs,
    )


def added_positions(config: TransformerConfig) -> str | Sinusoids:
    """The positions that are added to the vectors of a configuration, as `Embedding` takes it."""
    if config.positions == "sinusoidal":
        return config.sinusoids
    return "none" if config.positions == "rope" else config.positions


def finished(logits: Array, bias: nnx.Param | None, cap: float | None) -> Array:
    """Logits within their bound, where there is one, plus the bias of each token, likewise.

        c tanh(x / c) + b

    Reference: Gemma Team 2024, arXiv:2408.00118, section 2.
    """
    bounded = logits if cap is None else cap * jnp.tanh(logits / cap)
    if bias is None:
        return bounded
    return bounded + bias[...].reshape((1,) * (logits.ndim - 1) + (-1,))


def _unchanged(x: Array) -> Array:
    return x
