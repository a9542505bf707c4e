"""Seconds of calls, and the lengths at which they are measured."""

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax


def lengths(flag: str, texts: Sequence[str]) -> tuple[int, ...]:
    """The list of lengths that a flag holds, as numbers."""
    if not all(text.isdigit() and int(text) > 1 for text in texts):
        raise ValueError(f"`--{flag}` must be lengths above 1; got {','.join(texts)}.")
    return tuple(map(int, texts))


def seconds_of(call: Callable[[], Any], repeats: int) -> list[float]:
    """Those of a few calls, after one that is not counted; each until its result is there."""
    jax.block_until_ready(call())
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(call())
        times.append(time.perf_counter() - start)
    return times


def spread(name: str, values: Sequence[float]) -> dict[str, Any]:
    """The median under its name, and the lowest and the highest beside it."""
    return {name: statistics.median(values), f"{name}_range": [min(values), max(values)]}
