"""Recurrent encoder-decoders, with attention or with one vector between the two.

References: one vector: Sutskever et al. 2014, arXiv:1409.3215; attention: Bahdanau et al. 2015,
arXiv:1409.0473; attentional vector and input feeding: Luong et al. 2015, arXiv:1508.04025.
"""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from attention_jax import variants
from attention_jax.core import jaxprs, masks, plain_types
from attention_jax.core.calls import clear_calls
from attention_jax.core.jaxprs import hoist_invariant
from attention_jax.core.types import MaskFunction, Options, Score, State, Variant
from attention_jax.engine.api import attention
from attention_jax.nn import encoders
from attention_jax.nn.attention import CrossAttentionCache, MultiHeadAttention
from attention_jax.nn.attention_calls import AttentionCall, record
from attention_jax.nn.layers import Embedding, Linear, dropout, plain
from attention_jax.nn.protocols import Encoder, EncoderOutput, PairInputs
from attention_jax.nn.recurrent import CELLS, RNNConfig
from attention_jax.nn.rnn_state import RNNState


class Seq2SeqRNN(nnx.Module):
    """A recurrent encoder-decoder over one vocabulary; answers to `nn.protocols.Seq2Seq`.

        h_i = cell([E y_i ; a_{i-1}], h_{i-1})        a_i = tanh(W [c_i ; h_i])
        c_i = sum_j softmax_j(score(h_i, m_j)) m_j    logits_i = E a_i

    A variant that goes from query to query has weights of its own in place of the softmax. Several
    heads are those of `MultiHeadAttention`, with projections. Without attention,
    `a_i = tanh(W h_i)` and nothing is fed back. Cells start from the encoder's last states; of an
    encoder without cells, from the mean of its states.

    Args:
      config: sizes and choices.
      encoder: makes another encoder, such as one of `models/speech.py`, which is called as
        `(source, source_mask, rngs=...)` and gives an `EncoderOutput`, with a `summary` for each
        layer.
        None for one that reads tokens. Of tokens it is given the vectors of the same table.

    Raises:
      ValueError: `attention` is neither the score of a pair, nor goes from query to query; nor,
        with several heads, serves between two sequences.
    """

    @clear_calls
    def __init__(
        self,
        config: RNNConfig,
        *,
        encoder: Callable[[nnx.Rngs], Encoder] | None = None,
        rngs: nnx.Rngs,
    ):
        plain_types.of_kind("config", config, RNNConfig)
        config.check()
        width, dtype = config.width, jnp.dtype(config.dtype)
        self.config = config
        self.attentive = config.attention != "none"
        self.heads = config.decoder_heads if self.attentive else 1
        self.feeds = self.attentive and config.input_feeding
        self.aligns = self.draws = False  # until there is a variant that does
        self.embedding = Embedding(config.vocabulary_size, width, dtype=dtype, rngs=rngs)
        self.reads = encoder is None  # tokens
        if encoder is None:
            encoders.check_looked_at(config, self.attentive)
            self.encoders, self.self_attention = encoders.parts_of(config, rngs=rngs)
        else:
            self.encoder = encoder(rngs)
        cell = CELLS[config.cell]
        inputs = [width * (2 if self.feeds else 1)] + [width] * (config.layers - 1)
        self.cells = nnx.List([cell(n, width, dtype=dtype, rngs=rngs) for n in inputs])
        self.bridge = Linear(width, width, dtype=dtype, rngs=rngs)
        self.combine = Linear(width * (2 if self.attentive else 1), width, dtype=dtype, rngs=rngs)
        self.output_bias = nnx.Param(jnp.zeros(config.vocabulary_size))
        if not config.tied:
            self.output = Linear(
                width, config.vocabulary_size, use_bias=False, dtype=dtype, rngs=rngs
            )
        if self.attentive:
            self._learn_attention(rngs)

    def _learn_attention(self, rngs: nnx.Rngs) -> None:
        heads, width = self.config.decoder_heads, self.config.width
        self.variant = variants.resolve(self.config.attention)
        if not serves(self.variant, heads=heads):
            able = [name for name in variants.names() if serves(variants.get(name), heads=heads)]
            got = variants.label(self.config.attention)
            needed = "be the score of one query and one key, or go from one query to the next"
            needed = needed if heads == 1 else "serve between two sequences, or be a score"
            raise ValueError(
                f"`attention` of an RNN decoder must {needed}; {got!r} does neither. Use "
                f"{', '.join(able)}, or none."
            )
        self.aligns = self.variant.cross_step is not None
        self.draws = self.variant.stochastic and (self.aligns or heads > 1)
        if heads > 1:
            dtype = jnp.dtype(self.config.dtype)
            self.attention = MultiHeadAttention(
                width, heads=heads, variant=self.variant, dtype=dtype, rngs=rngs
            )
            return
        learned = self.variant.init(rngs.params(), heads=1, kv_heads=1, head_width=width)
        self.learned = nnx.data(jax.tree.map(nnx.Param, learned))

    def encode(
        self,
        source: Int[Array, "b s"] | Float[Array, "b s f"],
        source_mask: Bool[Array, "b s"],
        *,
        rngs: nnx.Rngs | None = None,
    ) -> EncoderOutput:
        """States of the source, and the last state of each layer as `summary`."""
        if not self.reads:
            return self.encoder(self.embedding.vectors_of(source), source_mask, rngs=rngs)
        x, above, rate = self.embedding(source), self.self_attention, self.config.dropout_rate
        return encoders.read(self.encoders, above, x, source_mask, dropout_rate=rate, rngs=rngs)

    def decode(
        self, target: Int[Array, "b t"], memory: EncoderOutput, *, rngs: nnx.Rngs | None = None
    ) -> Float[Array, "b t v"]:
        """Logits of each next token, given the true ones before it (teacher forcing)."""
        return self.unembed(self.decode_states(target, memory, rngs=rngs))

    def decode_states(
        self, target: Int[Array, "b t"], memory: EncoderOutput, *, rngs: nnx.Rngs | None = None
    ) -> Float[Array, "b t m"]:
        """States before the output layer, of which `decode` gives the logits."""
        state = self.start(memory, target.shape[1])
        x = dropout(self.embedding(target), self.config.dropout_rate, rngs)
        key = rngs.dropout() if rngs is not None and self.draws else None
        keys = jax.random.split(key, target.shape[1]) if key is not None and self.feeds else None
        look = self._attention_step_of(state, key) if self.feeds else None

        def read(carry, now):
            carries, fed, aligned = carry
            x, key = now
            carries, hidden = self._recur(carries, fed, x)
            if look is None:
                return (carries, fed, aligned), hidden
            aligned, context = look(aligned, hidden, key)
            fed = self._combine(hidden, context)
            return (carries, fed, aligned), fed

        first = state.carries, state.fed, state.aligned
        _, out = jax.lax.scan(read, first, (x.swapaxes(0, 1), keys))
        out = out.swapaxes(0, 1)
        if not self.feeds:
            out = self._combine(out, self._attend_all(out, state, key))
        return dropout(out, self.config.dropout_rate, rngs)

    def start(self, memory: EncoderOutput, max_length: int) -> RNNState:
        """The decoder before its first token."""
        del max_length
        carries = [
            jax.tree.map(lambda x: jnp.tanh(self.bridge(x)), carry)
            for carry in self._last_carries(memory)
        ]
        fed = jnp.zeros((memory.states.shape[0], self.config.width), memory.states.dtype)
        if self.heads > 1:
            cache = self.attention.init_cross_cache(memory.states)
            return RNNState(carries, fed, memory, cache.source, cache.state)
        keys = self._prepare_keys(memory.states) if self.attentive else None
        aligned = self._start_alignment(memory.states) if self.aligns else {}
        return RNNState(carries, fed, memory, keys, aligned)

    def _last_carries(self, memory: EncoderOutput) -> list[State]:
        """The encoder's last carries, as cells of this kind have them."""
        found = memory.summary
        if found is None:
            found = [memory.vector] * self.config.layers
        outputs = [jax.tree.leaves(carry)[-1] for carry in found]  # of the two of an LSTM
        if self.config.cell != "lstm":
            return outputs
        pairs = zip(found, outputs, strict=True)
        return [carry if isinstance(carry, tuple) else (own, own) for carry, own in pairs]

    def step(
        self, state: RNNState, token: Int[Array, " b"]
    ) -> tuple[RNNState, Float[Array, "b v"]]:
        """Appends one token; reproduces `decode` position by position."""
        state, _, attentional = self._advance(state, token)
        return state, self.unembed(attentional)

    def _advance(self, state: RNNState, token: Int[Array, " b"]) -> tuple[RNNState, Array, Array]:
        """The next state, the state of the last cell, and the attentional vector."""
        x = self.embedding(token[:, None])[:, 0]
        carries, hidden = self._recur(state.carries, state.fed, x)
        aligned, context = self._attention_step(hidden, state)
        attentional = self._combine(hidden, context)
        fed = attentional if self.feeds else state.fed
        return state._replace(carries=carries, fed=fed, aligned=aligned), hidden, attentional

    def attention_calls(self, batch: PairInputs) -> Iterator[AttentionCall]:
        """The attentions of the encoder, and that of all steps as one call, where there is one.

        Of one head its module is the model.
        """
        yield from record(self, lambda model: model.encode(batch.source, batch.source_mask))
        if not self.attentive:
            return
        memory = self.encode(batch.source, batch.source_mask)
        first = self.start(memory, batch.target_in.shape[1])

        def read(state: RNNState, token: Array) -> tuple[RNNState, Array]:
            state, hidden, _ = self._advance(state, token)
            return state, hidden

        _, hidden = jax.lax.scan(read, first, jnp.asarray(batch.target_in).T)
        mask, module = masks.keys(memory.mask), self.attention if self.heads > 1 else self
        yield AttentionCall("attention", module, hidden.swapaxes(0, 1), memory.states, mask)

    def queries(self, x: Float[Array, "b t m"]) -> Float[Array, "b t 1 m"]:
        """States of the decoder as queries of the one head."""
        return x[:, :, None]

    def keys_values(
        self, x: Float[Array, "b s m"]
    ) -> tuple[Float[Array, "b s 1 d"], Float[Array, "b s 1 m"]]:
        """Keys of the source, prepared for the score, and its states as values."""
        return self._prepare_keys(x), x[:, :, None]

    def attend(
        self,
        q: Array,
        k: Array,
        v: Array,
        *,
        mask: MaskFunction | None = None,
        key: PRNGKeyArray | None = None,
    ) -> Float[Array, "b t 1 e"]:
        """The attention of all positions at once, where none needs the context of another."""
        if not self.aligns:
            _, score = self._split_score()
            out: Any = attention(q, k, v, score=score, mask=mask)
            return out
        options = Options(mask, dropout_key=key)
        with jax.named_scope("attention"):
            return self.variant.attend(plain(self.learned), q, k, v, options)

    def _recur(self, carries: list[State], fed: Array, x: Array) -> tuple[list[State], Array]:
        x = jnp.concatenate([x, fed], axis=-1) if self.feeds else x
        new = []
        for cell, carry in zip(self.cells, carries, strict=True):
            carry, x = cell(carry, x)
            new.append(carry)
        return new, x

    def _split_score(self) -> tuple[Callable[[Array], Array], Score]:
        """The score in two parts: of the key alone, and the rest."""
        score: Any = self.variant.score
        vector = jax.ShapeDtypeStruct((self.config.width,), jnp.float32)
        return jaxprs.split_score(score(plain(self.learned)), vector, vector)

    def _prepare_keys(self, states: Array) -> Array:
        if self.aligns:
            return states[:, :, None]
        prepare, _ = self._split_score()
        return jax.vmap(jax.vmap(prepare))(states.astype(jnp.float32))[:, :, None]

    def _start_alignment(self, states: Float[Array, "b s m"]) -> State:
        start: Any = self.variant.start
        width = self.config.width
        sizes = {"heads": 1, "kv_heads": 1, "head_width": width, "value_width": width}
        return start(plain(self.learned), *states.shape[:2], **sizes, dtype=states.dtype)

    def _attention_step(
        self, hidden: Float[Array, "b m"], state: RNNState
    ) -> tuple[State, Array | None]:
        """The variant's next state, and the context: the weighted mean of the source."""
        if not self.attentive:
            return state.aligned, None
        if self.heads > 1:
            fixed = self.attention, state.keys, state.memory.mask
            return self._heads_step(fixed, state.aligned, hidden, None)
        values = state.memory.states[:, :, None]
        if not self.aligns:
            # Beams, which lie together, may share a source.
            own = hidden.reshape(values.shape[0], -1, hidden.shape[-1])
            return state.aligned, self._attend(own, state, values).reshape(hidden.shape[0], -1)
        fixed = plain(self.learned), state.keys, values, state.memory.mask
        return self._cross_step(fixed, state.aligned, hidden, None)

    def _cross_step(
        self, fixed: tuple, aligned: State, hidden: Float[Array, "b m"], key: PRNGKeyArray | None
    ) -> tuple[State, Float[Array, "b e"]]:
        params, keys, values, visible = fixed
        cross_step: Any = self.variant.cross_step
        random = {} if key is None else {"dropout_key": key}
        q = hidden[:, None]
        aligned, out = cross_step(params, aligned, q, keys, values, visible=visible, **random)
        return aligned, out[:, 0]

    def _heads_step(
        self, fixed: tuple, aligned: State, hidden: Float[Array, "b m"], key: PRNGKeyArray | None
    ) -> tuple[State, Float[Array, "b m"]]:
        attention, source, visible = fixed
        cache = CrossAttentionCache(source, aligned)
        cache, out = attention.cross_step(hidden[:, None], cache, visible, key)
        return cache.state, out[:, 0]

    def _heads_step_of(self, state: RNNState, key: PRNGKeyArray | None) -> Callable[..., Any]:
        graph, params = nnx.split(self.attention)

        def step(fixed: tuple, *moving: Any) -> tuple[State, Array]:
            params, *source = fixed
            return self._heads_step((nnx.merge(graph, params), *source), *moving)

        fixed = nnx.as_pure(params), state.keys, state.memory.mask
        return hoist_invariant(step, fixed, state.aligned, state.fed, key)

    def _attention_step_of(
        self, state: RNNState, key: PRNGKeyArray | None
    ) -> Callable[..., tuple[State, Any]]:
        """`(aligned, hidden, key) -> (aligned, context)`, of one position after another."""
        if self.heads > 1:
            return self._heads_step_of(state, key)
        if not self.aligns:
            return lambda aligned, hidden, key: self._attention_step(hidden, state)
        fixed = plain(self.learned), state.keys, state.memory.states[:, :, None], state.memory.mask
        return hoist_invariant(self._cross_step, fixed, state.aligned, state.fed, key)

    def _attend_all(
        self, hidden: Float[Array, "b t m"], state: RNNState, key: PRNGKeyArray | None
    ) -> Array | None:
        """The contexts of all positions, where none needs that of another."""
        if not self.attentive:
            return None
        if self.heads > 1:
            rngs, memory = None if key is None else nnx.Rngs(dropout=key), state.memory
            mask = masks.keys(memory.mask)
            return self.attention(hidden, memory.states, mask=mask, rngs=rngs)
        values = state.memory.states[:, :, None]
        return self._attend(hidden, state, values, key)

    def _attend(
        self,
        hidden: Float[Array, "b t m"],
        state: RNNState,
        values: Array,
        key: PRNGKeyArray | None = None,
    ) -> Array:
        keys: Any = state.keys
        mask = masks.keys(state.memory.mask)
        return self.attend(self.queries(hidden), keys, values, mask=mask, key=key)[:, :, 0]

    def _combine(self, hidden: Array, context: Array | None) -> Array:
        joined = hidden if context is None else jnp.concatenate([context, hidden], axis=-1)
        return jnp.tanh(self.combine(joined))

    def unembed(self, x: Float[Array, "*b m"]) -> Float[Array, "*b v"]:
        """The output layer: logits of states, position by position."""
        raw = self.embedding.logits(x) if self.config.tied else self.output(x)
        bias = self.output_bias[...].reshape((1,) * (raw.ndim - 1) + (-1,))
        return raw.astype(jnp.float32) + bias


def serves(variant: Variant, *, heads: int = 1) -> bool:
    """Tells whether a variant serves in an RNN decoder of so many heads."""
    pairs = variant.score is not None or variant.cross_step is not None
    return pairs or (heads > 1 and "cross" in variant.roles)
