"""The decoding state of a recurrent decoder."""

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from attention_jax.core.types import State
from attention_jax.nn.caches import DotCache, KeyValueCache
from attention_jax.nn.protocols import EncoderOutput


class RNNState(NamedTuple):
    """Decoding state.

    Attributes:
      carries: of the cells.
      fed: the last attentional vector.
      memory: the source.
      keys: what attention needs of each source position, computed once; with several heads those
        of all, and values; None without attention.
      aligned: the variant's own state, where it goes from query to query.
    """

    carries: list[State]
    fed: Float[Array, "b m"]
    memory: EncoderOutput
    keys: Float[Array, "b s 1 d"] | KeyValueCache | None
    aligned: State

    def repeated(self, k: int) -> "RNNState":
        """The state of k beams a row, which share the source where no query changes the next."""
        shared: dict[str, Any] = {}
        # Dot products of several heads read one source for several beams, other scores do not.
        apart = isinstance(self.keys, KeyValueCache) and not isinstance(self.keys, DotCache)
        if self.keys is not None and not apart and not jax.tree.leaves(self.aligned):
            shared = {"memory": self.memory, "keys": self.keys}
        nothing: dict[str, Any] = dict.fromkeys(shared)
        many = jax.tree.map(lambda x: jnp.repeat(x, k, axis=0), self._replace(**nothing))
        return many._replace(**shared)

    def moved(self, before: "RNNState", move: Callable[[State, State], State]) -> "RNNState":
        """The state where each row goes on from another, which `move` looks up."""
        return cast(RNNState, move(self, before))
