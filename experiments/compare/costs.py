"""Costs of a translation model as sentences grow: training, decoding, memory and compile time.

    python -m experiments.compare.costs --run=runs/reverse-rnn-additive --output=costs.json

The model is that of a run, with its parameters as they start: their values change no cost.
Source and target are as long as each other, and decoding is greedy and never stops early.
"""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from attention_jax.core.files import write_whole
from attention_jax.core.types import Params
from attention_jax.data.batching import pad
from attention_jax.data.tokenizer import Tokenizer
from attention_jax.data.types import EOS, Seq2SeqBatch
from attention_jax.decoding import search
from attention_jax.evaluation import budgets
from attention_jax.training.config import TrainConfig
from attention_jax.training.step import TrainState, compile_steps
from attention_jax.training.step import start as step_start
from experiments.common import flags, low_rank, run_folder, timing
from experiments.common.config import DeviceFlags
from experiments.common.experiment import Build, Experiment, find
from experiments.common.flags import Flag
from experiments.common.load_run import configure


class CostConfig(NamedTuple):
    """A measurement of costs.

    Attributes:
      run: folder of the run.
      cost_lengths: tokens of a sentence.
      cost_sentences: sentences decoded at once, beside one.
      cost_repeats: counted calls: median, lowest and highest.
      output: JSON file of the results.
    """

    run: str | None = None
    cost_lengths: Annotated[tuple[str, ...], Flag(listed=True)] = ("16", "32", "64", "128")
    cost_sentences: Annotated[int, Flag(low=1)] = 64
    cost_repeats: Annotated[int, Flag(low=1)] = 5
    output: str | None = None


def main(arguments: Sequence[str]) -> None:
    """Measures each length, prints it, and writes all."""
    own = flags.config_from_flags(CostConfig())
    if not own.run:
        raise ValueError("`--run` must name the folder of a run; got none.")
    folder = Path(own.run)
    experiment = find(run_folder.read_record(folder).experiment)
    if not experiment.has_costs:
        raise ValueError(
            f"`--run` must be of translations; {folder} is of experiments.{experiment.name}."
        )
    config = configure(experiment, folder, arguments, beside=(own,))
    # Compile times are measured, so nothing may come from the cache.
    jax.config.update("jax_enable_compilation_cache", False)
    vocabulary = experiment.recall(config, folder)
    rows, lengths = [], timing.lengths("cost_lengths", own.cost_lengths)
    most = longest(experiment.build(config, vocabulary))
    within = [x for x in lengths if most is None or x <= most]
    if len(within) < len(lengths):
        beyond = ",".join(str(x) for x in lengths if x not in within)
        print(f"--cost_lengths={beyond} are left out: {folder} has {most} learned positions")
    if not within:
        raise ValueError(
            f"`--cost_lengths` must have a length up to {most}, the learned positions of {folder}; "
            f"got {','.join(own.cost_lengths)}. Give shorter ones."
        )
    for length in within:
        rows.append(measure(experiment, config, vocabulary, length, own))
        print(json.dumps(rows[-1]), flush=True)
    if own.output:
        write_whole(own.output, json.dumps(rows, indent=2) + "\n")


def measure(
    experiment: Experiment, config: Any, vocabulary: Tokenizer, length: int, own: CostConfig
) -> dict[str, Any]:
    """The costs at one length."""
    settings, build = low_rank.trained(config, experiment.build(config, vocabulary))
    graphdef, state = step_start(build, settings.transform(), settings.seed)
    params = jax.tree.map(jnp.copy, state.params)  # a step overwrites those of the state
    rows = max(1, flags.values(config)["tokens_per_batch"] // length)
    batch = random_batch(rows, length, vocabulary.size)
    of_training = training_costs(graphdef, state, settings, batch, own.cost_repeats)
    one, many = (
        decoding_times(graphdef, params, batch, sentences, own.cost_repeats)
        for sentences in (1, own.cost_sentences)
    )
    return {
        "length": length,
        "rows": rows,
        **of_training,
        **timing.spread("one_sentence_seconds", one.seconds),
        **timing.spread("many_sentences_seconds", many.seconds),
        "many_sentences": own.cost_sentences,
    }


def longest(build: Build) -> int | None:
    """The learned positions of a model; None where others have no end."""
    config: Any = getattr(nnx.eval_shape(lambda: build(jax.random.key(0))), "config", None)
    sides = config if isinstance(config, tuple) and not hasattr(config, "width") else (config,)
    learned = [x.max_length for x in sides if getattr(x, "positions", None) == "learned"]
    return min(learned, default=None)


def training_costs(
    graphdef: nnx.GraphDef,
    state: TrainState,
    settings: TrainConfig,
    batch: Seq2SeqBatch,
    repeats: int,
) -> dict[str, Any]:
    """Speed, operations, compile time and temporary memory of an update."""
    tokens = batch.source.size
    step: Any = compile_steps(
        graphdef, settings.transform(), label_smoothing=settings.label_smoothing
    ).whole
    operations = budgets.flops(step, state, batch)
    start = time.perf_counter()
    compiled = step.lower(state, batch).compile()
    compile_seconds = time.perf_counter() - start
    held = [state]

    def train() -> Any:
        held[0], totals = compiled(held[0], batch)
        return totals

    times = timing.repeated(train, repeats)
    return {
        **timing.spread("training_tokens_per_second", [tokens / x for x in times.seconds]),
        "training_flops_per_token": operations / tokens,
        "compile_seconds": compile_seconds,
        "temporary_bytes": getattr(compiled.memory_analysis(), "temp_size_in_bytes", None),
    }


def random_batch(rows: int, length: int, vocabulary_size: int) -> Seq2SeqBatch:
    """Full rows of random tokens."""
    draw = np.random.default_rng(0)
    low = min(4, vocabulary_size - 1)
    sources, targets = draw.integers(low, vocabulary_size, (2, rows, length - 1)).tolist()
    return pad(list(zip(sources, targets, strict=True)), rows=rows, length=length)


def decoding_times(
    graphdef: nnx.GraphDef, params: Params, batch: Seq2SeqBatch, sentences: int, repeats: int
) -> timing.Times:
    """Times of reading so many sentences and writing as many tokens for each."""
    length = batch.source.shape[1]
    row = np.arange(sentences) % len(batch.source)
    source, mask = batch.source[row], batch.source_mask[row]

    @jax.jit
    def decode(params: Params, source: jax.Array, mask: jax.Array) -> Any:
        model: Any = nnx.merge(graphdef, params)

        def step(state: Any, token: jax.Array) -> Any:
            state, logits = model.step(state, token)
            return state, logits.at[:, EOS].set(-jnp.inf)

        state = model.start(model.encode(source, mask), length)
        return search.greedy(step, state, max_length=length)

    return timing.repeated(lambda: decode(params, source, mask), repeats)


if __name__ == "__main__":
    flags.launch(main, CostConfig(), DeviceFlags(), more=True)
