"""Time and memory of every variant as sequences grow.

    scripts/bench --suite=variants --output=variants.json --picture=variants.png

A row is a variant at one length, forward or forward and backward, with the gradients of its
parameters too: one sequence of float32 that attends to itself, causally where the variant can.
A variant that is made for a longest length is made for the longest here. A call that does not
count comes first. What would need too much memory, or too much time were it to grow with the
square of the length, is left out, and its row says why.
"""

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from attention_jax import variants
from attention_jax.analysis import variant_info, variant_support
from attention_jax.core.types import MaskFunction, Options, Variant
from attention_jax.core.wording import one_line
from attention_jax.variants._by_queries import by_queries
from experiments.benchmark.attention_cases import BOTH, FORWARD
from experiments.benchmark.rows import OURS, Row, from_times
from experiments.common import timing

HEADS, WIDTH, SLOW_SECONDS = 4, 32, 0.5
LENGTHS = (1024, 2048, 4096, 8192, 16_384)
DIRECTIONS = (FORWARD, BOTH)


class Settings(NamedTuple):
    """The rows to measure; the flags of `experiments.benchmark` explain each field."""

    names: tuple[str, ...]
    lengths: tuple[int, ...]
    repeats: int
    gigabytes: float
    seconds: float


def measure(name: str, settings: Settings) -> Iterator[Row]:
    """The rows of one variant, one after another."""
    jax.clear_caches()  # so that compile seconds do not depend on the variants before
    longest = {"max_length": max(settings.lengths)}
    entry = variant_info.describe(name)
    sized = longest if "max_length" in entry.signature else {}
    variant = by_queries(variants.get(name, **sized))
    # Causal where it serves, whole where not.
    way, mask = list(variant_support.ways(variant).items())[-1]
    facts = {"variant": name, "way": way, "family": entry.family}
    params = variant.init(jax.random.key(0), heads=HEADS, kv_heads=HEADS, head_width=WIDTH)
    for direction in DIRECTIONS:
        run, before = _program(variant, mask, direction), None
        for length in sorted(settings.lengths):
            row = Row("variants", facts | {"direction": direction, "length": length})
            reason = _why_not(before, length, settings.seconds)
            before = _left_out(row, reason) if reason else _measured(row, run, params, settings)
            yield before


def _left_out(row: Row, reason: str) -> Row:
    return row._replace(not_measured={OURS: reason})


def _why_not(before: Row | None, length: int, most: float) -> str | None:
    """The reason why a length is not tried, by the row of the length before it; None if it is."""
    if before is None:
        return None
    if before.ours_ms is None:
        return before.not_measured[OURS]
    seconds, shorter = before.ours_ms / 1e3, before.case["length"]
    ahead = seconds * (length / shorter) ** 2
    if ahead <= most:
        return None
    return (
        f"skipped: a call might take {ahead:.1f} s at {length:,}, after {seconds:.1f} s "
        f"at {shorter:,}"
    )


def _measured(row: Row, run: Callable[..., Any], params: Any, settings: Settings) -> Row:
    """The row with its time and memory, or why they are not there."""
    length = row.case["length"]
    arrays = (params, *_draw(length), jax.random.key(1))
    try:
        start = time.perf_counter()
        program = jax.jit(run).lower(*arrays).compile()
        compile_seconds = time.perf_counter() - start
        memory: Any = program.memory_analysis()
        row = row._replace(
            temporary_bytes=memory.temp_size_in_bytes, facts={"compile_seconds": compile_seconds}
        )
        parts = ("temp", "argument", "output")
        whole = sum(getattr(memory, f"{part}_size_in_bytes") for part in parts)
        if whole > settings.gigabytes * 1e9:
            return _left_out(row, f"skipped: needs {whole / 1e9:.1f} GB at {length:,}")
        call = partial(program, *arrays)
        times = timing.repeated(call, settings.repeats, slow_seconds=SLOW_SECONDS)
    except Exception as error:  # of any variant; the others go on
        text = one_line(error) or "no message"
        return _left_out(row, f"not available: {type(error).__name__}: {text[:160]}")
    measured = from_times("variants", row.case, {OURS: times})
    return measured._replace(temporary_bytes=row.temporary_bytes, facts=row.facts)


def _draw(length: int) -> tuple[jax.Array, ...]:
    """Queries, keys, values, and the gradient of the output."""
    draw = np.random.default_rng(0)
    shape = (4, 1, length, HEADS, WIDTH)
    return tuple(jnp.asarray(x) for x in draw.standard_normal(shape, np.float32))


def _program(variant: Variant, mask: MaskFunction | None, direction: str) -> Callable[..., Any]:
    def run(params: Any, q: Any, k: Any, v: Any, g: Any, key: Any) -> Any:
        options = Options(mask, dropout_key=key if variant.stochastic else None)

        def attend(*arrays: Any) -> Any:
            return variant.attend(*arrays, options)

        if direction == FORWARD:
            return attend(params, q, k, v)
        out, pull = jax.vjp(attend, params, q, k, v)
        return out, pull(g)

    return run


def growth(rows: list[Row]) -> dict[str, Any]:
    """By variant and direction: the exponents of time and memory over its lengths.

    The slope of the line of least squares through log seconds, or log bytes, over log length:
    1 where twice the length takes twice as long, 2 where it takes four times as long.
    """
    found: dict[str, Any] = {}
    for row in rows:
        by_direction = found.setdefault(row.case["variant"], {})
        by_direction.setdefault(row.case["direction"], []).append(row)
    return {
        name: {direction: _exponents(own) for direction, own in by_direction.items()}
        for name, by_direction in found.items()
    }


def _exponents(rows: list[Row]) -> dict[str, Any]:
    measured = (row for row in rows if row.ours_ms is not None)
    known = sorted(measured, key=lambda row: row.case["length"])
    lengths = [row.case["length"] for row in known]
    return {
        "lengths": lengths,
        "seconds": _slope(lengths, [row.ours_ms or 0 for row in known]),
        "temporary_bytes": _slope(lengths, [row.temporary_bytes or 0 for row in known]),
    }


def _slope(lengths: list[int], values: list[float]) -> float | None:
    """The slope of log y over log x; None where it is not known."""
    points = [(x, y) for x, y in zip(lengths, values, strict=True) if y > 0]
    if len(points) < 2:
        return None
    x, y = np.log(points).T
    return float(np.polyfit(x, y, 1)[0])
