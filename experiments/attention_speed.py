"""Speed, memory and accuracy of attention beside `jax.nn` and torch: what is measured, and how.

    scripts/bench --suite=attention --output=attention.json --picture=attention.png

A job is one row: a case at one length, in one dtype, in one direction. All sides get the same
arrays, [b t h d] in memory. They run in turn in one process: at each repeat every side makes one
call that does not count, so that it finds its memory and its threads warm, and one that does.
Ratios are of times pair by pair, other side over ours; above 1 ours is faster.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from attention_jax import attention
from attention_jax.core import masks, positions, scores

HEADS, WIDTH, WINDOW, CAP, TEMPERATURE = 8, 64, 256, 30.0, 0.1
TOKENS, SLOW_SECONDS, SLOW_REPEATS, LONGEST_CHECKED = 2048, 2.0, 3, 2048
FORWARD, BOTH, GRADIENT, HVP = "forward", "forward+backward", "gradient", "hvp"
SIDES = ("jax_nn", "torch_sdpa", "torch_flex", "torch_direct")

Arrays = dict[str, jax.Array]
Result = tuple[jax.Array, ...]
Row = dict[str, Any]
# Makes a side ready: its call, None where it is not to run, and what was found out.
Prepare = Callable[[], tuple[Callable[[], Any] | None, dict[str, Any]]]


class Settings(NamedTuple):
    """What is measured; the flags of `experiments.benchmark` explain each."""

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


class Job(NamedTuple):
    """One row. `group` is the name that --cases knows; `queries` is 1 for decoding."""

    group: str
    case: str
    length: int
    dtype: str
    direction: str
    batch: int
    queries: int
    heads: int = HEADS
    kv_heads: int = HEADS
    width: int = WIDTH


class Case(NamedTuple):
    """One kind of attention.

    Attributes:
      request: keywords of `attention_jax.attention`, from the arrays.
      jax_nn: the same by `jax.nn`, from the arrays; None where it cannot be expressed.
      given: arrays [b h t s] that `jax.nn` needs beside them, as "dense".
    """

    request: Callable[[Arrays], dict[str, Any]]
    jax_nn: Callable[[Arrays], jax.Array] | None = None
    given: Callable[[Arrays], Arrays] | None = None


def _dot(x: Arrays, **keywords: Any) -> jax.Array:
    return jax.nn.dot_product_attention(x["q"], x["k"], x["v"], **keywords)


def _places(x: Arrays) -> tuple[jax.Array, ...]:
    (b, t, h, _), s = x["q"].shape, x["k"].shape[1]
    return tuple(jnp.ogrid[:b, :h, :t, :s])


def _documents(x: Arrays) -> masks.Mask:
    return masks.causal & masks.documents(x["ids"], x["ids"])


def _document_mask(x: Arrays) -> Arrays:
    b, _, i, j = _places(x)
    return {"dense": _documents(x)(b, jnp.zeros_like(b), i, j)}


def _alibi_bias(x: Arrays) -> Arrays:
    _, h, i, j = _places(x)
    zero = jnp.zeros((), jnp.float32)
    bias = positions.alibi(heads=h.size)(zero, zero, h, i, j)
    return {"dense": jnp.where(masks.causal(0, h, i, j), bias, -jnp.inf)}


def _unit(x: jax.Array) -> jax.Array:
    wide = x.astype(jnp.float32)
    return (wide / jnp.linalg.norm(wide, axis=-1, keepdims=True)).astype(x.dtype)


CASES: dict[str, Case] = {
    "full": Case(lambda x: {}, _dot),
    "causal": Case(lambda x: {"mask": masks.causal}, partial(_dot, is_causal=True)),
    "window": Case(
        lambda x: {"mask": masks.causal & masks.sliding_window(WINDOW)},
        partial(_dot, is_causal=True, local_window_size=(WINDOW - 1, 0)),
    ),
    "alibi": Case(
        lambda x: {"mask": masks.causal, "score_mod": positions.alibi(heads=x["q"].shape[2])},
        lambda x: _dot(x, bias=x["dense"]),
        _alibi_bias,
    ),
    "softcap": Case(
        lambda x: {
            "mask": masks.causal,
            "score_mod": lambda score, b, h, i, j: CAP * jnp.tanh(score / CAP),
        }
    ),
    "documents": Case(
        lambda x: {"mask": _documents(x)}, lambda x: _dot(x, mask=x["dense"]), _document_mask
    ),
    "additive": Case(lambda x: {"score": scores.additive(x["w_q"], x["w_k"], x["w"])}),
    "cosine": Case(
        lambda x: {"score": scores.cosine(temperature=TEMPERATURE)},
        lambda x: _dot(x | {"q": _unit(x["q"]), "k": _unit(x["k"])}, scale=1 / TEMPERATURE),
    ),
    "gqa": Case(lambda x: {"mask": masks.causal}, partial(_dot, is_causal=True)),
    "decode": Case(
        lambda x: {"mask": masks.lengths(x["lengths"])},
        lambda x: _dot(x, key_value_seq_lengths=x["lengths"]),
    ),
}
GRID = tuple(name for name in CASES if name != "decode")
GROUPS = (*GRID, "short", "decode", "memory", "long")


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
    """One row: seconds and facts of ours, and of each other side also its ratio to ours.

    A side that fails or would need too much memory says so under "not_measured".
    """
    jax.clear_caches()  # so that compile seconds do not depend on the rows before
    row: Row = job._asdict()
    calls: dict[str, Callable[[], Any]] = {}
    slowest = 0.0
    for name, prepare in _sides(job, settings, peers).items():
        try:
            call, row[name] = prepare()
            if call is None:
                continue
            first = call()
            if name in ("ours", "jax_nn") and _is_checked(job, peers):
                row[name]["error"] = errors(first, _reference(_undirected(job), peers))
            slowest = max(slowest, seconds(call))
            calls[name] = call
        except Exception as error:  # of any library; the other sides go on
            row[name] = {"not_measured": f"not available: {_one_line(error)}"}
    repeats = min(settings.repeats, SLOW_REPEATS) if slowest > SLOW_SECONDS else settings.repeats
    _add_times(row, alternate(calls, repeats))
    return row | {"repeats": repeats if calls else 0}


def alternate(calls: dict[str, Callable[[], Any]], repeats: int) -> dict[str, list[float]]:
    """Seconds of each side's counted calls, taken in turn."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            call()
            times[name].append(seconds(call))
    return times


def seconds(call: Callable[[], Any]) -> float:
    """How long one call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _add_times(row: Row, times: dict[str, list[float]]) -> None:
    for name, own in times.items():
        row[name]["seconds"] = statistics.median(own)
        if name != "ours" and "ours" in times:
            ratios = sorted(a / b for a, b in zip(own, times["ours"], strict=True))
            row[name]["ratio"] = statistics.median(ratios)
            row[name]["ratio_lowest"], row[name]["ratio_highest"] = ratios[0], ratios[-1]


def _sides(job: Job, settings: Settings, peers: ModuleType | None) -> dict[str, Prepare]:
    case, limit = CASES[job.case], settings.gigabytes * 1e9

    def ours(x: Arrays) -> Any:
        options = {"implementation": settings.implementation}
        return attention(x["q"], x["k"], x["v"], **case.request(x), **options)

    found: dict[str, Prepare] = {"ours": partial(_prepare, job, ours, None, limit)}
    if case.jax_nn and job.group != "long":
        found["jax_nn"] = partial(_prepare, job, case.jax_nn, case.given, limit)
    if peers and job.group in GRID:
        found |= peers.sides(job, draw(_undirected(job)), limit)
    return found


def _prepare(
    job: Job,
    function: Callable[[Arrays], jax.Array],
    given: Callable[[Arrays], Arrays] | None,
    limit: float,
) -> tuple[Callable[[], Any] | None, dict[str, Any]]:
    """Compiles a side in JAX; its own arrays are made only where it is to run."""
    own = given or (lambda x: {})
    like = jax.eval_shape(lambda: _draw(_undirected(job)))
    shapes = like | jax.eval_shape(own, like)
    start = time.perf_counter()
    program = jax.jit(directed(function, job.direction)).lower(shapes).compile()
    facts: dict[str, Any] = {"compile_seconds": time.perf_counter() - start}
    memory: Any = program.memory_analysis()
    facts["temporary_bytes"] = memory.temp_size_in_bytes
    if job.group == "memory":
        return None, facts
    whole = sum(getattr(memory, f"{part}_size_in_bytes") for part in ("temp", "argument", "output"))
    if whole > limit:
        return None, facts | {"not_measured": f"skipped: needs {whole / 1e9:.1f} GB"}
    x = draw(_undirected(job))
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


def _undirected(job: Job) -> Job:
    """The job that both directions share, whose arrays and exact results are kept."""
    return job._replace(direction="")


@lru_cache(maxsize=1)
def draw(job: Job) -> Arrays:
    """The arrays of all sides, the same at every call."""
    return _draw(job)


def _draw(job: Job) -> Arrays:
    keys = jax.random.split(jax.random.key(0), 9)
    b, t, s, h, g, d = job.batch, job.queries, job.length, job.heads, job.kv_heads, job.width
    shapes: dict[str, tuple[int, ...]]
    shapes = {"q": (b, t, h, d), "k": (b, s, g, d), "v": (b, s, g, d), "g": (b, t, h, d)}
    shapes |= {"w_q": (d, d), "w_k": (d, d), "w": (d,)}
    x = {
        name: jax.random.normal(key, shape, job.dtype) * (d**-0.5 if name[0] == "w" else 1)
        for key, (name, shape) in zip(keys, shapes.items(), strict=False)
    }
    # Several documents a row, which begin anywhere.
    starts = jax.random.randint(keys[7], (b, max(2, min(8, s // 32)) - 1), 1, max(2, s))
    x["ids"] = (jnp.arange(s)[None, :, None] >= starts[:, None]).sum(-1)
    x["lengths"] = jax.random.randint(keys[8], (b,), s // 2 + 1, s + 1)
    return x


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


def _one_line(error: Exception) -> str:
    text = str(error).strip() or "no message"
    return f"{type(error).__name__}: {text.splitlines()[0][:200]}"
