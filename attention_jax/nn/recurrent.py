"""Shared parts of recurrent models: config, cells, masked scan.

The models of `models/` share these; none of them imports another.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from attention_jax import variants
from attention_jax.core import checks, plain_types
from attention_jax.core.calls import clear_fields
from attention_jax.core.types import State, Variant
from attention_jax.nn.transformer import TransformerConfig

# A recurrent cell; its carry is one array, or the two of an LSTM.
Cell = nnx.GRUCell | nnx.OptimizedLSTMCell
CELLS = {"gru": nnx.GRUCell, "lstm": nnx.OptimizedLSTMCell}


@clear_fields
class RNNConfig(NamedTuple):
    """Sizes and choices of a recurrent encoder-decoder.

    Attributes:
      cell: "gru" or "lstm".
      attention: a Variant or its text, as `variants.resolve` takes it: the score of a pair, or one
        that goes from query to query by `cross_step`, such as "coverage"; or "none": then all that
        the decoder knows of the source is the encoder's last state.
      bidirectional: the encoder reads both ways, with half the width each way.
      input_feeding: the decoder's input holds its last attentional vector, so that it knows
        where it looked; without it attention runs after the cells, for all positions, which is
        faster.
      dropout_rate: on embeddings, between layers of the encoder, and on attentional vectors.
      dtype: of the computation: "float32" or "bfloat16". Parameters are float32.
      decoder_heads: heads with which the decoder attends; of several each has projections of its
        own, and they take any variant that serves between two sequences.
      self_attention: layers of a Transformer above the cells of the encoder; None for none.
    """

    vocabulary_size: int
    width: int = 256
    layers: int = 1
    cell: str = "gru"
    attention: Variant | str = "additive"
    bidirectional: bool = True
    input_feeding: bool = True
    tied: bool = True
    dropout_rate: float = 0.1
    dtype: str = "float32"
    decoder_heads: int = 1
    self_attention: TransformerConfig | None = None

    def check(self) -> None:
        """Raises ValueError where a field is of another type, or out of its range."""
        plain_types.check_fields(self)
        for name in ("vocabulary_size", "width", "layers", "decoder_heads"):
            checks.positive(name, getattr(self, name))
        checks.divides("decoder_heads", self.decoder_heads, "width", self.width)
        checks.fraction("dropout_rate", self.dropout_rate)
        checks.one_of("cell", self.cell, tuple(CELLS))
        checks.one_of("dtype", self.dtype, ("float32", "bfloat16"))
        if self.attention != "none":
            variants.resolve(self.attention)
        if self.self_attention is not None:
            self._check_above(self.self_attention)

    def _check_above(self, above: TransformerConfig) -> None:
        above.check()
        for name in ("width", "dtype"):
            own, got = getattr(self, name), getattr(above, name)
            if own != got:
                raise ValueError(
                    f"`self_attention` must have the `{name}` of the cells below it; got {got!r} "
                    f"above {own!r}. Give both the same."
                )


def layer_of_cells(config: RNNConfig, inputs: int, *, rngs: nnx.Rngs) -> nnx.List:
    """The cells of a layer of an encoder: forwards, and backwards where both ways are read."""
    ways, cell = 2 if config.bidirectional else 1, CELLS[config.cell]
    checks.divides("directions", ways, "width", config.width)
    width, dtype = config.width // ways, jnp.dtype(config.dtype)
    return nnx.List([cell(inputs, width, dtype=dtype, rngs=rngs) for _ in range(ways)])


def read_layer(
    cells: nnx.List, x: Float[Array, "b s m"], mask: Bool[Array, "b s"]
) -> tuple[State, Float[Array, "b s n"]]:
    """The last carry of a layer of an encoder, and its states, both ways side by side."""
    ways = [
        scan_cell(cell, x, mask, reverse=backwards)
        for cell, backwards in zip(cells, (False, True), strict=False)
    ]
    carries, states = zip(*ways, strict=True)
    last = jax.tree.map(lambda *way: jnp.concatenate(way, axis=-1), *carries)
    return last, jnp.concatenate(states, axis=-1)


def scan_cell(
    cell: Cell, x: Float[Array, "b s m"], mask: Bool[Array, "b s"], *, reverse: bool
) -> tuple[State, Float[Array, "b s n"]]:
    """The cell's last carry and its outputs over a text, which padding leaves as they are."""

    def step(carry, at):
        x, real = at
        new, out = cell(carry, x)
        return jax.tree.map(lambda n, o: jnp.where(real[:, None], n, o), new, carry), out

    start = initial_carry(cell, x.shape[0], x.dtype)
    last, out = jax.lax.scan(step, start, (x.swapaxes(0, 1), mask.T), reverse=reverse)
    return last, out.swapaxes(0, 1)


def initial_carry(cell: Cell, batch: int, dtype: DTypeLike) -> State:
    """The cell's carry before it has read anything."""
    zeros = jnp.zeros((batch, cell.hidden_features), dtype)
    return (zeros, zeros) if isinstance(cell, nnx.OptimizedLSTMCell) else zeros
