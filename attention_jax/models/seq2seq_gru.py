"""A small recurrent encoder-decoder as torch and Keras make one, over two tables of tokens.

References: gated recurrent units: Cho et al. 2014, arXiv:1406.1078; without attention: Sutskever et
al. 2014, arXiv:1409.3215; with additive attention: Bahdanau et al. 2015, arXiv:1409.0473.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from attention_jax.core import checks, masks, plain_types
from attention_jax.core.calls import clear_calls, clear_fields
from attention_jax.core.types import MaskFunction
from attention_jax.engine.api import attention
from attention_jax.nn.attention_calls import AttentionCall
from attention_jax.nn.layers import Linear, check_rngs
from attention_jax.nn.patches import SPREAD
from attention_jax.nn.protocols import EncoderOutput, PairInputs


@clear_fields
class GRUConfig(NamedTuple):
    """Sizes and choices of a recurrent encoder-decoder over two tables.

    Attributes:
      source_size: tokens of the source.
      vocabulary_size: tokens of the target.
      embedding: numbers of a token's vector.
      width: of the cells, one way.
      bidirectional: whether the encoder reads both ways, and a map joins the two.
      attentive: whether the decoder attends; else it starts from the encoder's last state.
      dtype: of the computation: "float32" or "bfloat16". Parameters are float32.
    """

    source_size: int
    vocabulary_size: int
    embedding: int = 64
    width: int = 128
    bidirectional: bool = True
    attentive: bool = True
    dtype: str = "float32"

    def check(self) -> None:
        """Raises ValueError where a field is of another type, or out of its range."""
        plain_types.check_fields(self)
        for name in ("source_size", "vocabulary_size", "embedding", "width"):
            checks.positive(name, getattr(self, name))
        checks.one_of("dtype", self.dtype, ("float32", "bfloat16"))
        if self.bidirectional and not self.attentive:
            raise ValueError(
                "`bidirectional` must be False where the decoder does not attend: it starts from "
                "the last state of one way; got True. Give `bidirectional=False`."
            )


class GRU(nnx.Module):
    """A gated recurrent unit whose reset gate acts after the map of the state, biases included.

        r = s(W_r x + b_r + U_r h + c_r)             z = s(W_z x + b_z + U_z h + c_z)
        n = tanh(W_n x + b_n + r (U_n h + c_n))      h' = (1 - z) n + z h

    This is what torch and cuDNN compute, and Keras with `reset_after`. The maps hold r, z and n
    side by side.
    """

    @clear_calls
    def __init__(self, inputs: int, width: int, *, dtype: DTypeLike, rngs: nnx.Rngs):
        plain_types.sizes(inputs=inputs, width=width)
        check_rngs(rngs)
        self.width = width
        self.of_input = Linear(inputs, 3 * width, dtype=dtype, rngs=rngs)
        self.of_state = Linear(width, 3 * width, dtype=dtype, rngs=rngs)

    def __call__(self, h: Float[Array, "b m"], x: Float[Array, "b i"]) -> Float[Array, "b m"]:
        reset, update, new = jnp.split(self.of_input(x), 3, axis=-1)
        own_reset, own_update, own_new = jnp.split(self.of_state(h), 3, axis=-1)
        reset, update = jax.nn.sigmoid(reset + own_reset), jax.nn.sigmoid(update + own_update)
        return (1 - update) * jnp.tanh(new + reset * own_new) + update * h

    def read(
        self,
        x: Float[Array, "b s i"],
        mask: Bool[Array, "b s"] | None = None,
        first: Float[Array, "b m"] | None = None,
        *,
        reverse: bool = False,
    ) -> tuple[Float[Array, "b m"], Float[Array, "b s m"]]:
        """The last state, and that at each position; padding leaves it as it is."""
        real = jnp.ones(x.shape[:2], bool) if mask is None else mask

        def step(h: Array, at: tuple[Array, Array]) -> tuple[Array, Array]:
            now, is_real = at
            h = jnp.where(is_real[:, None], self(h, now), h)
            return h, h

        start = jnp.zeros((len(x), self.width), x.dtype) if first is None else first
        last, out = jax.lax.scan(step, start, (x.swapaxes(0, 1), real.T), reverse=reverse)
        return last, out.swapaxes(0, 1)


class GRUState(NamedTuple):
    """Decoding state: that of the cell, and the source."""

    hidden: Float[Array, "b m"]
    memory: EncoderOutput


class Seq2SeqGRU(nnx.Module):
    """Gated recurrent units that read, and others that write; answers to `nn.protocols.Seq2Seq`.

        h_i = gru(E y_i, h_{i-1})        logits_i = V [h_i ; c_i] + b
        c_i = sum_j a_ij m_j             a_ij = softmax_j(v . tanh(h_i + m_j))

    m_j are the encoder's states, joined by a linear map of both ways. Without attention c_i is left
    out, and h_0 is the encoder's last state.

    Args:
      config: sizes and choices.
    """

    @clear_calls
    def __init__(self, config: GRUConfig, *, rngs: nnx.Rngs):
        plain_types.of_kind("config", config, GRUConfig)
        config.check()
        check_rngs(rngs)
        self.config, dtype = config, jnp.dtype(config.dtype)
        width, inputs = config.width, config.embedding
        self.source = nnx.Embed(config.source_size, inputs, dtype=dtype, rngs=rngs)
        self.target = nnx.Embed(config.vocabulary_size, inputs, dtype=dtype, rngs=rngs)
        ways = 2 if config.bidirectional else 1
        self.readers = nnx.List([GRU(inputs, width, dtype=dtype, rngs=rngs) for _ in range(ways)])
        self.join = (
            Linear(ways * width, width, dtype=dtype, rngs=rngs) if config.bidirectional else None
        )
        self.writer = GRU(inputs, width, dtype=dtype, rngs=rngs)
        size = width * (2 if config.attentive else 1)
        self.output = Linear(size, config.vocabulary_size, dtype=dtype, rngs=rngs)
        self.vector = nnx.Param(SPREAD * rngs.params.normal((width,))) if config.attentive else None

    def encode(
        self,
        source: Int[Array, "b s"],
        source_mask: Bool[Array, "b s"],
        *,
        rngs: nnx.Rngs | None = None,
    ) -> EncoderOutput:
        """States of the source, and the last one as `summary`."""
        del rngs
        x = self.source(source)
        found = [
            reader.read(x, source_mask, reverse=backwards)
            for reader, backwards in zip(self.readers, (False, True), strict=False)
        ]
        last, states = (jnp.concatenate(ways, axis=-1) for ways in zip(*found, strict=True))
        joined = states if self.join is None else self.join(states)
        return EncoderOutput(joined, source_mask, [last])

    def decode(
        self, target: Int[Array, "b t"], memory: EncoderOutput, *, rngs: nnx.Rngs | None = None
    ) -> Float[Array, "b t v"]:
        """Logits of each next token, given the true ones before it (teacher forcing)."""
        return self.unembed(self.decode_states(target, memory, rngs=rngs))

    def decode_states(
        self, target: Int[Array, "b t"], memory: EncoderOutput, *, rngs: nnx.Rngs | None = None
    ) -> Float[Array, "b t p"]:
        """States before the output layer, contexts beside them."""
        del rngs
        _, hidden = self.writer.read(self.target(target), None, self._first(memory))
        return self._with_context(hidden, memory)

    def start(self, memory: EncoderOutput, max_length: int) -> GRUState:
        """The decoder before its first token."""
        plain_types.room(max_length=max_length)
        return GRUState(self._first(memory), memory)

    def step(
        self, state: GRUState, token: Int[Array, " b"]
    ) -> tuple[GRUState, Float[Array, "b v"]]:
        """Appends one token; reproduces `decode` position by position."""
        hidden = self.writer(state.hidden, self.target(token))
        logits = self.unembed(self._with_context(hidden[:, None], state.memory))[:, 0]
        return state._replace(hidden=hidden), logits

    def unembed(self, x: Float[Array, "b t p"]) -> Float[Array, "b t v"]:
        """The output layer: logits of states, position by position."""
        return self.output(x).astype(jnp.float32)

    def attention_calls(self, batch: PairInputs) -> Iterator[AttentionCall]:
        """The attention of all steps as one call, where there is one; its module is the model."""
        if not self.config.attentive:
            return
        memory = self.encode(batch.source, batch.source_mask)
        _, hidden = self.writer.read(self.target(batch.target_in), None, self._first(memory))
        yield AttentionCall("attention", self, hidden, memory.states, masks.keys(memory.mask))

    def queries(self, x: Float[Array, "b t m"]) -> Float[Array, "b t 1 m"]:
        """States of the decoder as queries of the one head."""
        return x[:, :, None]

    def keys_values(
        self, x: Float[Array, "b s m"]
    ) -> tuple[Float[Array, "b s 1 m"], Float[Array, "b s 1 m"]]:
        """States of the source as its keys and values."""
        return x[:, :, None], x[:, :, None]

    def attend(
        self, q: Array, k: Array, v: Array, *, mask: MaskFunction | None = None
    ) -> Float[Array, "b t 1 m"]:
        """Additive attention without projections."""
        own: Any = self.vector
        vector = own[...]
        out: Any = attention(q, k, v, score=lambda q, k: jnp.tanh(q + k) @ vector, mask=mask)
        return out

    def _first(self, memory: EncoderOutput) -> Float[Array, "b m"]:
        last = memory.vector
        return jnp.zeros_like(memory.states[:, 0]) if self.config.attentive else last

    def _with_context(
        self, hidden: Float[Array, "b t m"], memory: EncoderOutput
    ) -> Float[Array, "b t p"]:
        if not self.config.attentive:
            return hidden
        keys, values = self.keys_values(memory.states)
        mask = masks.keys(memory.mask)
        context = self.attend(self.queries(hidden), keys, values, mask=mask)[:, :, 0]
        return jnp.concatenate([hidden, context], axis=-1)
