"""A linear recurrence in place of self-attention: what a Transformer's layer has of it."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from attention_jax.core import checks, plain_types
from attention_jax.core.calls import clear_calls, clear_fields
from attention_jax.core.types import Context, State
from attention_jax.nn.layers import check_rngs
from attention_jax.nn.linear_cells import CELLS


@clear_fields
class Recurrence(NamedTuple):
    """A linear recurrence, by which the positions of a layer learn of each other.

    Attributes:
      cell: one of `linear_cells.CELLS`: "ssru", "min_gru", "rg_lru" or "mlstm".
      bidirectional: an encoder reads both ways, with half the width each way.
    """

    cell: str = "ssru"
    bidirectional: bool = True

    def check(self, *, width: int, heads: int, context: Context | str | None = None) -> None:
        """Raises ValueError where a field is of another type, or does not go with the sizes."""
        plain_types.check_fields(self)
        checks.one_of("cell", self.cell, tuple(CELLS))
        ways = 2 if self.bidirectional else 1
        checks.divides("directions", ways, "width", width)
        if self.cell == "mlstm":
            checks.divides("heads", heads, "width each way", width // ways)
        if context is not None:
            raise ValueError(
                "`context` must be None where a recurrence reads one position after another; got "
                f"{context!r}. Leave it out, or use self-attention."
            )


class RecurrentSublayer(nnx.Module):
    """Cells over a sequence, forwards or both ways, called as self-attention is.

    Args:
      width: of the layer; each of two ways has half of it.
      recurrence: which cell.
      both_ways: whether each position learns of later ones too.
      heads: of cells that have any.
      dtype: of the products; parameters and states are float32.
    """

    one_after_another = True  # so no devices can share its positions

    @clear_calls
    def __init__(
        self,
        width: int,
        *,
        recurrence: Recurrence,
        both_ways: bool,
        heads: int = 1,
        dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        plain_types.of_kind("recurrence", recurrence, Recurrence)
        recurrence.check(width=width, heads=heads)
        check_rngs(rngs)
        ways = 2 if both_ways and recurrence.bidirectional else 1
        cell = CELLS[recurrence.cell]
        self.ways = nnx.List(
            [cell(width, width // ways, heads=heads, dtype=dtype, rngs=rngs) for _ in range(ways)]
        )

    def __call__(
        self, x: Float[Array, "b t m"], real: Bool[Array, "b t"] | None = None
    ) -> Float[Array, "b t m"]:
        """Outputs of all positions; those that are not `real` are passed over."""
        found = [self.ways[0].read(x, real)]
        if len(self.ways) > 1:
            turned = None if real is None else real[:, ::-1]
            found.append(self.ways[1].read(x[:, ::-1], turned)[:, ::-1])
        return jnp.concatenate(found, axis=-1)

    def init_cache(self, batch: int) -> State:
        """The state before the first position."""
        return self.ways[0].start(batch)

    def decode_step(
        self, x: Float[Array, "b t m"], state: State
    ) -> tuple[State, Float[Array, "b t m"]]:
        """The next positions, where it goes forwards; reproduces the call."""
        if x.shape[1] == 1:
            state, out = self.ways[0](state, x[:, 0])
            return state, out[:, None]
        state, out = jax.lax.scan(self.ways[0], state, x.swapaxes(0, 1))
        return state, out.swapaxes(0, 1)
