"""Where the time of training goes: what its updates take, and what stands beside them.

clock = Clock()
with clock.of("evaluation"):
    scores = evaluate(params)
print(in_one_line(clock.shares()))         # "time: updates 91.2 %, compilation 5.0 %, ..."
"""

import contextlib
import time
from collections.abc import Generator, Mapping

from attention_jax.core.messages import said

# Of a run, as they are shown. "compilation" is the first update of each shape of a batch, until it
# is on its way; "input" the waiting for a batch while no update runs.
PARTS = ("updates", "compilation", "input", "evaluation", "logging", "checkpoints")
OUTSIDE = ("input", "evaluation", "logging", "checkpoints")
REST = "rest"

Shares = Mapping[str, float]  # of the whole, by name; their sum is 1


class Clock:
    """Seconds of a run, by what they were spent on.

    Attributes:
      seconds: those of each of `PARTS` so far.
    """

    def __init__(self) -> None:
        self._began = time.monotonic()
        self.seconds = dict.fromkeys(PARTS, 0.0)

    @contextlib.contextmanager
    def of(self, part: str) -> Generator[None]:
        """Counts what happens inside as a part; what it counts of its own is not counted twice."""
        start, before = time.monotonic(), sum(self.seconds.values())
        try:
            yield
        finally:
            inside = sum(self.seconds.values()) - before
            self.seconds[part] += time.monotonic() - start - inside

    def add(self, part: str, seconds: float) -> None:
        """Counts seconds that passed as a part."""
        self.seconds[part] += seconds

    def shares(self) -> dict[str, float]:
        """The share of each part in all seconds since the clock was made, and that of the rest."""
        whole = time.monotonic() - self._began
        return shares_of(self.seconds, whole=whole)


def shares_of(seconds: Mapping[str, float], *, whole: float) -> dict[str, float]:
    """The share of each part in the whole, and the rest, so that all sum to 1.

    Args:
      seconds: of each part.
      whole: all seconds; where the parts sum to more, by rounding, that sum is the whole.
    """
    known = sum(seconds.values())
    whole = max(whole, known)
    if whole <= 0:
        return dict.fromkeys(seconds, 0.0) | {REST: 1.0}
    return {name: own / whole for name, own in seconds.items()} | {REST: 1 - known / whole}


def outside(shares: Shares) -> float:
    """The share of input, evaluation, logging and checkpoints."""
    return sum(shares.get(name, 0.0) for name in OUTSIDE)


def percents(shares: Shares) -> dict[str, str]:
    """Shares in percent with one decimal, rounded so that what is shown sums to 100.0.

    Those with the largest remainders are rounded up.

    >>> percents({"a": 1 / 3, "b": 1 / 3, "c": 1 / 3})
    {'a': '33.4', 'b': '33.3', 'c': '33.3'}
    """
    exact = {name: 1000 * share for name, share in shares.items()}
    rounded = {name: int(x) for name, x in exact.items()}
    missing = round(sum(exact.values())) - sum(rounded.values())
    by_remainder = sorted(exact, key=lambda name: rounded[name] - exact[name])
    for name in by_remainder[:missing]:
        rounded[name] += 1
    return {name: f"{tenths // 10}.{tenths % 10}" for name, tenths in rounded.items()}


def in_one_line(shares: Shares) -> str:
    """The shares of a run in one line, the most first; those of 0.0 % are left out."""
    shown = {name: text for name, text in percents(shares).items() if text != "0.0"}
    order = sorted(shown, key=lambda name: -shares[name])
    listed = ", ".join(f"{said(name)} {shown[name]} %" for name in order)
    return said("time: {shares}").format(shares=listed)
