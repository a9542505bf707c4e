"""Disturbs runs on purpose, and counts those that end otherwise than undisturbed ones.

scripts/torture --minutes=60 --seed=0 --output=torture.jsonl
"""

import argparse
import json
import os
import random
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax

from scripts._torture import children, comparisons, ends, files
from scripts._torture.world import BAD, Verdict, World

KINDS: dict[str, Callable[[World, random.Random], Verdict]] = {
    "kill": ends.kill,
    "overwrite": ends.anew,
    "signal": ends.signals,
    "damage, then read": files.damaged_read,
    "damage, then resume": files.damaged_resume,
    "disk full": files.disk,
    "two processes": ends.two,
    "changed data": files.changed_data,
    "comparison": comparisons.compared,
}
# Trials of each kind, in the proportion in which they are mixed.
FULL = {
    "kill": 160,
    "overwrite": 100,
    "signal": 100,
    "damage, then read": 900,
    "damage, then resume": 140,
    "disk full": 100,
    "two processes": 100,
    "changed data": 100,
    "comparison": 24,
}
SHORT = {
    "kill": 6,
    "overwrite": 2,
    "signal": 6,
    "damage, then read": 40,
    "damage, then resume": 8,
    "disk full": 3,
    "two processes": 2,
    "changed data": 6,
    "comparison": 1,
}


def order(counts: dict[str, int]) -> Iterator[tuple[str, int]]:
    """All trials, mixed so that any beginning has every kind in proportion."""
    places = [((n + 0.5) / count, kind, n) for kind, count in counts.items() for n in range(count)]
    yield from ((kind, n) for _, kind, n in sorted(places))


def table(rows: list[dict]) -> str:
    """A line for each kind: trials, and how they ended."""
    shown = ["same", "refused", "fell back", *BAD]
    lines = [f"{'kind':<20}{'trials':>8}" + "".join(f"{name:>11}" for name in shown)]
    for kind in KINDS:
        own = Counter(row["verdict"] for row in rows if row["kind"] == kind)
        counts = "".join(f"{own[name]:>11}" for name in shown)
        lines.append(f"{kind:<20}{sum(own.values()):>8}{counts}")
    return "\n".join(lines)


def main() -> None:
    """Carries trials out until the time is up; exits with 1 where one of them went wrong."""
    own, kinds = _parsed()
    end = time.monotonic() + 60 * own.minutes
    rows = []
    if own.output and own.output.exists():
        rows = [json.loads(line) for line in own.output.read_text().splitlines()]
    done = {(row["kind"], row["number"]) for row in rows if row["seed"] == own.seed}
    counts = {kind: n for kind, n in (SHORT if own.short else FULL).items() if kind in kinds}
    todo = [one for one in order(counts) if one not in done]
    if own.only is not None:
        todo = [(kinds[0], own.only)]
    with tempfile.TemporaryDirectory(prefix="torture_", ignore_cleanup_errors=True) as folder:
        _set_up(Path(folder))
        world = World(Path(folder) / "runs")
        for index, (kind, number) in enumerate(todo):
            if time.monotonic() > end:
                print(f"the time is up; {len(todo) - index} of {len(todo)} trials are left")
                break
            try:
                row = _tried(world, kind, number, own.seed)
            except KeyboardInterrupt:
                break
            rows.append(row)
            if own.output:
                with own.output.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")
            if row["verdict"] in BAD or own.only is not None:
                said = f"{row['verdict']}: {kind} {number}: {row['what']}\n{row['detail']}"
                print(said, flush=True)
    print(table(rows))
    sys.exit(any(row["verdict"] in BAD for row in rows))


def _tried(world: World, kind: str, number: int, seed: int) -> dict[str, Any]:
    """A line about a trial; one that itself fails counts as a traceback."""
    start = time.monotonic()
    try:
        found = KINDS[kind](world, random.Random(f"{seed} {kind} {number}"))
    except Exception:
        found = Verdict("traceback", "the trial itself", traceback.format_exc())
    seconds = round(time.monotonic() - start, 2)
    return {"kind": kind, "number": number, "seed": seed, **found._asdict(), "seconds": seconds}


def _parsed() -> tuple[argparse.Namespace, list[str]]:
    """What the call asks for, and its kinds."""
    parser = argparse.ArgumentParser(prog="scripts/torture", description=__doc__.split("\n\n")[0])
    parser.add_argument("--minutes", type=float, default=60.0, help="of all (60)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the trials (0)")
    parser.add_argument("--short", action="store_true", help="few of each kind")
    parser.add_argument("--kinds", default=";".join(KINDS), help="kinds, joined by semicolons")
    parser.add_argument("--only", type=int, help="one trial's number, of one kind: says all of it")
    parser.add_argument("--output", type=Path, help="JSON lines; goes on after what it holds")
    own = parser.parse_args()
    kinds = own.kinds.split(";")
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        parser.error(f"--kinds must be among {'; '.join(KINDS)}; got {unknown[0]}")
    return own, kinds


def _set_up(folder: Path) -> None:
    """Programs are compiled once, for all processes."""
    cache = os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(folder / "programs"))
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    jax.config.update("jax_compilation_cache_dir", cache)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    children.prepare()


if __name__ == "__main__":
    main()
