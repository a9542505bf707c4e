"""Arrays that functions of positions look up, checked against the call that looks."""

from typing import NamedTuple

import jax.numpy as jnp
from jax.typing import ArrayLike

from attention_jax.core import checks
from attention_jax.core.types import AnyArray, Like


class Lookup(NamedTuple):
    """An array that a function of positions looks up, as errors name it.

    Attributes:
      name: of the argument.
      axes: a letter each, of b, h, t and s; others are the array's own.
      shape: of the array.
    """

    name: str
    axes: str
    shape: tuple[int, ...]

    @classmethod
    def of(
        cls,
        name: str,
        array: AnyArray,
        axes: str,
        *,
        integers: bool = False,
        remedy: str = "",
    ) -> "Lookup":
        """An array whose shape, and where asked its dtype, is checked."""
        checks.shape(name, array, axes, remedy=remedy)
        if integers and not jnp.issubdtype(array.dtype, jnp.integer):
            raise ValueError(
                f"`{name}` must hold whole numbers; got {array.dtype}. "
                "Convert it with `.astype(jnp.int32)`."
            )
        return cls(name, axes, tuple(array.shape))


def check(
    name: str,
    function: object,
    query: Like,
    key: Like,
    query_offset: ArrayLike = 0,
    key_offset: ArrayLike = 0,
) -> None:
    """Raises unless the arrays that a function looks up fit a call: its attribute `arrays`.

    An axis of length 1 stands for all. Positions count from 0, so beyond an offset an array is
    longer than the queries or keys, and it may be longer than needed.

    Args:
      name: of the argument, such as "mask".
    """
    (b, t, h, _), s = query.shape, key.shape[1]
    sizes = {"b": b, "h": h, "t": t, "s": s}
    first = {"t": checks.known(query_offset), "s": checks.known(key_offset)}
    for array in getattr(function, "arrays", ()):
        for letter, size in zip(array.axes.split(), array.shape, strict=True):
            lengths = size, sizes.get(letter)
            if size == 1 or not all(isinstance(n, int) for n in lengths):  # or symbolic
                continue
            need = sizes[letter] + max(first.get(letter) or 0, -sizes[letter])
            if size < need or (size > need and letter in "bh"):
                wanted = [str(sizes.get(x, x)) for x in array.axes.split()]
                at = f" from position {first[letter]}" if first.get(letter) else ""
                raise ValueError(
                    f"`{array.name}` of `{name}` must have shape [{array.axes}], here "
                    f"[{' '.join(wanted)}], where an axis of length 1 stands for all; got "
                    f"{array.shape}, for a query {tuple(query.shape)} and a key "
                    f"{tuple(key.shape)}. Axis {letter} must be {need}{at}, or 1."
                )
