"""Language models, which read a text from left to right; each is a `nn.protocols.Language`.

    model = Transformer(TransformerConfig(vocabulary_size=69), rngs=nnx.Rngs(0))
    logits = model.logits(tokens)               # [b t v], of the token after each
    state = model.start(batch=1, max_length=64)
    state, logits = model.step(state, token)    # the same, a token at a time

References: the Transformer's decoder by itself: Liu et al. 2018, arXiv:1801.10198; Radford et al.
2019 (GPT-2); recurrent: Mikolov et al. 2010; attention to the own past: Cheng et al. 2016,
arXiv:1601.06733.
"""

from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from attention_jax import variants
from attention_jax.core import checks, masks, plain_types
from attention_jax.core.calls import clear_calls
from attention_jax.core.types import State, Variant
from attention_jax.nn import transformer
from attention_jax.nn.attention import MultiHeadAttention
from attention_jax.nn.attention_calls import AttentionCall, record
from attention_jax.nn.caches import spared
from attention_jax.nn.causal_layer import CausalLayer
from attention_jax.nn.layers import Embedding, Linear, dropout
from attention_jax.nn.protocols import (
    TokenInputs,
    VectorInputs,
    checked_logits,
    empty_room,
    tokens_left,
)
from attention_jax.nn.recurrent import CELLS, RNNConfig, initial_carry
from attention_jax.nn.transformer import TransformerConfig


class LMState(NamedTuple):
    """Decoding state: the position, and the cache of each layer."""

    position: Int[Array, " b"]
    layers: list[State]  # caches of attention, or carries of cells
    past: State = ()  # of an RNN's attention
    room: Bool[Array, "b n 0"] | None = None  # for how many tokens it was started

    @property
    def tokens_left(self) -> int | None:
        """Tokens that it still takes, as far as is known before a run; None for any number."""
        return tokens_left(self.room, self.position)

    def spared(self, n: int) -> "LMState":
        """The state without the last n positions of its room, or with them again."""
        if self.room is None or self.past != ():
            return self
        return self._replace(layers=spared(self.layers, self.room, n))


class TransformerLM(nnx.Module):
    """A stack of causal layers over one vocabulary.

    `cross_attention` of the configuration means nothing here.

    Raises:
      ValueError: the attention cannot look back only.
    """

    @clear_calls
    def __init__(self, config: TransformerConfig, *, rngs: nnx.Rngs):
        plain_types.of_kind("config", config, TransformerConfig)
        config.check()
        causal(config.attention)
        self.config, dtype = config, jnp.dtype(config.dtype)
        self.sequence_context = config.context
        self.context = config.max_length if config.positions == "learned" else None
        self.embedding = transformer.embedding_of(config, rngs=rngs)
        self.stack = transformer.stack(CausalLayer, config, rngs=rngs)
        self.norm = transformer.last_norm(config, rngs=rngs)
        if not config.tied:
            self.output = Linear(
                config.width, config.vocabulary_size, use_bias=False, dtype=dtype, rngs=rngs
            )
        self.embedding_norm = transformer.embedding_norm(config, rngs=rngs)
        size = config.vocabulary_size
        self.output_bias = nnx.Param(jnp.zeros(size)) if config.output_bias else None

    def logits(
        self, tokens: Int[Array, "b t"], *, rngs: nnx.Rngs | None = None
    ) -> Float[Array, "b t v"]:
        """Logits of the token after each, given those up to it."""
        return self.unembed(self.states(tokens, rngs=rngs))

    def states(
        self, tokens: Int[Array, "b t"], *, rngs: nnx.Rngs | None = None
    ) -> Float[Array, "b t m"]:
        """States before the output layer, of which `logits` gives the logits."""
        return self.read(self.embedding(tokens), rngs=rngs)

    def read(
        self, x: Float[Array, "b t m"], *, rngs: nnx.Rngs | None = None
    ) -> Float[Array, "b t m"]:
        """Hidden states of embedded tokens, positions included, before the output layer."""
        x = dropout(self.embedding_norm(x), self.config.dropout_rate, rngs)
        return self.norm(self.stack(x, rngs=rngs))

    def start(self, batch: int, max_length: int) -> LMState:
        """Before the first of at most `max_length` tokens."""
        plain_types.room(batch=batch, max_length=max_length)
        if self.context is not None:
            checks.at_most("max_length", max_length, "context", self.context)
        caches = [layer.init_cache(batch, max_length) for layer in self.stack.each()]
        room = empty_room(batch, max_length)
        return LMState(jnp.zeros(batch, jnp.int32), caches, room=room)

    def step(self, state: LMState, token: Int[Array, " b"]) -> tuple[LMState, Float[Array, "b v"]]:
        """Reads one token; reproduces `logits` position by position.

        Raises:
          ValueError: a token more than the state was started for; NaN where only a run can tell.
        """
        return self.read_on(state, token[:, None])

    def read_on(
        self, state: LMState, tokens: Int[Array, "b t"]
    ) -> tuple[LMState, Float[Array, "b v"]]:
        """Reads several tokens at once, as many calls of `step` would; logits after the last.

        Raises:
          ValueError: as `step`.
        """
        position, caches = state.position[0], []
        x = self.embedding_norm(self.embedding(tokens, position))
        for layer, cache in zip(self.stack.each(), state.layers, strict=True):
            x, cache = layer.decode_step(x, cache, position)
            caches.append(cache)
        last = state.position + tokens.shape[1] - 1
        logits = checked_logits(self.unembed(self.norm(x[:, -1:]))[:, 0], state.room, last)
        return state._replace(position=last + 1, layers=caches), logits

    def attention_calls(self, batch: TokenInputs) -> Iterator[AttentionCall]:
        """Every attention of a forward pass."""
        return record(self, lambda model: model.logits(batch.tokens))

    def unembed(self, x: Float[Array, "*b m"]) -> Float[Array, "*b v"]:
        """The output layer: logits of states, position by position."""
        raw = self.embedding.logits(x) if self.config.tied else self.output(x)
        bias, cap = self.output_bias, self.config.logit_cap
        return transformer.finished(raw.astype(jnp.float32), bias, cap)


class RNNLM(nnx.Module):
    """Cells, one above the other, and where asked for attention to their own past.

        h_i = cell(E y_i, h_{i-1})        a_i = tanh(W [c_i ; h_i])
        c_i = attend(h_i, h_1 .. h_i)     logits_i = E a_i + b

    Any variant that looks back serves, with one head. Without attention, `a_i = tanh(W h_i)`.
    What the configuration says of encoders, and of how decoders attend, means nothing here.

    Raises:
      ValueError: the attention cannot look back only.
    """

    context = None

    @clear_calls
    def __init__(self, config: RNNConfig, *, rngs: nnx.Rngs):
        plain_types.of_kind("config", config, RNNConfig)
        config.check()
        width, dtype = config.width, jnp.dtype(config.dtype)
        self.config, self.attentive = config, config.attention != "none"
        self.embedding = Embedding(config.vocabulary_size, width, dtype=dtype, rngs=rngs)
        self.cells = nnx.List(
            [CELLS[config.cell](width, width, dtype=dtype, rngs=rngs) for _ in range(config.layers)]
        )
        if self.attentive:
            self.attention = MultiHeadAttention(
                width, heads=1, variant=causal(config.attention), dtype=dtype, rngs=rngs
            )
        self.combine = Linear(width * (2 if self.attentive else 1), width, dtype=dtype, rngs=rngs)
        self.output_bias = nnx.Param(jnp.zeros(config.vocabulary_size))
        if not config.tied:
            self.output = Linear(
                width, config.vocabulary_size, use_bias=False, dtype=dtype, rngs=rngs
            )

    def logits(
        self, tokens: Int[Array, "b t"], *, rngs: nnx.Rngs | None = None
    ) -> Float[Array, "b t v"]:
        """Logits of the token after each, given those up to it."""
        return self.unembed(self.states(tokens, rngs=rngs))

    def states(
        self, tokens: Int[Array, "b t"], *, rngs: nnx.Rngs | None = None
    ) -> Float[Array, "b t m"]:
        """States before the output layer, of which `logits` gives the logits."""
        return self.read(self.embedding(tokens), rngs=rngs)

    def read(
        self, x: Float[Array, "b t m"], *, rngs: nnx.Rngs | None = None
    ) -> Float[Array, "b t m"]:
        """Hidden states of embedded tokens, before the output layer."""
        x = dropout(x, self.config.dropout_rate, rngs)
        first = self.start(x.shape[0], 0).layers
        _, out = jax.lax.scan(self._recur, first, x.swapaxes(0, 1))
        out = out.swapaxes(0, 1)
        seen = self.attention(out, mask=masks.causal, rngs=rngs) if self.attentive else None
        return dropout(self._combine(out, seen), self.config.dropout_rate, rngs)

    def start(self, batch: int, max_length: int) -> LMState:
        """Before the first of at most `max_length` tokens."""
        plain_types.room(batch=batch, max_length=max_length)
        dtype = jnp.dtype(self.config.dtype)
        past = self.attention.init_cache(batch, max_length) if self.attentive else ()
        room = empty_room(batch, max_length) if self.attentive else None
        carries = [initial_carry(cell, batch, dtype) for cell in self.cells]
        return LMState(jnp.zeros(batch, jnp.int32), carries, past, room)

    def step(self, state: LMState, token: Int[Array, " b"]) -> tuple[LMState, Float[Array, "b v"]]:
        """Reads one token; reproduces `logits` position by position.

        Raises:
          ValueError: with attention, a token more than the state was started for; NaN where only a
            run can tell.
        """
        return self.read_on(state, token[:, None])

    def read_on(
        self, state: LMState, tokens: Int[Array, "b t"]
    ) -> tuple[LMState, Float[Array, "b v"]]:
        """Reads several tokens at once, as many calls of `step` would; logits after the last.

        Raises:
          ValueError: as `step`.
        """
        x = self.embedding(tokens)
        if x.shape[1] == 1:
            carries, hidden = self._recur(state.layers, x[:, 0])
            hidden = hidden[:, None]
        else:
            carries, hidden = jax.lax.scan(self._recur, state.layers, x.swapaxes(0, 1))
            hidden = hidden.swapaxes(0, 1)
        past, seen = state.past, None
        if self.attentive:
            past, seen = self.attention.decode_step(hidden, past, state.position[0])
            seen = seen[:, -1]
        last = state.position + tokens.shape[1] - 1
        logits = self.unembed(self._combine(hidden[:, -1], seen))
        logits = checked_logits(logits, state.room, last)
        return LMState(last + 1, carries, past, state.room), logits

    def attention_calls(self, batch: TokenInputs) -> Iterator[AttentionCall]:
        """The attention to the own past, where there is one."""
        return record(self, lambda model: model.logits(batch.tokens))

    def _recur(self, carries: list[State], x: Array) -> tuple[list[State], Array]:
        new = []
        for cell, carry in zip(self.cells, carries, strict=True):
            carry, x = cell(carry, x)
            new.append(carry)
        return new, x

    def _combine(self, hidden: Array, seen: Array | None) -> Array:
        joined = hidden if seen is None else jnp.concatenate([seen, hidden], axis=-1)
        return jnp.tanh(self.combine(joined))

    def unembed(self, x: Float[Array, "*b m"]) -> Float[Array, "*b v"]:
        """The output layer: logits of states, position by position."""
        raw = self.embedding.logits(x) if self.config.tied else self.output(x)
        bias = self.output_bias[...].reshape((1,) * (raw.ndim - 1) + (-1,))
        return raw.astype(jnp.float32) + bias


class SequenceRegressor(nnx.Module):
    """A number for each series of vectors: a language model between two other linear maps.

        y = w read(W x_1, .., W x_t)_t

    Args:
      body: the language model; its vocabulary is of no use.
      inputs: numbers in a vector of the series.
    """

    @clear_calls
    def __init__(self, body: TransformerLM | RNNLM, inputs: int, *, rngs: nnx.Rngs):
        plain_types.of_kind("body", body, TransformerLM, RNNLM)
        plain_types.sizes(inputs=inputs)
        width, dtype = body.config.width, jnp.dtype(body.config.dtype)
        self.body = body
        self.enter = Linear(inputs, width, dtype=dtype, rngs=rngs)
        self.leave = Linear(width, 1, dtype=dtype, rngs=rngs)

    def predict(
        self, vectors: Float[Array, "b t c"], *, rngs: nnx.Rngs | None = None
    ) -> Float[Array, " b"]:
        """The number at the end of each series."""
        x = self.body.embedding.place(self.enter(vectors))
        return self.leave(self.body.read(x, rngs=rngs)[:, -1])[:, 0].astype(jnp.float32)

    def attention_calls(self, batch: VectorInputs) -> Iterator[AttentionCall]:
        """Every attention of a forward pass."""
        return record(self, lambda model: model.predict(batch.vectors))


def build(config: TransformerConfig | RNNConfig, *, rngs: nnx.Rngs) -> TransformerLM | RNNLM:
    """The language model of a configuration."""
    if isinstance(config, RNNConfig):
        return RNNLM(config, rngs=rngs)
    return TransformerLM(config, rngs=rngs)


def causal(attention: variants.Pattern) -> Variant:
    """The variant of a configuration, where it can look back only; of a pattern, the first.

    Raises:
      ValueError: it needs the whole text, or another to look at.
    """
    found = variants.pattern(attention)
    for one in found:
        if "causal" not in variants.resolve(one).roles:
            raise ValueError(
                "`attention` of a language model must serve where a text is seen up to each "
                f"position; {variants.label(one)!r} does not. Use scaled_dot, or another that "
                "`attention-jax list` shows as causal."
            )
    return variants.resolve(found[0])
