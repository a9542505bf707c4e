"""How long a program takes to begin: imports, the list of variants, the first step of training.

    scripts/bench --suite=start --output=start.json

Every number is of a process of its own, and a row is the median of --repeats of them. A first step
is that of the default Transformer on 128 sentences of 32 tokens, its compilation included; cold
without a compilation cache, warm with one that holds the program.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import experiments
from experiments.benchmark.rows import OURS, Row, from_times
from experiments.common.timing import Times

_IMPORT = """
import time, {first}
begin = time.perf_counter()
import {then}
print(time.perf_counter() - begin)
"""
_FIRST_STEP = """
import sys, time
from attention_jax import keep_memory
keep_memory()
from attention_jax.training import loop
from experiments.benchmark.training_cases import Sizes, transformer_tiny
case = transformer_tiny(Sizes(*map(int, sys.argv[1:4])))
begin = time.perf_counter()
state, update = loop.stepper(case.build, case.training, case.objective)
built = time.perf_counter()
_, totals = update(state, case.batch)
float(totals.loss)
print(time.perf_counter() - built, built - begin)
"""
CACHE = "JAX_COMPILATION_CACHE_DIR"
# Programs that compile in less than a second are kept too, as `device.prepare` has it.
_KEEP_ALL = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}


def measure(repeats: int, sizes: tuple[int, int, int]) -> Iterator[Row]:
    """The rows, one after another.

    Args:
      repeats: processes of each.
      sizes: of the first step: vocabulary, sentences, and tokens of each.
    """
    beyond = partial(_told, _IMPORT.format(first="jax", then="attention_jax"))
    yield _row({"program": "import attention_jax, after jax"}, beyond, repeats)
    yield _row({"program": "attention-jax list"}, _listed, repeats)
    step = partial(_told, _FIRST_STEP, *map(str, sizes))
    names = dict(zip(("vocabulary", "sentences", "length"), sizes, strict=True))
    case = {"program": "first step of transformer_tiny", **names}
    yield _row(case | {"cache": "cold"}, step, repeats)
    with tempfile.TemporaryDirectory() as folder:
        warm = partial(step, environment={CACHE: folder, **_KEEP_ALL})
        warm()  # fills the cache
        yield _row(case | {"cache": "warm"}, warm, repeats)


def _row(case: dict[str, object], run: Callable[[], list[float]], repeats: int) -> Row:
    """A row of as many runs; what a run tells beyond its seconds is the building of its state."""
    runs = [run() for _ in range(repeats)]
    seconds, others = zip(*((own[0], own[1:]) for own in runs), strict=True)
    row = from_times("start", case, {OURS: Times(seconds[0], seconds)})
    facts: dict[str, float] = {"lowest_ms": 1e3 * min(seconds), "highest_ms": 1e3 * max(seconds)}
    if others[0]:
        facts["state_ms"] = 1e3 * Times(0.0, tuple(own[0] for own in others)).median
    return row._replace(faults=None, facts=facts)


def _told(program: str, *arguments: str, environment: dict[str, str] | None = None) -> list[float]:
    """The seconds that a program prints."""
    text = _run([sys.executable, "-c", program, *arguments], environment or {})
    return [float(word) for word in text.split()]


def _listed() -> list[float]:
    """The seconds of a whole process that lists the variants."""
    begin = time.perf_counter()
    _run([sys.executable, "-m", "attention_jax", "list"], {})
    return [time.perf_counter() - begin]


def _run(command: list[str], changes: dict[str, str]) -> str:
    """Output of a process, without any compilation cache but that of `changes`.

    Raises:
      RuntimeError: it failed.
    """
    root = Path(experiments.__path__[0]).parent
    own = {name: value for name, value in os.environ.items() if name != CACHE} | changes
    done = subprocess.run(command, cwd=root, env=own, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(
            f"`{command[-1][:40]}` must run; {done.stderr.strip().splitlines()[-1:]}"
        )
    return done.stdout


def line(row: Row) -> str:
    """A row in one line."""
    case, facts = row.case, row.facts
    name = f"{case['program']}{', ' + case['cache'] if 'cache' in case else ''}"
    text = f"{name:<40}{(row.ours_ms or 0) / 1e3:>8.3f} s"
    text += f"  ({facts['lowest_ms'] / 1e3:.3f} to {facts['highest_ms'] / 1e3:.3f})"
    if "state_ms" in facts:
        text += f", after {facts['state_ms'] / 1e3:.3f} s for its state"
    return text
