"""Rotary positions as a value: base, layout, share of the channels, scaling, rows and columns.

turned(x, positions, Rotary(base=500_000.0, layout="halves", scaling=Scaling("llama3", 8.0)))
"""

import math
from typing import Literal, NamedTuple, get_args

import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from attention_jax.core import checks, plain_types
from attention_jax.core.calls import clear_fields

Layout = Literal["pairs", "halves"]
Rates = Literal["whole", "share"]
Kind = Literal["linear", "ntk", "yarn", "llama3"]
LAYOUTS: tuple[str, ...] = get_args(Layout)
RATES: tuple[str, ...] = get_args(Rates)
KINDS: tuple[str, ...] = get_args(Kind)
FAST = {"yarn": 32.0, "llama3": 4.0}  # of the papers


@clear_fields
class Scaling(NamedTuple):
    """How slower rates let a model read `factor` times the length that it was trained on.

    With r = base^(-2c / d), the rate of pair c, and n = trained_length r / (2 pi), its turns within
    that length:

        linear: r / factor
        ntk: r of base factor^(d / (d - 2)), so that the slowest alone is divided by factor
        yarn: (1 - g) r + g r / factor      g = clip((c - low) / (high - low), 0, 1)
              low, high = floor(at(fast)), ceil(at(slow))
              at(n) = d log(trained_length / (2 pi n)) / (2 log base), the pair that turns n times
        llama3: (1 - g) r + g r / factor      g = clip((fast - n) / (fast - slow), 0, 1)

    yarn's ramp is that of the authors' code, over pairs; the paper's, over turns, is llama3's.

    Attributes:
      kind: one of `KINDS`.
      factor: at least 1.
      trained_length: positions of training before; yarn and llama3 ask for it.
      fast: pairs that turn more often keep their rates; None for 32 of yarn, 4 of llama3.
      slow: those that turn less often are divided by the whole factor.
      magnitude: multiplies what is turned; None for 0.1 log(factor) + 1 of yarn, 1 of others.

    References: linear: Chen et al. 2023, arXiv:2306.15595; ntk and yarn: Peng et al. 2023,
    arXiv:2309.00071, sections 3.1 to 3.4; llama3: Grattafiori et al. 2024, arXiv:2407.21783, and
    the authors' code.
    """

    kind: str
    factor: float = 1.0
    trained_length: int = 2048
    fast: float | None = None
    slow: float = 1.0
    magnitude: float | None = None

    def check(self) -> None:
        """Raises ValueError where a field is out of its range."""
        plain_types.check_fields(self)
        checks.one_of("kind", self.kind, KINDS)
        checks.above_zero("factor", self.factor)
        if self.factor < 1:
            raise ValueError(
                f"`factor` must be at least 1; got {self.factor}. Use 1 for no change."
            )
        checks.positive("trained_length", self.trained_length)
        checks.above_zero("slow", self.slow)
        for name in ("fast", "magnitude"):
            if getattr(self, name) is not None:
                checks.above_zero(name, getattr(self, name))
        if self.kind in FAST and self.turns[0] <= self.slow:
            raise ValueError(
                f"`fast` must be above `slow`; got {self.turns[0]} and {self.slow}. Leave both out "
                "for those of the paper."
            )

    @property
    def turns(self) -> tuple[float, float]:
        """`fast` and `slow`, as the kind has them."""
        return FAST.get(self.kind, self.slow) if self.fast is None else self.fast, self.slow

    @property
    def size(self) -> float:
        """By which vectors are multiplied, `magnitude`."""
        if self.magnitude is not None:
            return self.magnitude
        return 0.1 * math.log(self.factor) + 1 if self.kind == "yarn" else 1.0


class Grid(NamedTuple):
    """Rows and columns of positions in reading order.

    Attributes:
      columns: positions a row.
      first: positions before the grid, such as a class token; they do not turn.
    """

    columns: int
    first: int = 0


@clear_fields
class Rotary(NamedTuple):
    """How rotary positions turn the channels of a head.

    Attributes:
      base: the slowest pair turns by nearly 1 / base at each position.
      layout: which channels make a pair: "pairs" 2c and 2c + 1, "halves" c and c + d / 2. The two
        differ by an order of channels, and so by that of the rows of W_q and W_k.
      share: of the channels that turn; the others stay.
      rates: "whole", those of all channels, of which the fastest turn, so that slow ones carry no
        position; "share", from 1 to nearly 1 / base among the first channels, which alone turn.
      scaling: of the rates; None for none.
      axes: 1, or 2 for images: half of the channels turn by the row, the others by the column.
      grid: of two axes; `VisionTransformer` gives its own.

    References: Su et al. 2021, arXiv:2104.09864; "whole" share: Barbero et al. 2024,
    arXiv:2410.06205, section 6; the other: Black et al. 2022, arXiv:2204.06745, section 2.1.1; two
    axes: Heo et al. 2024, arXiv:2403.13298, section 3.2.
    """

    base: float = 10_000.0
    layout: str = "pairs"
    share: float = 1.0
    rates: str = "whole"
    scaling: Scaling | None = None
    axes: int = 1
    grid: Grid | None = None

    def check(self) -> None:
        """Raises ValueError where a field is out of its range."""
        plain_types.check_fields(self)
        checks.above_zero("base", self.base)
        checks.one_of("layout", self.layout, LAYOUTS)
        checks.above_zero("share", self.share)
        if self.share > 1:
            raise ValueError(f"`share` must be at most 1; got {self.share}. Use 1 for all.")
        checks.one_of("rates", self.rates, RATES)
        checks.one_of("axes", self.axes, (1, 2))
        if self.scaling is not None:
            self.scaling.check()
            if self.scaling.kind == "yarn" and self.base <= 1:
                raise ValueError(f"`base` must be above 1 for yarn; got {self.base}. Use 10000.")

    def check_width(self, width: int) -> None:
        """Raises ValueError where no pair of so many channels turns, or a grid is asked for."""
        self.check()
        if self.axes == 2 and self.grid is None:
            raise ValueError(
                "`axes` of rotary positions must be 1 for sequences, which have no rows and "
                "columns; got 2. Use 1, or give their `grid`."
            )
        own = width // self.axes
        if width % (2 * self.axes):
            raise ValueError(
                f"`width` of a head must be a multiple of {2 * self.axes} for rotary positions, "
                f"whose channels go in pairs; got {width}. The nearest above is "
                f"{width + -width % (2 * self.axes)}."
            )
        if self.pairs(own) < 1:
            raise ValueError(
                f"`share` must leave at least one pair of {own} channels; got {self.share}. Use "
                f"{2 / own:.3g} or more."
            )

    def pairs(self, width: int) -> int:
        """Pairs that turn, of so many channels."""
        return int(self.share * width / 2 + 1e-6)


def turned(
    x: Float[Array, "b t h d"], positions: Num[Array, "*b t"], rotary: Rotary
) -> Float[Array, "b t h d"]:
    """Vectors whose pairs of channels are turned by their positions.

        (x_c, x_c') turned by the angle p rate_c

    Args:
      positions: `[t]` for all sequences, or `[b t]`; of a grid in reading order.

    Reference: Su et al. 2021, arXiv:2104.09864, equation 34.
    """
    checks.shape("x", x, "b t h d")
    if rotary.axes == 1 or rotary.grid is None:
        return _turned(x, positions, rotary)
    columns, first = rotary.grid
    place, half = jnp.maximum(positions - first, 0), x.shape[-1] // 2
    down = _turned(x[..., :half], place // columns, rotary)
    return jnp.concatenate([down, _turned(x[..., half:], place % columns, rotary)], axis=-1)


def _turned(x: Array, positions: Array, rotary: Rotary) -> Array:
    """The same, of one axis."""
    rates = rates_of(rotary, x.shape[-1])
    angles = angles_of(positions, rates)
    angles = jnp.expand_dims(angles, (0, 2) if angles.ndim == 2 else 2)
    sin, cos = jnp.sin(angles), jnp.cos(angles)
    if rotary.scaling is not None:
        sin, cos = sin * rotary.scaling.size, cos * rotary.scaling.size
    wide = x if x.dtype == jnp.float64 else x.astype(jnp.float32)
    sin, cos = sin.astype(wide.dtype), cos.astype(wide.dtype)
    width = 2 * rates.shape[0]
    own, rest = wide[..., :width], wide[..., width:]
    is_pairs = rotary.layout == "pairs"
    one = own[..., 0::2] if is_pairs else own[..., : width // 2]
    other = own[..., 1::2] if is_pairs else own[..., width // 2 :]
    both = one * cos - other * sin, other * cos + one * sin
    joined = jnp.stack(both, axis=-1) if is_pairs else jnp.concatenate(both, axis=-1)
    joined = joined.reshape(own.shape)
    out = joined if not rest.shape[-1] else jnp.concatenate([joined, rest], axis=-1)
    return out.astype(x.dtype)


def angles_of(positions: Num[Array, "*b t"], rates: Float[Array, " c"]) -> Float[Array, "*b t c"]:
    """Each position times each rate."""
    return jnp.expand_dims(positions.astype(jnp.float32), -1) * jnp.expand_dims(
        rates, tuple(range(positions.ndim))
    )


def pair_rates(width: int, base: float) -> Float[Array, " c"]:
    """`base^(-2c / width)` for each pair of channels.

    Raises:
      ValueError: the width is odd.
    """
    if width % 2:
        raise ValueError(
            f"`width` must be even, for channels go in pairs; got {width}. "
            f"The nearest above is {width + 1}."
        )
    return base ** (-jnp.arange(0, width, 2, dtype=jnp.float32) / width)


def rates_of(rotary: Rotary, width: int) -> Float[Array, " c"]:
    """The rate of each pair of the channels that may turn; 0 of those that stay."""
    pairs = rotary.pairs(width)
    whole = width if rotary.rates == "whole" else 2 * pairs
    rates = _scaled(rotary, pair_rates(whole, rotary.base), whole)
    if pairs == len(rates):
        return rates
    return jnp.where(jnp.arange(len(rates)) < pairs, rates, 0)


def _scaled(rotary: Rotary, rates: Array, width: int) -> Array:
    scaling = rotary.scaling
    if scaling is None:
        return rates
    if scaling.kind == "linear":
        return rates / scaling.factor
    if scaling.kind == "ntk":
        # A head of one pair has none slower than another.
        return pair_rates(width, rotary.base * scaling.factor ** (width / max(width - 2, 1)))
    length, (fast, slow) = scaling.trained_length, scaling.turns
    if scaling.kind == "llama3":
        turns = length / (2 * math.pi) * rates
        divided = jnp.clip((fast - turns) / (fast - slow), 0, 1)
    else:
        at = lambda n: width * math.log(length / (2 * math.pi * n)) / (2 * math.log(rotary.base))  # noqa: E731
        low = max(math.floor(at(fast)), 0)
        high = min(math.ceil(at(slow)), width - 1)
        # Where both are one pair, the next is divided by the whole factor.
        span = max(high - low, 1e-3)
        divided = jnp.clip((jnp.arange(len(rates), dtype=jnp.float32) - low) / span, 0, 1)
    return (1 - divided) * rates + divided * (rates / scaling.factor)
