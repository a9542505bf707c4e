"""The Transformer encoder-decoder, with any attention variant.

Reference: Vaswani et al. 2017, arXiv:1706.03762; norm first: Xiong et al. 2020, arXiv:2002.04745.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from attention_jax.core import masks, plain_types
from attention_jax.core.calls import clear_calls
from attention_jax.core.types import State
from attention_jax.engine.context_layout import whole
from attention_jax.nn import transformer
from attention_jax.nn.attention import CrossAttentionCache
from attention_jax.nn.attention_calls import AttentionCall, record
from attention_jax.nn.caches import DotCache, ancestors, held_by_beams, resized, spared
from attention_jax.nn.causal_layer import CausalLayer
from attention_jax.nn.handed import Stream, opened, renewed
from attention_jax.nn.layers import Linear, dropout
from attention_jax.nn.protocols import (
    Encoder,
    EncoderOutput,
    PairInputs,
    checked_logits,
    empty_room,
    tokens_left,
)
from attention_jax.nn.transformer import ONE_VECTOR, TransformerConfig, variant_at
from attention_jax.nn.transformer_layers import EncoderLayer, Layer, Residual, attention_of


class TransformerState(NamedTuple):
    """Decoding state: the position, and the caches of each layer for target and source.

    Attributes:
      room: for how many tokens it was started.
      held: in a search with beams, which beam of its sentence holds each position of a row.
      vector: added to each input, where the decoder does not attend to the source.
    """

    position: Int[Array, " b"]
    memory_mask: Bool[Array, "b s"]
    caches: list[State]
    cross_caches: list[CrossAttentionCache]
    room: Bool[Array, "b n 0"] | None = None
    held: Bool[Array, "b k n"] | None = None
    vector: Float[Array, "b 1 m"] | None = None

    @property
    def tokens_left(self) -> int | None:
        """Tokens that it still takes, as far as is known before a run; None for any number."""
        return tokens_left(self.room, self.position)

    def repeated(self, k: int) -> "TransformerState":
        """The state of k beams a row; what beams can share is held once."""
        shared: dict[str, Any] = {}
        if all(isinstance(x.source, DotCache) for x in self.cross_caches):
            shared = {"memory_mask": self.memory_mask, "cross_caches": self.cross_caches}
        nothing: dict[str, Any] = dict.fromkeys(shared)
        many = jax.tree.map(lambda x: jnp.repeat(x, k, axis=0), self._replace(**nothing))
        held = [held_by_beams(x, k, many.position) for x in many.caches if isinstance(x, DotCache)]
        return many._replace(**shared, held=held[0] if held else None)

    def moved(
        self, before: "TransformerState", move: Callable[[State, State], State]
    ) -> "TransformerState":
        """The state where each row goes on from another, which `move` looks up."""
        caches = [
            new if isinstance(new, DotCache) and self.held is not None else move(new, old)
            for new, old in zip(self.caches, before.caches, strict=True)
        ]
        rest = move(self._replace(caches=[]), before._replace(caches=[]))
        return rest._replace(caches=caches)

    def spared(self, n: int) -> "TransformerState":
        """The state without the last n positions of its room, or with them again."""
        if self.room is None:
            return self
        held = None if self.held is None else resized(self.held, self.room.shape[1] - n)
        return self._replace(caches=spared(self.caches, self.room, n), held=held)


class DecoderLayer(Layer):
    """Causal self-attention, attention to the encoder, then feed-forward."""

    role = "causal"

    @clear_calls
    def __init__(self, config: TransformerConfig, *, number: int = 0, rngs: nnx.Rngs):
        super().__init__(config, number=number, rngs=rngs)
        self.cross_attention = attention_of(
            config, variant_at(config, "cross"), rope=False, rngs=rngs
        )
        self.around_cross_attention = Residual(config, rngs=rngs)

    def __call__(self, x: Stream, memory: EncoderOutput, *, rngs: nnx.Rngs | None = None) -> Stream:
        """Lets each position of `x` see those before it, and the source."""
        x = self.self_attention(x, masks.causal, rngs)
        own = opened(x).x
        update = self.cross_attention(
            self.around_cross_attention.pre_norm(own),
            memory.states,
            mask=masks.keys(whole(memory.mask, self.sequence_context)),
            rngs=rngs,
            context=self.sequence_context,
        )
        x = renewed(x, self.around_cross_attention.add(own, update, rngs))
        return self.feed_forward_block(x, rngs)

    def decode_step(
        self,
        x: Stream,
        cache: State,
        cross_cache: CrossAttentionCache,
        at: tuple[Array, Array, Array | None],
    ) -> tuple[Stream, State, CrossAttentionCache]:
        """The next position, `x` [b 1 m], and the caches after it; reproduces the call.

        Args:
          at: the position, which source positions are real, and `TransformerState.held`.
        """
        position, visible, held = at
        x, cache = self.self_attention_step(x, cache, position, held)
        own = opened(x).x
        inside = self.around_cross_attention.pre_norm(own)
        cross_cache, update = self.cross_attention.cross_step(inside, cross_cache, visible)
        x = renewed(x, self.around_cross_attention.add(own, update))
        return self.feed_forward_block(x), cache, cross_cache


class Seq2SeqTransformer(nnx.Module):
    """Encoder and decoder stacks over one vocabulary; answers to `nn.protocols.Seq2Seq`.

    Args:
      config: sizes and choices.
      encoder: makes another encoder, such as one of `models/speech.py`, which is called as
        `(source, source_mask, rngs=...)` and gives an `EncoderOutput`. None for one that reads
        tokens. Of tokens it is given the vectors of the same table, without positions.

    Without attention between the two, the decoder's inputs are `E y_i + W s`, where s is the source
    as one vector.
    """

    @clear_calls
    def __init__(
        self,
        config: TransformerConfig,
        *,
        encoder: Callable[[nnx.Rngs], Encoder] | None = None,
        rngs: nnx.Rngs,
    ):
        plain_types.of_kind("config", config, TransformerConfig)
        config.check()
        self.config = config
        dtype = jnp.dtype(config.dtype)
        stack = partial(transformer.stack, config=config, rngs=rngs)
        self.embedding = transformer.embedding_of(config, rngs=rngs)
        self.reads = encoder is None  # tokens
        self.attentive = config.cross_attention != ONE_VECTOR
        if self.reads and self.attentive and config.recurrence is None:
            self.sequence_context = config.context
        self.encoder: Any = stack(EncoderLayer) if encoder is None else encoder(rngs)
        self.decoder = stack(DecoderLayer if self.attentive else CausalLayer)
        if not self.attentive:
            self.bridge = Linear(config.width, config.width, dtype=dtype, rngs=rngs)
        if self.reads:
            self.encoder_norm = transformer.last_norm(config, rngs=rngs)
        self.decoder_norm = transformer.last_norm(config, rngs=rngs)
        if not config.tied:
            self.output = Linear(
                config.width, config.vocabulary_size, use_bias=False, dtype=dtype, rngs=rngs
            )
        self.embedding_norm = transformer.embedding_norm(config, rngs=rngs)
        size = config.vocabulary_size
        self.output_bias = nnx.Param(jnp.zeros(size)) if config.output_bias else None

    def encode(
        self,
        source: Int[Array, "b s"] | Float[Array, "b s f"],
        source_mask: Bool[Array, "b s"],
        *,
        rngs: nnx.Rngs | None = None,
    ) -> EncoderOutput:
        """Contextual vectors of the source."""
        if not self.reads:
            return self.encoder(self.embedding.vectors_of(source), source_mask, rngs=rngs)
        x = self.encoder(self._embed(source, rngs), source_mask, rngs=rngs)
        return EncoderOutput(self.encoder_norm(x), source_mask)

    def decode(
        self, target: Int[Array, "b t"], memory: EncoderOutput, *, rngs: nnx.Rngs | None = None
    ) -> Float[Array, "b t v"]:
        """Logits of each next token, given the true ones before it (teacher forcing)."""
        return self.unembed(self.decode_states(target, memory, rngs=rngs))

    def decode_states(
        self, target: Int[Array, "b t"], memory: EncoderOutput, *, rngs: nnx.Rngs | None = None
    ) -> Float[Array, "b t m"]:
        """States before the output layer, of which `decode` gives the logits."""
        x = self._embed(target, rngs)
        if self.attentive:
            return self.decoder_norm(self.decoder(x, memory, rngs=rngs))
        return self.decoder_norm(self.decoder(x + self._vector(memory), rngs=rngs))

    def _vector(self, memory: EncoderOutput) -> Float[Array, "b 1 m"]:
        """All that a decoder without attention knows of the source."""
        return self.bridge(memory.vector)[:, None]

    def unembed(self, x: Float[Array, "b t m"]) -> Float[Array, "b t v"]:
        """The output layer: logits of states, position by position."""
        raw = self.embedding.logits(x) if self.config.tied else self.output(x)
        bias, cap = self.output_bias, self.config.logit_cap
        return transformer.finished(raw.astype(jnp.float32), bias, cap)

    def start(self, memory: EncoderOutput, max_length: int) -> TransformerState:
        """Empty caches for `max_length` tokens, and the source's keys and values."""
        plain_types.room(max_length=max_length)
        batch, layers = memory.states.shape[0], self.decoder.each()
        looking = layers if self.attentive else []
        return TransformerState(
            position=jnp.zeros(batch, jnp.int32),
            memory_mask=memory.mask,
            caches=[layer.init_cache(batch, max_length) for layer in layers],
            cross_caches=[
                layer.cross_attention.init_cross_cache(memory.states) for layer in looking
            ],
            room=empty_room(batch, max_length),
            vector=None if self.attentive else self._vector(memory),
        )

    def step(
        self, state: TransformerState, token: Int[Array, " b"]
    ) -> tuple[TransformerState, Float[Array, "b v"]]:
        """Appends one token; reproduces `decode` position by position.

        Raises:
          ValueError: a token more than the state was started for; NaN where only a run can tell.
        """
        position, held = state.position[0], state.held
        held = None if held is None else ancestors(held, position)
        x = self.embedding_norm(self.embedding(token[:, None], position))
        x = x if state.vector is None else x + state.vector
        caches, cross_caches = [], []
        for number, (layer, cache) in enumerate(
            zip(self.decoder.each(), state.caches, strict=True)
        ):
            if self.attentive:
                at, own = (position, state.memory_mask, held), state.cross_caches[number]
                x, cache, own = layer.decode_step(x, cache, own, at)
                cross_caches.append(own)
            else:
                x, cache = layer.decode_step(x, cache, position, held)
            caches.append(cache)
        logits = self.unembed(self.decoder_norm(x))[:, 0]
        logits = checked_logits(logits, state.room, state.position)
        state = state._replace(
            position=state.position + 1, caches=caches, cross_caches=cross_caches, held=held
        )
        return state, logits

    def attention_calls(self, batch: PairInputs) -> Iterator[AttentionCall]:
        """Every attention of a forward pass, in order: the encoder's, then the decoder's."""

        def run(model: Seq2SeqTransformer) -> Array:
            return model.decode(batch.target_in, model.encode(batch.source, batch.source_mask))

        return record(self, run)

    def _embed(self, tokens: Array, rngs: nnx.Rngs | None) -> Array:
        x = self.embedding_norm(self.embedding(tokens))
        return dropout(x, self.config.dropout_rate, rngs)
