"""Attention on a GPU: whether each implementation is right there, then how fast it is.

    scripts/bench --suite=gpu --minutes=8 --output=gpu.json
    scripts/bench --suite=gpu --small                       tries every step, on any device

First the kernels that the device accepts are checked in bfloat16, output and gradients, against the
definition in float32. What fails a check is told and not measured. Then those that are left run in
turn, beside `jax.nn` and, where torch has CUDA, SDPA and compiled flex_attention; then a training
step of nanoGPT's sizes; at last the checks in float32, and those of the implementations that are no
kernels. So what one wants to know first comes first, and what --minutes leaves no time for is
named. Each row is written as it comes.
"""

import time
from collections.abc import Callable, Iterator
from functools import partial
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from attention_jax import attention
from attention_jax.engine.implementation import implementations
from attention_jax.engine.request import make_request
from experiments.benchmark import gpu_training, rows
from experiments.benchmark.attention import directed, errors
from experiments.benchmark.attention_cases import (
    BOTH,
    CASES,
    FORWARD,
    Arrays,
    Job,
    arrays,
    undirected,
)
from experiments.common import timing

# Largest error over the largest exact number, by dtype: some roundings of sums and of gradients.
LIMITS = {"float32": 1e-3, "bfloat16": 3e-2}
# Checked and measured before the others, where there is any for a case.
KERNELS = ("cudnn", "splash", "mosaic", "pallas", "tokamax")
# Sides that hold all scores are measured where they are few.
DENSE, MOST_SCORES = ("dense", "one_query", "jax_nn"), 2**32
# A turn of a side takes about so long, of so many calls at most: the clock waits for the device.
TURN_SECONDS, MOST_CALLS = 0.03, 50
# Products of the forward pass, and of both: 2 and 7, of which the definition needs 5 + 2.
PRODUCTS = {FORWARD: 2, BOTH: 7}
CHECKED = ("causal", "alibi", "softcap", "documents", "full", "window", "gqa", "decode", "additive")
MEASURED = ("causal", "alibi", "softcap", "documents", "full", "gqa", "window")

# Settings and numbers of a row, by name.
Row = dict[str, Any]
# Makes so many calls, and waits for the last.
Side = Callable[[int], object]
# By case, dtype and width: of each implementation that the device accepts, whether it passed every
# check.
Verdicts = dict[tuple[str, str, int], dict[str, bool]]


class Settings(NamedTuple):
    """The rows to measure; the flags of `experiments.benchmark` explain each field."""

    minutes: float
    repeats: int
    small: bool


def measure(settings: Settings, peers: ModuleType | None) -> Iterator[Row]:
    """Rows of checks, then of speed, then of training, while there is time.

    Raises:
      ValueError: there is no GPU, and the sizes are those of one.
    """
    refuse(settings.small)
    end = time.monotonic() + 60 * settings.minutes
    for work in work_to_do(settings, {}, peers):
        if time.monotonic() > end:
            yield work.row | {"left_out": "no time; --minutes gives more"}
            continue
        yield from work.run()


def refuse(small: bool) -> None:
    """Raises unless there is a GPU, or sizes are small."""
    platform = jax.default_backend()
    if platform not in ("gpu", "cuda", "rocm") and not small:
        raise ValueError(
            f"`--suite=gpu` needs a GPU; JAX sees a {platform}. Install the extra `gpu`, or try "
            "every step here at small sizes with --small."
        )


class Work(NamedTuple):
    """Something to measure: its row when it is left out, and its rows."""

    row: Row
    run: Callable[[], Iterator[Row]]


def work_to_do(settings: Settings, verdicts: Verdicts, peers: ModuleType | None) -> Iterator[Work]:
    """All there is to do, what one wants to know first before the rest.

    Args:
      verdicts: filled by the checks.
    """
    yield from _checks(("bfloat16",), settings.small, verdicts, late=False)
    for job in speed_jobs(settings.small):
        row = {"kind": "speed"} | job._asdict()
        yield Work(row, partial(speed, job, verdicts, peers, settings.repeats))
    for name, sizes in gpu_training.sizes(settings.small).items():
        row = {"kind": "training", "case": name}
        yield Work(row, partial(gpu_training.measure, name, sizes, settings.repeats))
    yield from _checks(("float32",), settings.small, verdicts, late=False)
    yield from _checks(("bfloat16", "float32"), settings.small, verdicts, late=True)


def _checks(
    dtypes: tuple[str, ...], small: bool, verdicts: Verdicts, *, late: bool
) -> Iterator[Work]:
    for dtype in dtypes:
        for job in check_jobs(dtype, small):
            row = {"kind": "check"} | job._asdict()
            yield Work(row, partial(check, job, verdicts, late=late))


def check_jobs(dtype: str, small: bool) -> Iterator[Job]:
    """Each case in whole blocks, at both widths; then some whose last blocks are not whole."""
    whole, ragged = (128, 75) if small else (512, 333)
    heads = 2 if small else 8
    for case in CHECKED:
        yield _job(case, whole, dtype, "", heads=heads, batch=2)
    if dtype == "bfloat16" and not small:
        for case in (*MEASURED, "decode"):
            yield _job(case, whole, dtype, "", heads=heads, batch=2, width=128)
    for case in ("causal", "documents"):
        yield _job(case, ragged, dtype, "", heads=heads, batch=2)


def speed_jobs(small: bool) -> Iterator[Job]:
    """Training shapes in bfloat16, both directions; then decoding."""
    sizes = [(128, 1, 2, 64)] if small else [(4096, 4, 16, 128), (2048, 8, 16, 64)]
    for length, batch, heads, width in sizes:
        for case in MEASURED:
            for direction in (FORWARD, BOTH):
                yield _job(case, length, "bfloat16", direction, heads, batch, width)
        if (length, batch) == sizes[0][:2]:
            for keys, many in ((256, 2),) if small else ((32_768, 8), (8192, 1)):
                yield _job("decode", keys, "bfloat16", FORWARD, heads, many, width)
    length = 64 if small else 1024
    for direction in (FORWARD, BOTH):
        yield _job("additive", length, "bfloat16", direction, 2 if small else 8, 1, 64)


def _job(
    case: str,
    length: int,
    dtype: str,
    direction: str,
    heads: int,
    batch: int,
    width: int = 64,
) -> Job:
    queries, shared = 1 if case == "decode" else length, case in ("gqa", "decode")
    kv_heads = max(heads // 4, 1) if shared else heads
    return Job(case, case, length, dtype, direction, batch, queries, heads, kv_heads, width)


def ours(name: str, case: str, x: Arrays) -> jax.Array:
    """The case by one of our implementations."""
    request: dict[str, Any] = CASES[case].request(x)
    out: Any = attention(x["q"], x["k"], x["v"], **request, implementation=name)
    return out


def check(job: Job, verdicts: Verdicts, *, late: bool = False) -> Iterator[Row]:
    """A row for each implementation: refused and why, or its errors.

    Args:
      late: takes the implementations that were left out before; see `KERNELS`.
    """
    x = jax.jit(partial(arrays, undirected(job)))()
    request = make_request(x["q"], x["k"], x["v"], **CASES[job.case].request(x))
    reasons = {y.name: y.refusal(request) for y in implementations() if y.name != "reference"}
    accepted = [name for name, reason in reasons.items() if reason is None]
    early = [name for name in accepted if name in KERNELS] or accepted
    row = {"kind": "check"} | job._asdict()
    for name, reason in reasons.items():
        if reason is not None and not late:
            yield row | {"side": name, "refused": reason}
    names = [name for name in accepted if (name in early) != late]
    with jax.default_matmul_precision("highest"):
        exact = _exact(job, x) if names else ()
        for name in names:
            yield row | {"side": name} | _errors(name, job, x, exact, verdicts)


def _exact(job: Job, x: Arrays) -> tuple[jax.Array, ...]:
    floats = {name for name, y in x.items() if jnp.issubdtype(y.dtype, jnp.floating)}
    wide = x | {name: x[name].astype(jnp.float32) for name in floats}
    return jax.jit(directed(partial(ours, "reference", job.case), BOTH))(wide)


def _errors(
    name: str,
    job: Job,
    x: Arrays,
    exact: tuple[jax.Array, ...],
    verdicts: Verdicts,
) -> Row:
    known = verdicts.setdefault((job.case, job.dtype, job.width), {})
    try:
        got = jax.jit(directed(partial(ours, name, job.case), BOTH))(x)
        found = errors(got, tuple(map(jax.device_get, exact)))
    except Exception as error:  # of any library; the other sides go on
        found, reason = {}, rows.failure(error)
    else:
        limit = LIMITS[job.dtype]
        bad = [f"{key} {error:.1e}" for key, error in found.items() if not error <= limit]
        reason = f"errors above {limit}: {', '.join(bad)}" if bad else None
    # One failure, at any length, keeps it from being measured.
    known[name] = known.get(name, True) and reason is None
    return {"errors": found} | ({} if reason is None else {"failed": reason})


def speed(job: Job, verdicts: Verdicts, peers: ModuleType | None, repeats: int) -> Iterator[Row]:
    """A row for each side that can be measured, fastest first; or why it cannot."""
    x = jax.jit(partial(arrays, undirected(job)))()
    calls: dict[str, Side] = {}
    facts: dict[str, Row] = {}
    for name, prepare in _sides(job, x, verdicts, peers).items():
        start = time.perf_counter()
        try:
            side = prepare()
            side(1)
            calls[name] = side
            facts[name] = {"first_seconds": time.perf_counter() - start}
        except Exception as error:  # of any library; the other sides go on
            facts[name] = {"failed": rows.failure(error)}
    times = timed(calls, repeats)
    row = {"kind": "speed"} | job._asdict()
    for name in sorted(facts, key=lambda name: times.get(name, float("inf"))):
        found = row | {"side": name} | facts[name]
        if name in times:
            found |= {"seconds": times[name]} | _rate(job, times[name])
        yield found


def _sides(
    job: Job, x: Arrays, verdicts: Verdicts, peers: ModuleType | None
) -> dict[str, Callable[[], Side]]:
    known = verdicts.get((job.case, job.dtype, job.width), {})
    names = [name for name, passed in known.items() if passed]
    case, few = CASES[job.case], job.batch * job.heads * job.queries * job.length <= MOST_SCORES
    functions: dict[str, Callable[[Arrays], jax.Array]] = {
        name: partial(ours, name, job.case) for name in names
    }
    if case.jax_nn:
        functions["jax_nn"] = case.jax_nn
    found: dict[str, Callable[[], Side]] = {}
    request = make_request(x["q"], x["k"], x["v"], **case.request(x))
    accept = {y.name for y in implementations() if y.refusal(request) is None} | {"jax_nn"}
    for name, function in functions.items():
        if name in accept and (few or name not in DENSE):
            given = case.given if name == "jax_nn" else None
            found[name] = partial(_prepare, function, given, job.direction, x)
    return found | (peers.sides(job, x) if peers else {})


def _prepare(
    function: Callable[[Arrays], jax.Array],
    given: Callable[[Arrays], Arrays] | None,
    direction: str,
    x: Arrays,
) -> Side:
    own = x | jax.jit(given)(x) if given else x
    program = jax.jit(directed(function, direction)).lower(own).compile()

    def side(count: int) -> object:
        out: Any = None
        for _ in range(count):
            out = program(own)
        return jax.block_until_ready(out)

    return side


def timed(sides: dict[str, Side], repeats: int) -> dict[str, float]:
    """Median seconds of a call; sides take turns of several calls each."""
    counts = {}
    for name, side in sides.items():
        start = time.perf_counter()
        side(1)
        seconds = time.perf_counter() - start
        counts[name] = max(1, min(MOST_CALLS, int(TURN_SECONDS / seconds)))
    calls = {name: partial(side, counts[name]) for name, side in sides.items()}
    times = timing.interleaved(calls, repeats)
    return {name: own.median / counts[name] for name, own in times.items()}


def _rate(job: Job, seconds: float) -> Row:
    """TFLOP/s of the products that the mask leaves, where their share is known."""
    share = {"full": 1.0, "causal": 0.5, "alibi": 0.5, "softcap": 0.5, "gqa": 0.5}.get(job.case)
    if share is None:
        return {}
    pairs = job.batch * job.heads * job.queries * job.length * share
    return {"tflops": 2 * pairs * job.width * PRODUCTS[job.direction] / seconds / 1e12}


def as_row(row: Row) -> rows.Row:
    """The one form of all suites; each side is a case of its own, its numbers are facts."""
    settings = "kind", "case", "dtype", "direction", "batch", "length", "heads", "width", "side"
    facts = {name: x for name, x in row.items() if name not in settings}
    return rows.Row("gpu", {name: row[name] for name in settings if name in row}, facts=facts)


def line(row: Row) -> str:
    """A row as text."""
    at = " ".join(str(row[key]) for key in ("case", "dtype", "direction") if row.get(key))
    size = "x".join(str(row[key]) for key in ("batch", "length", "heads", "width") if key in row)
    head = f"{row['kind']:<9}{at:<36}{size:<16}{row.get('side', ''):<12}"
    if "seconds" in row:
        rate = f"{row['tflops']:8.1f} TFLOP/s" if "tflops" in row else ""
        rate = f"{row['tokens_per_second']:,.0f} tokens/s" if "tokens_per_second" in row else rate
        return f"{head}{row['seconds'] * 1e3:10.3f} ms  {rate}"
    for key in ("failed", "refused", "left_out"):
        if key in row:
            return f"{head}{key.replace('_', ' ')}: {row[key]}"
    return f"{head}right: " + ", ".join(f"{k} {x:.1e}" for k, x in row["errors"].items())


def table(measured: list[Row]) -> str:
    """Milliseconds of each side, a line for each measured case; then what failed."""
    speeds = [row for row in measured if row["kind"] == "speed" and "seconds" in row]
    sides = list(dict.fromkeys(row["side"] for row in speeds))
    keys = ("case", "direction", "batch", "length", "heads", "width")
    lines = {tuple(row[key] for key in keys): {} for row in speeds}
    for row in speeds:
        lines[tuple(row[key] for key in keys)][row["side"]] = f"{row['seconds'] * 1e3:.3f}"
    text = [f"{'milliseconds':<44}" + "".join(f"{side:>12}" for side in sides)]
    for at, found in lines.items():
        name = f"{at[0]} {at[1]} " + "x".join(map(str, at[2:]))
        text.append(f"{name:<44}" + "".join(f"{found.get(side, '-'):>12}" for side in sides))
    text += [line(row) for row in measured if row["kind"] == "training" or "failed" in row]
    left = sum("left_out" in row for row in measured)
    return "\n".join([*text, f"{left} rows were left out for want of time."])
