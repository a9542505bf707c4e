"""Filters of sentence pairs: what is left out, and how many for which reason."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from attention_jax.core import checks, plain_types
from attention_jax.core.plain_types import typed_calls
from attention_jax.data.pairs.types import Found
from attention_jax.data.text_files import line_numbers, one_spaced

UNITS = ("words", "characters")
_LENGTHS: Mapping[str, Callable[[str], int]] = {
    "words": lambda x: len(x.split()),
    "characters": len,
}


class Filters(NamedTuple):
    """Rules that a pair must obey.

    Attributes:
      skip_empty: leave out pairs with an empty side, which are refused otherwise.
      drop_duplicates: keep the first of equal pairs.
      shortest: units that each side must have; 0: no rule.
      longest: units that neither side may exceed; 0: no rule.
      length_ratio: how many times as long as the other a side may be; 0: no rule.
      length_unit: "words", which white space separates, or "characters".
    """

    skip_empty: bool = False
    drop_duplicates: bool = False
    shortest: int = 0
    longest: int = 0
    length_ratio: float = 0.0
    length_unit: str = "words"

    def check(self) -> None:
        """Raises ValueError where a rule cannot be, or two contradict each other."""
        plain_types.check_fields(self)
        checks.one_of("length_unit", self.length_unit, UNITS)
        for name in ("shortest", "longest"):
            if getattr(self, name) < 0:
                raise ValueError(
                    f"`{name}` must be at least 0, which is no rule; got {getattr(self, name)}."
                )
        if self.longest and self.longest < self.shortest:
            raise ValueError(
                f"`longest` must be at least `shortest`; got longest={self.longest}, "
                f"shortest={self.shortest}. Lower `shortest`, or raise `longest`."
            )
        if self.length_ratio and not 1 <= self.length_ratio < float("inf"):
            raise ValueError(
                f"`length_ratio` must be at least 1, the longer side over the shorter, or 0 for no "
                f"rule; got {self.length_ratio}."
            )


@typed_calls
def keep(
    found: Found, filters: Filters, *, lowercase: bool = False
) -> tuple[list[tuple[str, str]], dict[str, int]]:
    """Pairs that obey all rules, and how many break each; a pair counts under its first.

    Args:
      lowercase: pairs that differ in their case alone are duplicates, as they are learned so.

    Raises:
      ValueError: an empty side without `skip_empty`, or nothing is left.
    """
    filters.check()
    _check_empty(found, filters)
    counts = {"in one language alone": found.incomplete} if found.incomplete else {}
    kept, seen = [], set()
    for pair in found.pairs:
        source, target = (one_spaced(side) for side in pair)
        reason = _broken(source, target, filters)
        if reason is None and filters.drop_duplicates:
            learned = (source.lower(), target.lower()) if lowercase else (source, target)
            reason = "duplicates" if learned in seen else None
            seen.add(learned)
        if reason is None:
            kept.append(pair)
        else:
            counts[reason] = counts.get(reason, 0) + 1
    if not kept:
        why = "; ".join(f"{reason}: {count}" for reason, count in counts.items())
        raise ValueError(
            f"files must hold at least one sentence pair; {found.where} has none"
            f"{f' that is kept ({why})' if why else ''}."
        )
    return kept, counts


def _broken(source: str, target: str, filters: Filters) -> str | None:
    """The first rule that a pair breaks, as notes call it."""
    if _is_empty(source, target):
        return "empty"
    length = _LENGTHS[filters.length_unit]
    short, long = sorted((length(source), length(target)))
    if short < filters.shortest:
        return f"shorter than {filters.shortest} {filters.length_unit}"
    if filters.longest and long > filters.longest:
        return f"longer than {filters.longest} {filters.length_unit}"
    if filters.length_ratio and long > filters.length_ratio * short:
        return f"one side over {filters.length_ratio:g} times as long as the other"
    return None


def _check_empty(found: Found, filters: Filters) -> None:
    if filters.skip_empty:
        return
    numbers = [i for i, pair in zip(found.places, found.pairs, strict=True) if _is_empty(*pair)]
    if numbers:
        raise ValueError(
            f"sentences must not be empty; {found.where} has an empty one on "
            f"{line_numbers(numbers)}. "
            "Set `skip_empty` to leave such pairs out."
        )


def _is_empty(source: str, target: str) -> bool:
    return not (source.strip() and target.strip())
