"""Seconds of a call, repeated: `call_times(lambda: f(x), 5)`."""

import time
from collections.abc import Callable

import jax

from attention_jax.core import checks
from attention_jax.core.plain_types import typed_calls


@typed_calls
def call_times(call: Callable[[], object], repeats: int) -> list[float]:
    """The seconds of each of `repeats` calls until their arrays are there, after one uncounted."""
    checks.positive("repeats", repeats)
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        jax.block_until_ready(call())
        times.append(time.perf_counter() - start)
    return times[1:]
