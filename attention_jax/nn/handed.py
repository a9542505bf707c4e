"""Values that a layer of a stack hands on to those above it.

    V'_0 = V_0        V'_l = a_l V_0 + b_l V_l        a_l, b_l learned

A stack takes an array and gives one. Between two of its layers goes a `Handed` where those above
need more than the stream.

Reference: Zhou et al. 2024, arXiv:2410.17897, section 3: Learnable-ResFormer.
"""

from typing import NamedTuple, TypeAlias, TypeVar

from jaxtyping import Array, Float

from attention_jax.core import checks
from attention_jax.core.numerics import wide_dtype

KeysValues: TypeAlias = tuple[Float[Array, "b s g d"], Float[Array, "b s g e"]]
Given = TypeVar("Given")
SHARE = 0.5  # of the first layer's values and of a layer's own, as they start


class Handed(NamedTuple):
    """The stream between two layers, and what goes beside it.

    Attributes:
      x: the stream.
      values: of the first layer, at the same positions.
    """

    x: Float[Array, "b t m"]
    values: Float[Array, "b t g e"] | None = None


Stream: TypeAlias = Array | Handed


class Place(NamedTuple):
    """What a layer takes from those below it, and hands on to those above.

    Attributes:
      mixes: its values are mixed with the first layer's.
      hands_values: the first layer's values go on.
    """

    mixes: bool = False
    hands_values: bool = False

    @property
    def alone(self) -> bool:
        """Tells whether nothing is taken, and nothing handed on."""
        return not any(self)

    def onward(self, x: Array, below: Handed, new: KeysValues | None) -> Stream:
        """The stream above a layer, with what those above need.

        Args:
          x: the stream above the attention.
          below: what the layer was handed.
          new: its keys and values.
        """
        if not self.hands_values or new is None:
            return x
        return Handed(x, new[1] if below.values is None else below.values)


def place_of(number: int, *, layers: int, value_residual: bool) -> Place:
    """The place of the layer with this number, of so many.

    >>> [place_of(n, layers=3, value_residual=True).mixes for n in range(3)]
    [False, True, True]
    """
    return Place(value_residual and number > 0, value_residual and number < layers - 1)


def opened(x: Stream) -> Handed:
    """The stream with what is beside it, or with nothing."""
    return x if isinstance(x, Handed) else Handed(x)


def renewed(x: Stream, new: Array) -> Stream:
    """Another stream, beside the same."""
    return x._replace(x=new) if isinstance(x, Handed) else new


def mixed(
    weights: Float[Array, "2"], below: Handed, own: Float[Array, "b t g e"]
) -> Float[Array, "b t g e"]:
    """The first layer's values times one number, plus a layer's own times another.

    Raises:
      ValueError: the layer was handed a stream alone.
    """
    first = handed_on("values", below.values)
    dtype = wide_dtype(first, own)
    a, b = weights.astype(dtype)
    return (a * first.astype(dtype) + b * own.astype(dtype)).astype(own.dtype)


def handed_on(name: str, found: Given | None) -> Given:
    """Raises unless a layer was handed what it needs."""
    if found is None:
        raise ValueError(
            f"`x` must hold the {name} of a layer below, which hands them on; got a stream alone. "
            "Give what the layer below gave, as `Stack` does."
        )
    return found


def check(*, layers: int, value_residual: bool, scan: bool, recurs: bool) -> None:
    """Raises ValueError where layers cannot hand on what is asked for.

    Args:
      recurs: whether a recurrence stands in place of self-attention.
    """
    if not value_residual:
        return
    _refuse("value_residual", True, "False", scan=scan, recurs=recurs)
    if layers < 2:
        raise ValueError(
            "`layers` must be at least 2 with `value_residual`, for the first hands its values to "
            f"those above; got {layers}. Leave it out, or add layers."
        )


def _refuse(name: str, value: object, off: str, *, scan: bool, recurs: bool) -> None:
    if scan:
        raise ValueError(
            f"`{name}` must be {off} with `scan`, which runs one layer in a loop: the first is "
            f"another; got {checks.said(value)}. Leave one of them out."
        )
    if recurs:
        raise ValueError(
            f"`{name}` must be {off} where a recurrence stands in place of self-attention, which "
            f"alone has keys and values; got {checks.said(value)}. Leave it out."
        )
