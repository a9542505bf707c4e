"""Sines and cosines of positions as a value: layout of the channels, rates, first position.

table(jnp.arange(9), 64, Sinusoids(layout="halves", rates="tensor2tensor", offset=2))
"""

from typing import Literal, NamedTuple, get_args

import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from attention_jax.core import checks, plain_types, rotary
from attention_jax.core.calls import clear_fields

Layout = Literal["pairs", "halves"]
Rates = Literal["vaswani", "tensor2tensor"]
LAYOUTS: tuple[str, ...] = get_args(Layout)
RATES: tuple[str, ...] = get_args(Rates)
_BASE = 10_000.0


@clear_fields
class Sinusoids(NamedTuple):
    """How positions become sines and cosines, which are added to vectors of m channels.

        vaswani: rate_c = 10000^(-2c / m)      tensor2tensor: rate_c = 10000^(-c / (m / 2 - 1))

    Attributes:
      layout: "pairs", where the sine and the cosine of a rate are neighbors; "halves", where all
        sines stand before all cosines.
      rates: "vaswani", as in the paper, or "tensor2tensor", as in its authors' code: there the
        slowest rate is 1 / 10000 itself.
      offset: number of the first position.

    References: Vaswani et al. 2017, arXiv:1706.03762, section 3.5; tensor2tensor: Vaswani et al.
    2018, arXiv:1803.07416, and its code.
    """

    layout: str = "pairs"
    rates: str = "vaswani"
    offset: int = 0

    def check(self) -> None:
        """Raises ValueError where a field is out of its range."""
        plain_types.check_fields(self)
        checks.one_of("layout", self.layout, LAYOUTS)
        checks.one_of("rates", self.rates, RATES)
        checks.natural("offset", self.offset)


def table(positions: Num[Array, " t"], width: int, sinusoids: Sinusoids) -> Float[Array, "t m"]:
    """A row of sines and cosines for each position.

    Args:
      width: of a row; even.

    Raises:
      ValueError: the width has too few channels for the rates, or is odd.
    """
    at = positions + sinusoids.offset if sinusoids.offset else positions
    angles = rotary.angles_of(at, _rates(width, sinusoids.rates))
    both = jnp.sin(angles), jnp.cos(angles)
    if sinusoids.layout == "halves":
        return jnp.concatenate(both, axis=-1)
    return jnp.stack(both, axis=-1).reshape(*angles.shape[:-1], width)


def _rates(width: int, rates: str) -> Float[Array, " c"]:
    if rates == "vaswani":
        return rotary.pair_rates(width, _BASE)
    if width % 2 or width < 4:
        raise ValueError(
            f"`width` must be even and at least 4 for rates of tensor2tensor; got {width}. Use "
            f"{max(4, width + width % 2)}."
        )
    pairs = width // 2
    return _BASE ** (-jnp.arange(pairs, dtype=jnp.float32) / (pairs - 1))
