"""Layers of Transformers: attention or a recurrence, then feed-forward, with norms and shortcuts.

References: Vaswani et al. 2017, arXiv:1706.03762; norm first: Xiong et al. 2020, arXiv:2002.04745;
norms on both sides: Gemma Team 2024, arXiv:2408.00118, section 2.
"""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array

from attention_jax.core import checks, masks, plain_types
from attention_jax.core.calls import clear_calls
from attention_jax.core.types import Context, MaskFunction, State, Variant
from attention_jax.engine.context_layout import whole
from attention_jax.nn.attention import MultiHeadAttention
from attention_jax.nn.feed_forward import FeedForward
from attention_jax.nn.handed import (
    SHARE,
    Handed,
    KeysValues,
    Stream,
    handed_on,
    mixed,
    opened,
    place_of,
    renewed,
)
from attention_jax.nn.layers import dropout
from attention_jax.nn.recurrence import RecurrentSublayer
from attention_jax.nn.transformer import TransformerConfig, heads_of, norm_at, variant_at


class Residual(nnx.Module):
    """A sub-layer with its norms and shortcut.

    pre: x + f(norm(x))      post: norm(x + f(x))      sandwich: x + norm'(f(norm(x)))

    With gains, f is multiplied by them, channel by channel: Touvron et al. 2021, arXiv:2103.17239,
    section 2.
    """

    @clear_calls
    def __init__(self, config: TransformerConfig, *, rngs: nnx.Rngs):
        self.placement, self.dropout_rate = config.norm, config.dropout_rate
        self.norm = norm_at(config, rngs=rngs)
        if self.placement == "sandwich":
            self.norm_after = norm_at(config, rngs=rngs)
        gains = config.layer_scale
        self.gains = None if gains is None else nnx.Param(jnp.full(config.width, gains))

    def pre_norm(self, x: Array) -> Array:
        """The input of the sub-layer: normalized first, or as it is."""
        return x if self.placement == "post" else self.norm(x)

    def add(self, x: Array, update: Array, rngs: nnx.Rngs | None = None) -> Array:
        """The shortcut plus the sub-layer's output, one of them or none normalized."""
        if self.placement == "sandwich":
            update = self.norm_after(update)
        if self.gains is not None:
            update = update * self.gains[...].astype(update.dtype).reshape(1, 1, -1)
        x = x + dropout(update, self.dropout_rate, rngs)
        return self.norm(x) if self.placement == "post" else x


def attention_of(
    config: TransformerConfig,
    variant: Variant,
    *,
    rope: bool,
    shared_kv: bool = False,
    rngs: nnx.Rngs,
) -> MultiHeadAttention:
    """A variant in heads, of the sizes and choices of a configuration."""
    return MultiHeadAttention(
        config.width,
        heads=heads_of(config)._replace(shared_kv=shared_kv),
        variant=variant,
        rope=rope and config.first_rotary,
        dropout_rate=config.attention_dropout_rate,
        dtype=jnp.dtype(config.dtype),
        rngs=rngs,
    )


class Layer(nnx.Module):
    """Self-attention and feed-forward blocks, each with its norm and shortcut.

    A recurrence stands in place of the self-attention where the configuration has one.

    Args:
      config: of the stack, with the attention of this layer.
      number: of the layer in the stack, from 0.
    """

    role: str  # of the self-attention

    @clear_calls
    def __init__(self, config: TransformerConfig, *, number: int = 0, rngs: nnx.Rngs):
        plain_types.of_kind("config", config, TransformerConfig)
        config.check()
        checks.natural("number", number)
        self.place = place_of(
            number,
            layers=config.layers,
            value_residual=config.value_residual,
            kv_sharing=config.kv_sharing,
        )
        own, self.sequence_context = variant_at(config, self.role), config.context
        self.recurrence = self._recurrence(config, rngs)
        if self.recurrence is None:
            rope, shared_kv = config.positions == "rope", self.place.shares
            self.attention = attention_of(config, own, rope=rope, shared_kv=shared_kv, rngs=rngs)
        self.feed_forward = FeedForward(
            config.width,
            config.feed_forward,
            activation=config.activation,
            bias=config.biases == "all",
            dropout_rate=config.dropout_rate,
            dtype=jnp.dtype(config.dtype),
            rngs=rngs,
        )
        self.around_attention = Residual(config, rngs=rngs)
        self.around_feed_forward = Residual(config, rngs=rngs)
        if self.place.mixes:
            self.value_mix = nnx.Param(jnp.full(2, SHARE))

    def _recurrence(self, config: TransformerConfig, rngs: nnx.Rngs) -> RecurrentSublayer | None:
        if config.recurrence is None:
            return None
        return RecurrentSublayer(
            config.width,
            recurrence=config.recurrence,
            both_ways=self.role == "bidirectional",
            heads=config.heads,
            dtype=jnp.dtype(config.dtype),
            rngs=rngs,
        )

    def self_attention(
        self,
        x: Stream,
        mask: MaskFunction | None = None,
        rngs: nnx.Rngs | None = None,
        *,
        real: Array | None = None,
    ) -> Stream:
        """The self-attention block; a recurrence passes over what is not `real` [b t]."""
        below, context = opened(x), self.sequence_context
        inside, given = self.around_attention.pre_norm(below.x), None
        if self.recurrence is None:
            given = self._keys_values(inside, below, context=context)
            update = self.attention(inside, mask=mask, rngs=rngs, context=context, given=given)
        else:
            update = self.recurrence(inside, real)
        x = self.around_attention.add(below.x, update, rngs)
        return self.place.onward(x, below, given)

    def _keys_values(
        self,
        inside: Array,
        below: Handed,
        offset: int | Array = 0,
        *,
        context: Context | str | None = None,
    ) -> KeysValues | None:
        """Keys and values with what was handed on; None where those of the attention serve."""
        if self.place.alone:
            return None
        if self.place.shares:
            return handed_on("keys and values", below.source)
        keys, values = self.attention.keys_values(inside, offset, context=context)
        if self.place.mixes:
            values = mixed(self.value_mix[...], below, values)
        return keys, values

    def init_cache(self, batch: int, length: int) -> State:
        """The first cache of `self_attention_step`, for at most `length` positions."""
        if self.recurrence is None:
            return self.attention.init_cache(batch, length)
        return self.recurrence.init_cache(batch)

    def self_attention_step(
        self, x: Stream, cache: State, position: Array, held: Array | None = None
    ) -> tuple[Stream, State]:
        """The self-attention block of the next positions, `x` [b t m], where it is causal."""
        below, given, shown = opened(x), None, None
        inside = self.around_attention.pre_norm(below.x)
        if self.recurrence is not None:
            cache, update = self.recurrence.decode_step(inside, cache)
        elif self.place.shares:
            shown = handed_on("cache", below.cache)
            update = self.attention.cached_step(inside, shown, position, held)
        else:
            given = self._keys_values(inside, below, position)
            cache, update = self.attention.decode_step(inside, cache, position, held, given=given)
            shown = cache
        x = self.around_attention.add(below.x, update)
        return self.place.onward(x, below, given, shown), cache

    def feed_forward_block(self, x: Stream, rngs: nnx.Rngs | None = None) -> Stream:
        """The feed-forward block."""
        own = opened(x).x
        update = self.feed_forward(self.around_feed_forward.pre_norm(own), rngs=rngs)
        return renewed(x, self.around_feed_forward.add(own, update, rngs))


class EncoderLayer(Layer):
    """Self-attention, then feed-forward."""

    role = "bidirectional"

    def __call__(self, x: Stream, visible: Array, *, rngs: nnx.Rngs | None = None) -> Stream:
        """Lets each position of `x` see those where `visible` [b s]."""
        seen = masks.keys(whole(visible, self.sequence_context))
        return self.feed_forward_block(self.self_attention(x, seen, rngs, real=visible), rngs)
