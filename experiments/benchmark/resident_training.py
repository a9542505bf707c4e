"""A process that trains a language model as many steps as each line of its input says.

    python -P -m experiments.benchmark.resident_training small --keep

It answers each line with its memory and its step time, as JSON. It is what
`experiments.benchmark.resident` measures.
"""

import argparse
import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import nnx

from attention_jax.core.allocator import keep_memory
from attention_jax.data.types import TokenBatch
from attention_jax.models.language import TransformerLM
from attention_jax.nn.transformer import TransformerConfig
from attention_jax.training import loop, objectives
from attention_jax.training.config import TrainConfig

VOCABULARY = 64
LENGTHS = (4, 3, 2, 1)  # of the windows in turn, in quarters of the longest


class Size(NamedTuple):
    """Sizes of a model and its batches."""

    layers: int
    width: int
    windows: int
    length: int


SIZES = {
    "small": Size(1, 32, 8, 32),
    "medium": Size(2, 64, 8, 64),
    "large": Size(2, 128, 8, 128),
}


def trainer(size: Size) -> Callable[[int], list[float]]:
    """A function that trains so many further steps and returns the seconds of each."""
    model = TransformerConfig(
        vocabulary_size=VOCABULARY,
        width=size.width,
        layers=size.layers,
        feed_forward=4 * size.width,
        max_length=size.length,
    )

    def build(key: jax.Array) -> TransformerLM:
        return TransformerLM(model, rngs=nnx.Rngs(key))

    state, update = loop.stepper(build, TrainConfig(steps=0), objectives.next_token)
    held, windows = [state], _windows(size)

    def train(steps: int) -> list[float]:
        seconds = []
        for _ in range(steps):
            window, start = next(windows), time.perf_counter()
            held[0], totals = update(held[0], window)
            jax.block_until_ready(totals)
            seconds.append(time.perf_counter() - start)
        return seconds

    return train


def _windows(size: Size) -> Iterator[TokenBatch]:
    """Windows of random tokens, of four lengths in turn."""
    draw = np.random.default_rng(0)
    while True:
        for quarters in LENGTHS:
            shape = size.windows, size.length * quarters // 4 + 1
            tokens = draw.integers(VOCABULARY, size=shape, dtype=np.int32)
            weights = np.ones((shape[0], shape[1] - 1), np.float32)
            yield TokenBatch(tokens[:, :-1], tokens[:, 1:], weights)


def held_memory() -> dict[str, int]:
    """Memory of this process that is resident, and the most that ever was."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    resident = pages * os.sysconf("SC_PAGE_SIZE")
    # Linux brings the most there ever was up to date now and then only.
    most = max(resident, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
    return {"resident_bytes": resident, "peak_bytes": most}


def _faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def main() -> None:
    """Trains as many steps as each line of standard input says, and answers each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("size", choices=SIZES)
    parser.add_argument("--keep", action="store_true", help="Keep freed memory.")
    asked = parser.parse_args()
    if asked.keep and not keep_memory():
        raise SystemExit("freed memory can be kept on Linux with glibc alone")
    train = trainer(SIZES[asked.size])
    for line in sys.stdin:
        before, seconds = _faults(), train(int(line))
        answer: dict[str, Any] = {
            "step_seconds": statistics.median(seconds),
            "faults_a_step": (_faults() - before) / len(seconds),
            **held_memory(),
        }
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
