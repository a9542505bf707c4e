"""Sizes of a call and of its tiles, and which sequences and heads a tile takes together."""

import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from attention_jax.core.types import AnyArray, Length


class Shape(NamedTuple):
    """Sizes of a call: `b` sequences, `g` key heads of `r` query heads each."""

    b: int
    g: int
    r: int
    t: int
    s: int

    @property
    def is_known(self) -> bool:
        """False where a length is symbolic, as `jax.export` makes it."""
        return all(isinstance(n, int) for n in self)

    @property
    def known(self) -> "Shape":
        """The shape with 1 in place of each length that is symbolic."""
        return Shape(*(n if isinstance(n, int) else 1 for n in self))

    @property
    def scores(self) -> int:
        """The number of all scores."""
        return math.prod(self)


class Sizes(NamedTuple):
    """Sizes of a tile.

    Attributes:
      heads: sequences times key heads that a tile takes together; divides their number.
      queries, keys: positions in a block.
    """

    heads: int
    queries: int
    keys: int

    def together(self, shape: Shape) -> tuple[Length, int]:
        """Sequences and key heads that a tile takes together: as many heads as possible.

        Of a symbolic number of sequences it takes all.
        """
        heads = math.gcd(self.heads, shape.g)
        return (self.heads // heads if shape.is_known else shape.b), heads

    def apart(self, shape: Shape) -> tuple[int, int]:
        """How many tiles share the sequences, and how many the key heads."""
        sequences, heads = self.together(shape)
        return (shape.b // sequences if shape.is_known else 1), shape.g // heads

    def members(
        self, shape: Shape, chunk: Int[AnyArray, ""]
    ) -> tuple[Int[AnyArray, " b"], Int[AnyArray, " g"]]:
        """The sequences and the key heads of the tiles of a chunk.

        They lie apart, at equal distances: every chunk has some of each part into which devices
        divide the batch or the heads, so that no chunk needs an array from another device.
        """
        (sequences, heads), apart = self.together(shape), self.apart(shape)
        numbers = np.arange if shape.is_known else jnp.arange
        of_b = chunk // apart[1] + apart[0] * numbers(sequences, dtype=np.int32)
        return of_b, chunk % apart[1] + apart[1] * np.arange(heads, dtype=np.int32)
