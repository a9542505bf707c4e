"""Wall-clock times of calls, taken in turn so that a machine that slows down slows all alike."""

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax

try:
    import resource
except ImportError:  # Windows has none
    resource = None


class Ratio(NamedTuple):
    """How many times as long one call takes as another: over the pairs of a round.

    Attributes:
      median: over the rounds.
      lowest: of any round.
      highest: of any round.
    """

    median: float
    lowest: float
    highest: float


class Times(NamedTuple):
    """Seconds of one call.

    Attributes:
      first: of the first call, which does not count: it may compile, and warms caches.
      seconds: of the counted calls, round by round.
      faults: minor page faults of the process during each counted call; empty where the system
        does not count them.
    """

    first: float
    seconds: tuple[float, ...]
    faults: tuple[int, ...] = ()

    @property
    def median(self) -> float:
        """The median of the counted calls."""
        return statistics.median(self.seconds)

    @property
    def median_faults(self) -> float | None:
        """The median of the page faults; None where they are not counted."""
        return statistics.median(self.faults) if self.faults else None

    def over(self, other: "Times") -> Ratio:
        """The ratio to another call's times, round by round."""
        ratios = sorted(a / b for a, b in zip(self.seconds, other.seconds, strict=True))
        return Ratio(statistics.median(ratios), ratios[0], ratios[-1])


def interleaved(
    calls: Mapping[str, Callable[[], object]],
    repeats: int,
    *,
    warm: bool = False,
    slow_seconds: float = math.inf,
    slow_repeats: int = 1,
) -> dict[str, Times]:
    """Times calls in turn: each once without counting, then each once a round.

    Every call is timed until its result is there. Who begins changes from round to round, so that
    a steady drift of the machine favors none.

    Args:
      calls: by name.
      repeats: rounds that count.
      warm: each counted call follows directly on one of the same name that does not count, and so
        finds its memory and its threads as it left them.
      slow_seconds: where the first call of any takes longer, there are `slow_repeats` rounds.
      slow_repeats: see `slow_seconds`; at most `repeats`.
    """
    first = {name: _seconds(call) for name, call in calls.items()}
    rounds = (
        min(repeats, slow_repeats) if max(first.values(), default=0) > slow_seconds else repeats
    )
    counted: dict[str, list[float]] = {name: [] for name in calls}
    faults: dict[str, list[int]] = {name: [] for name in calls}
    for number in range(rounds):
        for name in list(calls)[:: -1 if number % 2 else 1]:
            if warm:
                _seconds(calls[name])
            before = _faults()
            counted[name].append(_seconds(calls[name]))
            faults[name] += [after - since for since, after in zip(before, _faults(), strict=True)]
    return {
        name: Times(first[name], tuple(own), tuple(faults[name])) for name, own in counted.items()
    }


def repeated(call: Callable[[], object], repeats: int, *, slow_seconds: float = math.inf) -> Times:
    """Times one call by itself, as `interleaved` does several; a slow one counts once."""
    return interleaved({"call": call}, repeats, slow_seconds=slow_seconds)["call"]


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    jax.block_until_ready(call())
    return time.perf_counter() - start


def _faults() -> tuple[int, ...]:
    """Minor page faults of the process so far; empty where the system does not count them."""
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt,) if resource else ()


def spread(name: str, values: Sequence[float]) -> dict[str, float | list[float]]:
    """The median under its name, and the lowest and the highest beside it."""
    return {name: statistics.median(values), f"{name}_range": [min(values), max(values)]}


def lengths(flag: str, texts: Sequence[str]) -> tuple[int, ...]:
    """The list of lengths that a flag holds, as numbers."""
    if not all(text.isdigit() and int(text) > 1 for text in texts):
        raise ValueError(f"`--{flag}` must be lengths above 1; got {','.join(texts)}.")
    return tuple(map(int, texts))
