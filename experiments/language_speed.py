"""Training time of the language model beside the same model in torch, in one process.

    python -m experiments.language_speed --flagfile=experiments/presets/tiny_shakespeare.flags \
        --output=experiments/results/language_speed.json

The two train in turn, --block updates at a time, on the same windows, so that a machine that slows
down slows both. Printed are seconds an update, median, lowest and highest over the blocks, and the
ratio block by block; above 1 ours is faster. torch is eager, as nanoGPT's setting for CPUs has it
(--compile=False). Both wait for the loss of each update. With --repeats=100 each side makes the
preset's 2,000 updates.
"""

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from absl import flags

from attention_jax.data.text_windows import RandomWindows
from attention_jax.data.types import TokenBatch
from attention_jax.training import loop, objectives
from experiments import common, run_folders, texts, timing

FLAGS = flags.FLAGS
common.define_run_flags()
common.define_data_flags()
common.define_model_flags()
common.define_training_flags()
common.define_device_flags()
texts.define_flags()
flags.adopt_module_key_flags(common)
flags.adopt_module_key_flags(texts)
flags.DEFINE_integer("block", 20, "Updates of one side before the other's turn.", lower_bound=1)
flags.DEFINE_integer("repeats", 25, "Counted blocks of each side.", lower_bound=1)
flags.DEFINE_string("output", None, "JSON file of the results.")

Step = Callable[[TokenBatch], float]


def main() -> None:
    """Measures, prints, writes."""
    try:
        from experiments import language_peers
    except ImportError as error:
        raise ImportError("the comparison needs torch: pip install -e .[peers]") from error
    text = texts.load()
    config: Any = common.model_config(text.vocabulary.size, max_length=FLAGS.context)
    size, theirs = language_peers.training(config, common.settings())
    own_size, ours = our_training(texts.builder(text.vocabulary.size))
    if size != own_size:
        raise ValueError(f"both sides must have as many parameters; ours {own_size}, torch {size}.")
    windows = texts.training_batches(text)
    found = {"parameters": size, "block": FLAGS.block} | alternate(ours, theirs, windows)
    environment = run_folders.environment() | {"torch": language_peers.torch.__version__}
    print(json.dumps({name: x for name, x in found.items() if name != "blocks"}, indent=2))
    if FLAGS.output:
        written = {"environment": environment, "results": found}
        Path(FLAGS.output).write_text(json.dumps(written, indent=2) + "\n")


def our_training(build: Any) -> tuple[int, Step]:
    """How many parameters there are, and an update as `training.fit` makes it."""
    state, update = loop.stepper(build, common.settings(), objectives.next_token)
    held = [state]

    def step(window: TokenBatch) -> float:
        held[0], totals = update(held[0], window)
        return float(totals.loss / totals.tokens)

    return sum(leaf.size for leaf in jax.tree.leaves(state.params)), step


def alternate(ours: Step, theirs: Step, windows: RandomWindows) -> dict[str, Any]:
    """Both sides in turn, on the same windows; the first update of each is apart."""
    sides = {"ours": ours, "torch": theirs}
    first = {name: timed(step, [windows[0]])[0] for name, step in sides.items()}
    blocks = []
    for number in range(FLAGS.repeats):
        batch = [windows[1 + number * FLAGS.block + i] for i in range(FLAGS.block)]
        row = {}
        # Who begins changes from block to block.
        for name in list(sides)[:: 1 if number % 2 else -1]:
            seconds, row[f"{name}_loss"] = timed(sides[name], batch)
            row[f"{name}_seconds_an_update"] = seconds / FLAGS.block
        blocks.append(row)
    own, other = (f"{name}_seconds_an_update" for name in sides)
    ratios = [row[other] / row[own] for row in blocks]
    return {
        **{f"{name}_first_update_seconds": seconds for name, seconds in first.items()},
        **timing.spread(own, [row[own] for row in blocks]),
        **timing.spread(other, [row[other] for row in blocks]),
        **timing.spread("ratio", ratios),
        "updates": FLAGS.block * FLAGS.repeats,
        "ours_last_loss": blocks[-1]["ours_loss"],
        "torch_last_loss": blocks[-1]["torch_loss"],
        "blocks": blocks,
    }


def timed(step: Step, batch: list[TokenBatch]) -> tuple[float, float]:
    """Seconds of updates, and the mean of their losses."""
    start = time.perf_counter()
    losses = [step(window) for window in batch]
    return time.perf_counter() - start, statistics.mean(losses)


if __name__ == "__main__":
    common.launch(main)
