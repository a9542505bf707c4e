"""Costs of decoding as the text grows: bytes of a variant's cache, and time of a token.

decoding_costs(variants.get("kda"), timed=True)
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from attention_jax.analysis.cache_cost import LENGTHS, cache_cost
from attention_jax.analysis.token_time import token_time
from attention_jax.core.plain_types import typed_calls
from attention_jax.core.types import Variant

Curve = tuple[tuple[int, float], ...]


class DecodingCosts(NamedTuple):
    """Costs of one layer, in order of length.

    Attributes:
      bytes: (tokens, bytes of the cache with room for them).
      seconds: (tokens before it, seconds of a token); empty where none were measured.
      why: a length or more has no numbers; empty if all have.
    """

    bytes: Curve
    seconds: Curve
    why: str


@typed_calls
def decoding_costs(
    variant: Variant, *, timed: bool, lengths: Sequence[int] = LENGTHS
) -> DecodingCosts:
    """The costs at each length, of one layer as in `cache_cost`.

    Args:
      timed: whether tokens are timed, on this machine; else `seconds` is empty.
    """
    held, why = _each(lambda length: float(cache_cost(variant, length).bytes), lengths)
    times, own = _each(lambda length: token_time(variant, length), lengths) if timed else ((), "")
    return DecodingCosts(held, times, why or own)


def _each(measure: Callable[[int], float], lengths: Sequence[int]) -> tuple[Curve, str]:
    """The numbers of lengths that have some, and why others have none."""
    found, why = [], ""
    for length in lengths:
        try:
            found.append((length, measure(length)))
        except ValueError as error:
            why = str(error)
    return tuple(found), why
