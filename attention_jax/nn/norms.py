"""Norms of layers: how vectors are brought to one size, and where in a layer that happens."""

from typing import Literal, get_args

import jax
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array

Norm = Literal["layer", "rms"]
Placement = Literal["pre", "post", "sandwich"]
NORMS: tuple[str, ...] = get_args(Norm)
PLACEMENTS: tuple[str, ...] = get_args(Placement)
EPSILON = 1e-6


class LayerNorm(nnx.LayerNorm):
    """`nnx.LayerNorm` by a name that profiles show.

        y = g (x - mean(x)) / sqrt(var(x) + epsilon) + b

    Reference: Ba et al. 2016, arXiv:1607.06450.
    """

    def __call__(self, x: Array, *, mask: Array | None = None) -> Array:
        with jax.named_scope("norm"):
            return super().__call__(x, mask=mask)


class RMSNorm(nnx.RMSNorm):
    """`nnx.RMSNorm` by a name that profiles show: neither mean nor bias.

        y = g x / sqrt(mean(x^2) + epsilon)

    Reference: Zhang and Sennrich 2019, arXiv:1910.07467.
    """

    def __call__(self, x: Array, mask: Array | None = None) -> Array:
        with jax.named_scope("norm"):
            return super().__call__(x, mask)


def norm_of(
    kind: str,
    width: int,
    *,
    epsilon: float = EPSILON,
    bias: bool = True,
    dtype: DTypeLike,
    rngs: nnx.Rngs,
) -> LayerNorm | RMSNorm:
    """A norm by its name, one of `NORMS`.

    Args:
      bias: whether a layer norm adds a learned vector; an RMS norm has none.
    """
    if kind == "rms":
        return RMSNorm(width, epsilon=epsilon, dtype=dtype, rngs=rngs)
    return LayerNorm(width, epsilon=epsilon, use_bias=bias, dtype=dtype, rngs=rngs)
