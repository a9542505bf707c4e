"""Attention beside PyTorch at every pair of settings: masks, lengths, widths, heads and kinds.

    scripts/bench --suite=attention --cases=pairs --output=attention_pairs.json

A covering array, drawn greedily from a fixed seed, holds every pair of values of two settings in at
least one case. Each case is measured forward, beside the faster of SDPA and compiled
`flex_attention`, and forward with gradients, beside SDPA, which has no soft cap; float32, 4,096
tokens in the batch. All sides of a row run in turn in one process, and ratios are of times pair by
pair, other side over ours. A row is written as soon as it is measured, and the same command leaves
out those that stand in --output: stop it as you like. Operations are counted as if nothing were
hidden.

    cross   the last quarter of the positions as queries, of all as keys, which are padded
    gqa     1 or 2 key heads for 4, 6 or 8 query heads, 4 for 12
"""

import itertools
import math
import random
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from attention_jax import attention
from attention_jax.core import masks, positions
from experiments.benchmark.attention import directed
from experiments.benchmark.attention_cases import BOTH, CAP, FORWARD, Arrays
from experiments.benchmark.rows import OURS, Row, failure, from_times, number, spread
from experiments.common import timing

SETTINGS: dict[str, tuple[Any, ...]] = {
    "mask": (
        "full",
        "causal",
        "window",
        "alibi",
        "softcap",
        "documents",
        "padding",
        "bias",
    ),
    "length": (32, 64, 128, 256, 512, 1024, 2048, 4096, 8192),
    "width": (16, 32, 40, 64, 80, 128),
    "kind": ("self", "cross", "gqa"),
    "heads": (4, 6, 8, 12),
}
KEY_HEADS = {4: 1, 6: 2, 8: 2, 12: 4}
TOKENS, WINDOW, CANDIDATES, BEHIND = 4096, 256, 64, 0.9
SECONDS, MOST_REPEATS, LEAST_REPEATS = 1.0, 31, 3
CAUSAL = ("causal", "window", "alibi", "softcap", "documents")


class Pair(NamedTuple):
    """A row: a value of every setting, and a direction."""

    mask: str
    length: int
    width: int
    kind: str
    heads: int
    direction: str = FORWARD

    @property
    def queries(self) -> int:
        return max(1, self.length // 4) if self.kind == "cross" else self.length

    @property
    def batch(self) -> int:
        return max(1, TOKENS // self.length)

    @property
    def key_heads(self) -> int:
        return KEY_HEADS[self.heads] if self.kind == "gqa" else self.heads

    @property
    def is_padded(self) -> bool:
        return self.kind == "cross" or self.mask == "padding"

    @property
    def window(self) -> int:
        """The window of this length, which hides something of the shortest too."""
        return min(WINDOW, self.length // 4)


def covering_array(settings: Mapping[str, tuple[Any, ...]], seed: int) -> list[tuple[Any, ...]]:
    """Rows of one value a setting that hold every pair of values of two settings.

    Of some candidates, each grown from a pair that is missing, the one that adds most is taken.

    Reference: Cohen et al. 1997, "The AETG System", IEEE Transactions on Software Engineering 23.
    """
    draw, values = random.Random(seed), list(settings.values())
    columns = range(len(values))
    missing = {
        ((a, x), (b, y))
        for a, b in itertools.combinations(columns, 2)
        for x, y in itertools.product(values[a], values[b])
    }
    rows = []
    while missing:
        waiting = sorted(missing, key=repr)
        candidates = [_grown(draw, values, waiting, missing) for _ in range(CANDIDATES)]
        best = max(candidates, key=lambda row: len(_pairs(row) & missing))
        missing -= _pairs(best)
        rows.append(best)
    return rows


def _pairs(row: tuple[Any, ...]) -> set[tuple[Any, Any]]:
    return set(itertools.combinations(enumerate(row), 2))


def _grown(
    draw: random.Random, values: list[tuple[Any, ...]], waiting: list[Any], missing: set[Any]
) -> tuple[Any, ...]:
    """A row that holds one missing pair, and where its other values add most, the first of them."""
    row = dict(draw.choice(waiting))
    for column in draw.sample(range(len(values)), len(values)):
        if column in row:
            continue

        def added(value: Any, column: int = column) -> int:
            pairs = (tuple(sorted([(column, value), other])) for other in row.items())
            return sum(pair in missing for pair in pairs)

        order = draw.sample(values[column], len(values[column]))
        row[column] = max(order, key=added)
    return tuple(row[column] for column in range(len(values)))


def pairs(lengths: Iterable[int] = SETTINGS["length"]) -> list[Pair]:
    """All rows, short sequences first."""
    cases = sorted(covering_array(SETTINGS, seed=0), key=lambda case: (case[1], repr(case)))
    rows = [Pair(*case, direction) for case in cases for direction in (FORWARD, BOTH)]
    return [x for x in rows if x.length in lengths]


@lru_cache(maxsize=1)
def draw(case: Pair) -> Arrays:
    """The arrays of all sides, the same for both directions."""
    keys = jax.random.split(jax.random.key(0), 7)
    b, t, s, h, d = case.batch, case.queries, case.length, case.heads, case.width
    key_shape = (b, s, case.key_heads, d)
    shapes = {"q": (b, t, h, d), "k": key_shape, "v": key_shape, "g": (b, t, h, d), "bias": (t, s)}
    normal = zip(keys, shapes.items(), strict=False)
    x = {name: jax.random.normal(key, shape) for key, (name, shape) in normal}
    starts = jax.random.randint(keys[5], (b, max(2, min(8, s // 32)) - 1), 1, s)
    x["ids"] = (jnp.arange(s)[None, :, None] >= starts[:, None]).sum(-1)
    x["lengths"] = jax.random.randint(keys[6], (b,), s // 2 + 1, s + 1)
    return x


def ours(case: Pair, x: Arrays) -> jax.Array:
    """The case as `attention` takes it."""
    parts: list[Any] = [masks.causal] if case.mask in CAUSAL else []
    first = case.length - case.queries
    changes: dict[str, Any] = {
        "alibi": lambda: positions.alibi(heads=case.heads),
        "softcap": lambda: lambda score, b, h, i, j: CAP * jnp.tanh(score / CAP),
        "bias": lambda: lambda score, b, h, i, j: score + x["bias"][i - first, j],
    }
    if case.mask == "window":
        parts.append(masks.sliding_window(case.window))
    if case.mask == "documents":
        parts.append(masks.documents(x["ids"], x["ids"]))
    if case.is_padded:
        parts.append(masks.lengths(x["lengths"]))
    whole = None
    for part in parts:
        whole = masks.both(whole, part)
    change = changes.get(case.mask, lambda: None)()
    out: Any = attention(x["q"], x["k"], x["v"], mask=whole, score_mod=change, query_offset=first)
    return out


def measure(case: Pair, peers: ModuleType, *, gigabytes: float, flex: bool = True) -> Row:
    """One row; a peer that fails, or needs too much memory, says so."""
    jax.clear_caches()
    x = draw(case._replace(direction=FORWARD))
    program = jax.jit(directed(lambda x: ours(case, x), case.direction)).lower(x).compile()
    memory: Any = program.memory_analysis()
    calls: dict[str, Callable[[], Any]] = {OURS: lambda: jax.block_until_ready(program(x))}
    reasons: dict[str, str] = {}
    facts: dict[str, Any] = {"batch": case.batch, "queries": case.queries}
    for name, prepare in peers.sides(case, x, gigabytes * 1e9, flex=flex).items():
        try:
            calls[name] = prepare()
        except Exception as error:  # of any library; the other sides go on
            reasons[name] = f"not available: {failure(error)}"
    if "torch_sdpa" in calls:
        own = np.asarray(program(x)[0])
        facts["difference"] = peers.difference(calls["torch_sdpa"](), own)
    seconds = sum(timing.repeated(call, 1).median for call in calls.values())
    repeats = max(LEAST_REPEATS, min(MOST_REPEATS, int(SECONDS / (2 * seconds))))
    row = from_times("pairs", case._asdict(), timing.interleaved(calls, repeats, warm=True))
    return row._replace(
        temporary_bytes=memory.temp_size_in_bytes,
        flops=flops(case),
        not_measured=reasons,
        facts=row.facts | facts,
    )


def flops(case: Pair) -> float:
    """Operations of the matrix products: 2 forward, and 5 more with gradients."""
    product = 2 * case.batch * case.heads * case.queries * case.length * case.width
    return float(product * (2 if case.direction == FORWARD else 7))


def header() -> str:
    return f"{'':<9}{'case':<64}{'ours ms':>9}{'SDPA/ours':>22}{'flex/ours':>22}"


def line(row: Row, *, place: str) -> str:
    """A row of the table; ratios with their lowest and highest."""
    both = "".join(f"{spread(row.ratio.get(x)):>22}" for x in ("torch_sdpa", "torch_flex"))
    return f"{place:<9}{title(row):<64}{number(row.ours_ms, '.2f'):>9}{both}"


def title(row: Row) -> str:
    """The settings of a row in words."""
    case = Pair(**row.case)
    names = f"{case.mask} {case.kind} {case.batch}x{case.queries}x{case.length}"
    return f"{names}, {case.heads} heads of {case.width}, {case.direction}"


def summary(measured: Sequence[Row]) -> dict[str, Any]:
    """Geometric means of the ratios to the fastest peer, and the rows where ours is behind."""

    def of(name: str, value: Any) -> dict[str, Any]:
        return mean([row for row in measured if row.case[name] == value])

    settings = SETTINGS | {"direction": (FORWARD, BOTH)}
    behind = sorted((x.median, title(row)) for row in measured if (x := row.to_fastest_peer))
    return {
        "all": mean(measured),
        "by_setting": {
            name: {str(value): of(name, value) for value in values}
            for name, values in settings.items()
        },
        "behind": {name: ratio for ratio, name in behind if ratio < BEHIND},
    }


def mean(measured: Iterable[Row]) -> dict[str, Any]:
    """Count, geometric mean and lowest of the ratios to the fastest peer, and those below 0.9."""
    ratios = [x.median for row in measured if (x := row.to_fastest_peer)]
    if not ratios:
        return {"count": 0}
    return {
        "count": len(ratios),
        "geometric_mean": math.exp(statistics.fmean(map(math.log, ratios))),
        "lowest": min(ratios),
        f"below_{BEHIND}": sum(x < BEHIND for x in ratios),
    }
