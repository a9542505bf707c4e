"""What a model costs as sentences grow: training, decoding, memory and compile time.

    python -m experiments.compare.costs --run=runs/reverse-rnn-additive --output=costs.json

The model is that of a run, with its parameters as they start: what they are changes no cost.
Source and target are as long as each other, and decoding is greedy and never stops early.
"""

import json
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from flax import nnx

from attention_jax.data.batching import pad
from attention_jax.data.tokenizer import Tokenizer
from attention_jax.data.types import EOS, Seq2SeqBatch
from attention_jax.decoding import search
from attention_jax.evaluation import budgets
from attention_jax.training.step import compile_steps
from attention_jax.training.step import start as step_start
from experiments import common, timing, trained

FLAGS = flags.FLAGS
common.define_run_flags()
common.define_task_flags()
common.define_model_flags()
common.define_training_flags()
common.define_search_flags()
common.define_device_flags()
flags.adopt_module_key_flags(common)
flags.DEFINE_list("cost_lengths", ["16", "32", "64", "128"], "Tokens of a sentence.")
flags.DEFINE_integer("cost_sentences", 64, "Sentences decoded at once, beside one.", lower_bound=1)
flags.DEFINE_integer("cost_repeats", 5, "Counted calls: median, lowest and highest.", lower_bound=1)
flags.DEFINE_string("output", None, "JSON file of the results.")


def main() -> None:
    """Measures each length, prints it, and writes all."""
    folder = trained.run_folder()
    trained.adopt_flags(folder)
    # Compile times are measured, so nothing may come from the cache.
    jax.config.update("jax_enable_compilation_cache", False)
    vocabulary = Tokenizer.load(folder / "vocabulary.json")
    rows = []
    for length in timing.lengths("cost_lengths", FLAGS.cost_lengths):
        rows.append(measure(length, vocabulary.size))
        print(json.dumps(rows[-1]), flush=True)
    if FLAGS.output:
        Path(FLAGS.output).write_text(json.dumps(rows, indent=2) + "\n")


def measure(length: int, vocabulary_size: int) -> dict[str, Any]:
    """The costs at one length."""
    build, settings = common.model_builder(vocabulary_size), common.settings()
    graphdef, state = step_start(build, settings.transform(), settings.seed)
    rows = max(1, FLAGS.tokens_per_batch // length)
    batch = random_batch(rows, length, vocabulary_size)
    step: Any = compile_steps(
        graphdef, settings.transform(), label_smoothing=settings.label_smoothing
    ).whole
    operations = budgets.flops(step, state, batch)
    start = time.perf_counter()
    compiled = step.lower(state, batch).compile()
    compile_seconds = time.perf_counter() - start
    memory = compiled.memory_analysis()
    params = jax.tree.map(jnp.copy, state.params)  # the step overwrites those of the state
    held = [state]

    def train() -> Any:
        held[0], totals = compiled(held[0], batch)
        return totals

    seconds = timing.repeated(train, FLAGS.cost_repeats).seconds
    tokens_per_second = [rows * length / x for x in seconds]
    one = decoding_seconds(graphdef, params, batch, 1)
    many = decoding_seconds(graphdef, params, batch, FLAGS.cost_sentences)
    return {
        "length": length,
        "rows": rows,
        **timing.spread("training_tokens_per_second", tokens_per_second),
        "training_flops_per_token": operations / (rows * length),
        "compile_seconds": compile_seconds,
        "temporary_bytes": getattr(memory, "temp_size_in_bytes", None),
        **timing.spread("one_sentence_seconds", one),
        **timing.spread("many_sentences_seconds", many),
        "many_sentences": FLAGS.cost_sentences,
    }


def random_batch(rows: int, length: int, vocabulary_size: int) -> Seq2SeqBatch:
    """Full rows of random tokens."""
    draw = np.random.default_rng(0)
    low = min(4, vocabulary_size - 1)
    sources, targets = draw.integers(low, vocabulary_size, (2, rows, length - 1)).tolist()
    return pad(list(zip(sources, targets, strict=True)), rows=rows, length=length)


def decoding_seconds(
    graphdef: Any, params: Any, batch: Seq2SeqBatch, sentences: int
) -> tuple[float, ...]:
    """Seconds to read so many sentences and to write as many tokens for each, call by call."""
    length = batch.source.shape[1]
    row = np.arange(sentences) % len(batch.source)
    source, mask = batch.source[row], batch.source_mask[row]

    @jax.jit
    def decode(params: Any, source: Any, mask: Any) -> Any:
        model: Any = nnx.merge(graphdef, params)

        def step(state: Any, token: Any) -> Any:
            state, logits = model.step(state, token)
            return state, logits.at[:, EOS].set(-jnp.inf)

        state = model.start(model.encode(source, mask), length)
        return search.greedy(step, state, max_length=length)

    return timing.repeated(lambda: decode(params, source, mask), FLAGS.cost_repeats).seconds


if __name__ == "__main__":
    common.launch(main)
