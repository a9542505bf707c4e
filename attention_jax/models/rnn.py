"""Recurrent encoder-decoders, with attention or with one vector between the two.

References: one vector: Sutskever et al. 2014, arXiv:1409.3215; attention: Bahdanau et al. 2015,
arXiv:1409.0473; attentional vector and input feeding: Luong et al. 2015, arXiv:1508.04025.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from attention_jax import checks, masks, tracing, variants
from attention_jax.attention import attention
from attention_jax.layers import Embedding, Linear, dropout, plain
from attention_jax.types import Memory, Score

CELLS = {"gru": nnx.GRUCell, "lstm": nnx.OptimizedLSTMCell}


class RNNConfig(NamedTuple):
    """Sizes and choices of a recurrent encoder-decoder.

    Attributes:
      cell: "gru" or "lstm".
      attention: a variant that is the score of a pair (or a file that defines one), or "none":
        then all that the decoder knows of the source is the encoder's last state.
      bidirectional: the encoder reads both ways, with half the width each way.
      input_feeding: the decoder's input holds its last attentional vector, so that it knows
        where it looked; without it attention runs for all positions at once, which is faster.
      dropout_rate: on embeddings, between layers of the encoder, and on attentional vectors.
      dtype: of the computation: "float32" or "bfloat16". Parameters are float32.
    """

    vocabulary_size: int
    width: int = 256
    layers: int = 1
    cell: str = "gru"
    attention: str = "additive"
    bidirectional: bool = True
    input_feeding: bool = True
    tied: bool = True
    dropout_rate: float = 0.1
    dtype: str = "float32"


class RNNState(NamedTuple):
    """What decoding keeps.

    Attributes:
      carries: of the cells.
      fed: the last attentional vector.
      memory: the source.
      keys: what the score needs of each source position, computed once; None without attention.
    """

    carries: Any
    fed: Float[Array, "b m"]
    memory: Memory
    keys: Float[Array, "b s 1 d"] | None


class RNN(nnx.Module):
    """A recurrent encoder-decoder over one vocabulary; answers to `types.Seq2Seq`.

        h_i = cell([E y_i ; a_{i-1}], h_{i-1})        a_i = tanh(W [c_i ; h_i])
        c_i = sum_j softmax_j(score(h_i, m_j)) m_j    logits_i = E a_i

    Without attention, `a_i = tanh(W h_i)` and nothing is fed back.

    Raises:
      ValueError: `attention` depends on positions: it is not the score of a pair.
    """

    def __init__(self, config: RNNConfig, *, rngs: nnx.Rngs):
        checks.one_of("cell", config.cell, tuple(CELLS))
        checks.one_of("dtype", config.dtype, ("float32", "bfloat16"))
        width, dtype = config.width, jnp.dtype(config.dtype)
        self.config = config
        self.attentive = config.attention != "none"
        self.feeds = self.attentive and config.input_feeding
        self.embedding = Embedding(config.vocabulary_size, width, dtype=dtype, rngs=rngs)
        self.encoders = nnx.List([self._encoder(rngs) for _ in range(config.layers)])
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

    def _encoder(self, rngs: nnx.Rngs) -> nnx.List:
        """The cells of one layer: forwards, and backwards where both ways are read."""
        config, ways = self.config, 2 if self.config.bidirectional else 1
        checks.divides("directions", ways, "width", config.width)
        dtype = jnp.dtype(config.dtype)
        cell = CELLS[config.cell]
        return nnx.List(
            [cell(config.width, config.width // ways, dtype=dtype, rngs=rngs) for _ in range(ways)]
        )

    def _learn_attention(self, rngs: nnx.Rngs) -> None:
        self.variant = variants.get(self.config.attention)
        if self.variant.score is None:
            raise ValueError(
                "`attention` of an RNN decoder must be the score of one query and one key; "
                f"{self.config.attention!r} depends on positions. Use additive, general or dot."
            )
        learned = self.variant.init(
            rngs.params(), heads=1, kv_heads=1, head_width=self.config.width
        )
        self.learned = nnx.data(jax.tree.map(nnx.Param, learned))

    def encode(
        self,
        source: Int[Array, "b s"],
        source_mask: Bool[Array, "b s"],
        *,
        rngs: nnx.Rngs | None = None,
    ) -> Memory:
        """States of the source, and the last state of each layer as `summary`."""
        x, last = self.embedding(source), []
        for cells in self.encoders:
            x = dropout(x, self.config.dropout_rate, rngs)
            ways = [
                read(cell, x, source_mask, reverse=backwards)
                for cell, backwards in zip(cells, (False, True), strict=False)
            ]
            carries, states = zip(*ways, strict=True)
            last.append(jax.tree.map(lambda *way: jnp.concatenate(way, axis=-1), *carries))
            x = jnp.concatenate(states, axis=-1)
        return Memory(x, source_mask, last)

    def decode(
        self, target: Int[Array, "b t"], memory: Memory, *, rngs: nnx.Rngs | None = None
    ) -> Float[Array, "b t v"]:
        """Logits of each next token, given the true ones before it (teacher forcing)."""
        state = self.start(memory, target.shape[1])
        x = dropout(self.embedding(target), self.config.dropout_rate, rngs)

        def read(carry, x):
            carries, fed = carry
            carries, hidden = self._recur(carries, fed, x)
            fed = self._combine(hidden, state) if self.feeds else fed
            return (carries, fed), (fed if self.feeds else hidden)

        _, out = jax.lax.scan(read, (state.carries, state.fed), x.swapaxes(0, 1))
        out = out.swapaxes(0, 1)
        attentional = out if self.feeds else self._combine(out, state)
        return self._logits(dropout(attentional, self.config.dropout_rate, rngs))

    def start(self, memory: Memory, max_length: int) -> RNNState:
        """The decoder before its first token."""
        del max_length
        carries = [jax.tree.map(lambda x: jnp.tanh(self.bridge(x)), c) for c in memory.summary]
        fed = jnp.zeros((memory.states.shape[0], self.config.width), memory.states.dtype)
        keys = self._prepare_keys(memory.states) if self.attentive else None
        return RNNState(carries, fed, memory, keys)

    def step(
        self, state: RNNState, token: Int[Array, " b"], *, return_weights: bool = False
    ) -> tuple[RNNState, Float[Array, "b v"], Float[Array, "b l h s"] | None]:
        """Appends one token; reproduces `decode` position by position."""
        x = self.embedding(token[:, None])[:, 0]
        carries, hidden = self._recur(state.carries, state.fed, x)
        attentional = self._combine(hidden, state)
        fed = attentional if self.feeds else state.fed
        weights = self._weights(hidden, state) if return_weights else None
        return state._replace(carries=carries, fed=fed), self._logits(attentional), weights

    def _recur(self, carries: Any, fed: Array, x: Array) -> tuple[Any, Array]:
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
        return tracing.split_score(score(plain(self.learned)), vector, vector)

    def _prepare_keys(self, states: Array) -> Array:
        prepare, _ = self._split_score()
        return jax.vmap(jax.vmap(prepare))(states.astype(jnp.float32))[:, :, None]

    def _attend(self, hidden: Array, state: RNNState, values: Array) -> Array:
        """Contexts of `hidden` [b m] or [b t m]."""
        q = hidden[:, None, None] if hidden.ndim == 2 else hidden[:, :, None]
        _, score = self._split_score()
        keys: Any = state.keys
        mask = masks.keys(state.memory.mask)
        out: Any = attention(q, keys, values, score=score, mask=mask)
        return out[:, 0, 0] if hidden.ndim == 2 else out[:, :, 0]

    def _combine(self, hidden: Array, state: RNNState) -> Array:
        if not self.attentive:
            return jnp.tanh(self.combine(hidden))
        context = self._attend(hidden, state, state.memory.states[:, :, None])
        return jnp.tanh(self.combine(jnp.concatenate([context, hidden], axis=-1)))

    def _weights(self, hidden: Array, state: RNNState) -> Array | None:
        if not self.attentive:
            return None
        b, s = state.memory.mask.shape
        units = jnp.broadcast_to(jnp.eye(s, dtype=hidden.dtype), (b, s, s))[:, :, None]
        return self._attend(hidden, state, units)[:, None, None]

    def _logits(self, x: Array) -> Array:
        raw = self.embedding.logits(x) if self.config.tied else self.output(x)
        bias = self.output_bias[...].reshape((1,) * (raw.ndim - 1) + (-1,))
        return raw.astype(jnp.float32) + bias


def read(
    cell: Any, x: Float[Array, "b s m"], mask: Bool[Array, "b s"], *, reverse: bool
) -> tuple[Any, Float[Array, "b s n"]]:
    """The cell's last carry and its outputs over a text, which padding leaves as they are."""

    def step(carry, at):
        x, real = at
        new, out = cell(carry, x)
        return jax.tree.map(lambda n, o: jnp.where(real[:, None], n, o), new, carry), out

    nothing = jnp.zeros((x.shape[0], cell.hidden_features), x.dtype)
    start = (nothing, nothing) if isinstance(cell, nnx.OptimizedLSTMCell) else nothing
    last, out = jax.lax.scan(step, start, (x.swapaxes(0, 1), mask.T), reverse=reverse)
    return last, out.swapaxes(0, 1)
