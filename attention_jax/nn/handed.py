"""Keys and values that a layer of a stack hands on to those above it.

    V'_0 = V_0        V'_l = a_l V_0 + b_l V_l        a_l, b_l learned
    (K, V)_l = (K, V)_(l - l mod n)                   groups of n layers

The first mixes the values of all layers with those of the first. The second leaves keys and values,
and a cache of them, to the first layer of each group alone.

A stack takes an array and gives one. Between two of its layers goes a `Handed` where those above
need more than the stream.

References: values: Zhou et al. 2024, arXiv:2410.17897, section 3, Learnable-ResFormer; groups:
Brandon et al. 2024, arXiv:2405.12981, section 3, cross-layer attention.
"""

from typing import NamedTuple, TypeAlias, TypeVar

from jaxtyping import Array, Float

from attention_jax import variants
from attention_jax.core import checks
from attention_jax.core.numerics import wide_dtype
from attention_jax.core.types import State, Variant
from attention_jax.nn.caches import KeyValueCache

KeysValues: TypeAlias = tuple[Float[Array, "b s g d"], Float[Array, "b s g e"]]
Given = TypeVar("Given")
SHARE = 0.5  # of the first layer's values and of a layer's own, as they start


class Handed(NamedTuple):
    """The stream between two layers, and what goes beside it.

    Attributes:
      x: the stream.
      values: of the first layer, at the same positions.
      source: keys and values of the first layer of a group.
      cache: in decoding, of its keys and values so far.
    """

    x: Float[Array, "b t m"]
    values: Float[Array, "b t g e"] | None = None
    source: KeysValues | None = None
    cache: KeyValueCache | None = None


Stream: TypeAlias = Array | Handed


class Place(NamedTuple):
    """Exchange of a layer with those below it and above.

    Attributes:
      mixes: its values are mixed with the first layer's.
      hands_values: the first layer's values go on.
      shares: its keys and values are those of the first layer of its group.
      hands_source: the keys and values of the group go on.
    """

    mixes: bool = False
    hands_values: bool = False
    shares: bool = False
    hands_source: bool = False

    @property
    def alone(self) -> bool:
        """Tells whether nothing is taken, and nothing handed on."""
        return not any(self)

    def onward(
        self,
        x: Array,
        below: Handed,
        source: KeysValues | None,
        cache: State = None,
    ) -> Stream:
        """The stream above a layer, with what those above need.

        Args:
          x: the stream above the attention.
          below: what the layer was handed.
          source: keys and values to which it attends; in decoding those of the positions of `x`,
            where they are its own.
          cache: in decoding, of those so far.
        """
        first = source[1] if below.values is None and source is not None else below.values
        shown = source if self.hands_source and cache is None else None
        above = Handed(
            x, first if self.hands_values else None, shown, cache if self.hands_source else None
        )
        return x if all(extra is None for extra in above[1:]) else above


def place_of(number: int, *, layers: int, value_residual: bool, kv_sharing: int) -> Place:
    """The place of the layer with this number, of so many.

    >>> places = [place_of(n, layers=4, value_residual=True, kv_sharing=2) for n in range(4)]
    >>> [place.mixes for place in places], [place.shares for place in places]
    ([False, False, True, False], [False, True, False, True])
    """
    shares, last = number % kv_sharing > 0, layers - 1
    return Place(
        mixes=value_residual and number > 0 and not shares,
        hands_values=value_residual and number < last - last % kv_sharing,
        shares=shares,
        hands_source=(number + 1) % kv_sharing > 0 and number < last,
    )


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


def check(
    value_residual: bool,
    kv_sharing: int,
    *,
    layers: int,
    attention: tuple[Variant | str, ...],
    scan: bool,
    recurs: bool,
) -> None:
    """Raises ValueError where layers cannot hand on what is asked for.

    Args:
      attention: the pattern of the layers.
      recurs: whether a recurrence stands in place of self-attention.
    """
    checks.positive("kv_sharing", kv_sharing)
    if value_residual:
        _refuse("value_residual", True, "False", scan=scan, recurs=recurs)
        if layers <= kv_sharing:
            raise ValueError(
                "`layers` must be above `kv_sharing` with `value_residual`, for the first layer's "
                f"values are mixed with others; got layers={layers}, kv_sharing={kv_sharing}. Add "
                "layers, or leave `value_residual` out."
            )
    if kv_sharing == 1:
        return
    _refuse("kv_sharing", kv_sharing, "1", scan=scan, recurs=recurs)
    checks.at_most("kv_sharing", kv_sharing, "layers", layers)
    for one in attention:
        check_keeps_keys("kv_sharing", kv_sharing, one, off="1")
    for number in range(layers):
        first = attention[(number - number % kv_sharing) % len(attention)]
        own = attention[number % len(attention)]
        if own != first:
            raise ValueError(
                f"`attention` must be one throughout each group of `kv_sharing` layers; layer "
                f"{number + 1} has {variants.label(own)!r}, and the first of its group "
                f"{variants.label(first)!r}. Write a pattern such as "
                f"'[{kv_sharing}*{variants.label(first)}, {kv_sharing}*{variants.label(own)}]'."
            )


def check_keeps_keys(name: str, value: object, attention: Variant | str, *, off: str) -> None:
    """Raises unless a decoder keeps the keys and values of an attention, which layers can share."""
    if variants.resolve(attention).step is not None:
        raise ValueError(
            f"`{name}` must be {off} where an attention keeps a state of its own in place of keys "
            f"and values, as {variants.label(attention)!r} does; got {checks.said(value)}. Leave "
            "it out, or use scaled_dot."
        )


def _refuse(name: str, value: object, off: str, *, scan: bool, recurs: bool) -> None:
    if scan:
        raise ValueError(
            f"`{name}` must be {off} with `scan`, which runs one layer in a loop: layers "
            f"differ; got {checks.said(value)}. Leave one of them out."
        )
    if recurs:
        raise ValueError(
            f"`{name}` must be {off} where a recurrence stands in place of self-attention, which "
            f"alone has keys and values; got {checks.said(value)}. Leave it out."
        )
