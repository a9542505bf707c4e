"""Speed, memory and accuracy of attention beside `jax.nn` and torch.

    scripts/bench --suite=attention --output=attention.json --picture=attention.png

A job is one row: a case at one length, in one dtype, in one direction. All sides get the same
arrays, [b t h d] in memory. They run in turn in one process: at each repeat every side makes one
call that does not count, so that it finds its memory and its threads warm, and one that does.
Ratios are of times pair by pair, other side over ours; above 1 ours is faster. The facts of a row
hold, by side, seconds of compilation and, beside float64, errors.
"""

import time
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from types import ModuleType
from typing import Any, NamedTuple

import jax
import numpy as np

from attention_jax import attention
from experiments.benchmark.attention_cases import (
    BOTH,
    CASES,
    FORWARD,
    GRADIENT,
    GRID,
    HEADS,
    HVP,
    Arrays,
    Job,
    arrays,
    draw,
    flops,
    undirected,
)
from experiments.benchmark.rows import OURS, Row, failure, from_times
from experiments.common import timing

TOKENS, SLOW_SECONDS, SLOW_REPEATS, LONGEST_CHECKED = 2048, 2.0, 3, 2048
SIDES = ("jax_nn", "torch_sdpa", "torch_flex", "torch_direct")

Result = tuple[jax.Array, ...]
Facts = dict[str, Any]
# Prepares a side: its call, None where it is not to run, and facts found on the way.
Prepare = Callable[[], tuple[Callable[[], object] | None, Facts]]


class Settings(NamedTuple):
    """The rows to measure; the flags of `experiments.benchmark` explain each field."""

    cases: tuple[str, ...]
    lengths: tuple[int, ...]
    dtypes: tuple[str, ...]
    short_lengths: tuple[int, ...]
    decode_lengths: tuple[int, ...]
    long_length: int
    additive_length: int
    repeats: int
    gigabytes: float
    implementation: str | None


def jobs(settings: Settings) -> list[Job]:
    """All rows, in the order in which they are measured."""
    groups = {"short": _short, "decode": _decode, "memory": _memory, "long": _long}
    return [job for name in settings.cases for job in groups.get(name, _grid)(name, settings)]


def _grid(name: str, settings: Settings) -> Iterator[Job]:
    for length in settings.lengths:
        if name == "additive" and length > settings.additive_length:
            continue
        batch, kv_heads = max(1, TOKENS // length), 2 if name == "gqa" else HEADS
        for dtype in settings.dtypes:
            for direction in (FORWARD, BOTH):
                yield Job(name, name, length, dtype, direction, batch, length, HEADS, kv_heads)


def _short(name: str, settings: Settings) -> Iterator[Job]:
    for case in ("full", "causal"):
        for heads, width in ((8, 64), (4, 32)):
            for n in settings.short_lengths:
                for dtype in settings.dtypes:
                    for direction in (FORWARD, BOTH):
                        yield Job(name, case, n, dtype, direction, 64, n, heads, heads, width)


def _decode(name: str, settings: Settings) -> Iterator[Job]:
    for length in settings.decode_lengths:
        for dtype in settings.dtypes:
            yield Job(name, name, length, dtype, FORWARD, batch=8, queries=1)


def _memory(name: str, settings: Settings) -> Iterator[Job]:
    for case in ("causal", "alibi"):
        for length in sorted(settings.lengths)[-4:]:
            for direction in (BOTH, GRADIENT, HVP):
                yield Job(name, case, length, "float32", direction, batch=1, queries=length)


def _long(name: str, settings: Settings) -> Iterator[Job]:
    n = settings.long_length
    yield Job(name, "causal", n, "float32", BOTH, batch=1, queries=n, heads=1, kv_heads=1)


def effort(job: Job) -> float:
    """About how long a job takes, compared with others."""
    if job.group == "memory":
        return 0.5
    more = (1 if job.direction == FORWARD else 3) * (5 if job.case == "additive" else 1)
    return more * (1 + job.queries / 1024)


def measure(job: Job, settings: Settings, peers: ModuleType | None) -> Row:
    """One row: times of all sides; a side that fails, or would need too much memory, says so."""
    jax.clear_caches()  # so that compile seconds do not depend on the rows before
    calls: dict[str, Callable[[], object]] = {}
    facts: dict[str, Facts] = {}
    for name, prepare in _sides(job, settings, peers).items():
        try:
            call, facts[name] = prepare()
            if call is None:
                continue
            first: Any = call()
            if name in (OURS, "jax_nn") and _is_checked(job, peers):
                facts[name]["error"] = errors(first, _reference(undirected(job), peers))
            calls[name] = call
        except Exception as error:  # of any library; the other sides go on
            facts[name] = {"not_measured": f"not available: {failure(error)}"}
    times = timing.interleaved(
        calls, settings.repeats, warm=True, slow_seconds=SLOW_SECONDS, slow_repeats=SLOW_REPEATS
    )
    reasons = {
        name: own.pop("not_measured") for name, own in facts.items() if "not_measured" in own
    }
    return from_times("attention", job._asdict(), times)._replace(
        temporary_bytes=facts[OURS].pop("temporary_bytes", None),
        flops=flops(job),
        not_measured=reasons,
        facts=facts,
    )


def _sides(job: Job, settings: Settings, peers: ModuleType | None) -> dict[str, Prepare]:
    case, limit = CASES[job.case], settings.gigabytes * 1e9

    def ours(x: Arrays) -> jax.Array:
        request: dict[str, Any] = case.request(x) | {"implementation": settings.implementation}
        out: Any = attention(x["q"], x["k"], x["v"], **request)
        return out

    found: dict[str, Prepare] = {OURS: partial(_prepare, job, ours, None, limit)}
    if case.jax_nn and job.group != "long":
        found["jax_nn"] = partial(_prepare, job, case.jax_nn, case.given, limit)
    if peers and job.group in GRID:
        found |= peers.sides(job, draw(undirected(job)), limit)
    return found


def _prepare(
    job: Job,
    function: Callable[[Arrays], jax.Array],
    given: Callable[[Arrays], Arrays] | None,
    limit: float,
) -> tuple[Callable[[], object] | None, Facts]:
    """Compiles a side in JAX; its own arrays are made only where it is to run."""
    own = given or (lambda x: {})
    like = jax.eval_shape(lambda: arrays(undirected(job)))
    shapes = like | jax.eval_shape(own, like)
    start = time.perf_counter()
    program = jax.jit(directed(function, job.direction)).lower(shapes).compile()
    facts: Facts = {"compile_seconds": time.perf_counter() - start}
    memory: Any = program.memory_analysis()
    facts["temporary_bytes"] = memory.temp_size_in_bytes
    if job.group == "memory":
        return None, facts
    whole = sum(getattr(memory, f"{part}_size_in_bytes") for part in ("temp", "argument", "output"))
    if whole > limit:
        return None, facts | {"not_measured": f"skipped: needs {whole / 1e9:.1f} GB"}
    x = draw(undirected(job))
    x = x | jax.jit(own)(x)
    return lambda: jax.block_until_ready(program(x)), facts


def directed(function: Callable[[Arrays], jax.Array], direction: str) -> Callable[..., Result]:
    """`arrays -> results`: the output, its gradients to q, k and v, or both, or their change."""

    def moved(x: Arrays, *qkv: jax.Array) -> jax.Array:
        return function(x | dict(zip("qkv", qkv, strict=True)))

    def both(x: Arrays, *qkv: jax.Array) -> Result:
        out, pull = jax.vjp(partial(moved, x), *qkv)
        return out, *pull(x["g"])

    def run(x: Arrays) -> Result:
        qkv = (x["q"], x["k"], x["v"])
        if direction == HVP:
            return jax.jvp(lambda *qkv: both(x, *qkv)[1:], qkv, qkv)[1]
        if direction == FORWARD:
            return (function(x),)
        return both(x, *qkv)[1 if direction == GRADIENT else 0 :]

    return run


def _is_checked(job: Job, peers: ModuleType | None) -> bool:
    return peers is not None and job.group in GRID and job.length <= LONGEST_CHECKED


@lru_cache(maxsize=1)
def _reference(job: Job, peers: ModuleType) -> tuple[np.ndarray, ...]:
    return peers.reference(job.case, draw(job))


def errors(results: Result, exact: tuple[np.ndarray, ...]) -> dict[str, float]:
    """Largest error of the output and of each gradient, over the largest exact number."""
    return {
        name: float(np.abs(np.asarray(got, np.float64) - want).max() / np.abs(want).max())
        for name, got, want in zip(("out", "dq", "dk", "dv"), results, exact, strict=False)
    }
