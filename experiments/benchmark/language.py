"""Training time of the language model beside the same model in PyTorch, in one process.

    python -m experiments.benchmark.language --flagfile=experiments/presets/tiny_shakespeare.flags \
        --output=experiments/results/language_speed.json

The two train in turn, --block updates at a time, on the same windows, so that a machine that slows
down slows both. Printed are seconds an update, median, lowest and highest over the blocks, and the
ratio block by block; above 1 ours is faster. torch is eager, as nanoGPT's setting for CPUs has it
(--compile=False). Both wait for the loss of each update. With --repeats=100 each side makes the
preset's 2,000 updates.
"""

import json
import statistics
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, NamedTuple

import jax

from attention_jax.core.files import write_whole
from attention_jax.data.text_windows import RandomWindows
from attention_jax.data.types import TokenBatch
from attention_jax.training import loop, objectives
from attention_jax.training.config import TrainConfig
from experiments.common import flags, run_folder, timing
from experiments.common.experiment import Build, find
from experiments.common.flags import Flag

Step = Callable[[TokenBatch], float]


class LanguageBenchmark(NamedTuple):
    """A measurement of training beside PyTorch.

    Attributes:
      block: updates of one side before the other's turn.
      repeats: counted blocks of each side.
      output: JSON file of the results.
    """

    block: Annotated[int, Flag(low=1)] = 20
    repeats: Annotated[int, Flag(low=1)] = 25
    output: str | None = None


def main() -> None:
    """Trains both in turn, prints the times, and writes them to --output."""
    try:
        from experiments.benchmark import language_torch
    except ImportError as error:
        raise ImportError("the comparison needs torch: pip install -e .[peers]") from error
    own, experiment = flags.config_from_flags(LanguageBenchmark()), find("language")
    config = flags.config_from_flags(experiment.config)
    text = experiment.load(config)
    known = experiment.learn(config, text, None)
    network = config.model.network(known.size, max_length=config.data.context)
    settings = config.training.settings(config.run.seed)
    size, theirs = language_torch.training(network, settings)
    own_size, ours = our_training(experiment.build(config, known), settings)
    if size != own_size:
        raise ValueError(f"both sides must have as many parameters; ours {own_size}, torch {size}.")
    windows: Any = experiment.batches(config, text, known)
    found = {"parameters": size, "block": own.block} | measure(ours, theirs, windows, own)
    print(json.dumps({name: x for name, x in found.items() if name != "blocks"}, indent=2))
    if own.output:
        machine = run_folder.environment() | {"torch": language_torch.torch.__version__}
        written = {"environment": machine, "results": found}
        write_whole(own.output, json.dumps(written, indent=2) + "\n")


def our_training(build: Build, settings: TrainConfig) -> tuple[int, Step]:
    """How many parameters there are, and an update as `training.fit` makes it."""
    state, update = loop.stepper(build, settings, objectives.next_token)
    held = [state]

    def step(window: TokenBatch) -> float:
        held[0], totals = update(held[0], window)
        return float(totals.loss / totals.tokens)

    return sum(leaf.size for leaf in jax.tree.leaves(state.params)), step


def measure(
    ours: Step, theirs: Step, windows: RandomWindows, config: LanguageBenchmark
) -> dict[str, Any]:
    """Both sides in turn, a block of updates each, on the same windows; first updates are apart."""
    sides, blocks = {"ours": ours, "torch": theirs}, _blocks(windows, config)
    losses: dict[str, list[list[float]]] = {name: [] for name in sides}

    def train(name: str) -> None:
        batch = blocks[len(losses[name])]
        losses[name].append([sides[name](window) for window in batch])

    times = timing.interleaved({name: partial(train, name) for name in sides}, config.repeats)
    updates = {name: [x / config.block for x in own.seconds] for name, own in times.items()}
    rows = [
        {f"{name}_seconds_an_update": updates[name][number] for name in sides}
        | {f"{name}_loss": statistics.mean(losses[name][1 + number]) for name in sides}
        for number in range(config.repeats)
    ]
    ratios = [theirs / ours for ours, theirs in zip(*updates.values(), strict=True)]
    return {
        **{f"{name}_first_update_seconds": own.first for name, own in times.items()},
        **timing.spread("ours_seconds_an_update", updates["ours"]),
        **timing.spread("torch_seconds_an_update", updates["torch"]),
        **timing.spread("ratio", ratios),
        "updates": config.block * config.repeats,
        "ours_last_loss": rows[-1]["ours_loss"],
        "torch_last_loss": rows[-1]["torch_loss"],
        "blocks": rows,
    }


def _blocks(windows: RandomWindows, config: LanguageBenchmark) -> list[list[TokenBatch]]:
    """Windows drawn before anything is timed: one that does not count, then those of each block."""
    starts = [1 + number * config.block for number in range(config.repeats)]
    counted = [[windows[start + i] for i in range(config.block)] for start in starts]
    return [[windows[0]], *counted]


if __name__ == "__main__":
    flags.launch(main, LanguageBenchmark(), find("language").config)
