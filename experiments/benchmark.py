"""Measures speed beside torch, eager, on the same machine and in one process.

    scripts/bench --suite=training

Both sides run in turn, a step each, so that a machine that slows down slows both. Printed are
medians, and the ratio of times pair by pair; above 1 ours is faster. Results are also written to
--output as JSON with the command and the machine.
"""

import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags
from flax import nnx

from attention_jax import optimizers, training_step
from attention_jax.batches import pad
from attention_jax.models import rnn, transformer
from attention_jax.types import Batch, Seq2Seq
from experiments import common

FLAGS = flags.FLAGS
common.define_device_flags()
flags.adopt_module_key_flags(common)
flags.DEFINE_enum("suite", "training", ["training"], "What is measured.")
flags.DEFINE_integer("repeats", 15, "Counted steps of each side.", lower_bound=3)
flags.DEFINE_integer("vocabulary", 10_000, "Tokens of the vocabulary.", lower_bound=5)
flags.DEFINE_integer("sentences", 128, "Sentences a batch.", lower_bound=1)
flags.DEFINE_integer("length", 32, "Tokens of each sentence, on each side.", lower_bound=2)
flags.DEFINE_float("dropout", 0.1, "Dropout rate of both sides.")
flags.DEFINE_string("output", None, "JSON file of the results.")

LEARNING_RATE = 1e-4


def contenders() -> dict[str, tuple[Any, Callable[[jax.Array], Seq2Seq]]]:
    """Each model's configuration, and how it is built."""
    tiny = transformer.TransformerConfig(
        vocabulary_size=FLAGS.vocabulary, dropout_rate=FLAGS.dropout
    )
    gru = rnn.RNNConfig(vocabulary_size=FLAGS.vocabulary, dropout_rate=FLAGS.dropout)
    return {
        "transformer 4+4 layers, d 128, ffn 256, 4 heads": (
            tiny,
            lambda key: transformer.Transformer(tiny, rngs=nnx.Rngs(key)),
        ),
        "gru d 256, additive attention, input feeding": (
            gru,
            lambda key: rnn.RNN(gru, rngs=nnx.Rngs(key)),
        ),
    }


def random_batch() -> Batch:
    """Full rows of random tokens."""
    draw = np.random.default_rng(0)
    shape = (2, FLAGS.sentences, FLAGS.length - 1)
    sources, targets = draw.integers(4, FLAGS.vocabulary, shape).tolist()
    pairs = list(zip(sources, targets, strict=True))
    return pad(pairs, rows=FLAGS.sentences, length=FLAGS.length)


def our_step(build: Callable[[jax.Array], Seq2Seq], batch: Batch) -> Callable[[], float]:
    """One training step of ours, as `training.fit` takes it; waits for its loss."""
    transform = optimizers.optimizer("adam", learning_rate=LEARNING_RATE)
    graphdef, state = training_step.start(build, transform, seed=0)
    whole = training_step.compile_steps(graphdef, transform, label_smoothing=0.1).whole
    held = [state]

    def step() -> float:
        held[0], totals = whole(held[0], batch)
        return float(totals.loss)

    return step


def alternate(ours: Callable[[], float], theirs: Callable[[], float]) -> dict[str, float]:
    """Times both in turn."""
    first, _ = timed(ours)
    timed(theirs)
    rows = [(timed(ours)[0], timed(theirs)[0]) for _ in range(FLAGS.repeats)]
    ratios = sorted(theirs / ours for ours, theirs in rows)
    tokens = FLAGS.sentences * FLAGS.length
    ours_median, theirs_median = (statistics.median(side) for side in zip(*rows, strict=True))
    return {
        "first_step_seconds": first,
        "ours_tokens_per_second": tokens / ours_median,
        "torch_tokens_per_second": tokens / theirs_median,
        "ratio": statistics.median(ratios),
        "ratio_lowest": ratios[0],
        "ratio_highest": ratios[-1],
    }


def timed(step: Callable[[], float]) -> tuple[float, float]:
    """Seconds of one call, and what it returned."""
    start = time.perf_counter()
    value = step()
    return time.perf_counter() - start, value


def main() -> None:
    """Measures, prints, writes."""
    try:
        from experiments import peers
    except ImportError as error:
        raise ImportError(
            "the benchmark needs torch: pip install -e .[peers], or run scripts/bench"
        ) from error
    batch, results = random_batch(), {}
    print(f"{'':<50}{'ours tok/s':>12}{'torch tok/s':>13}{'ratio':>7}  spread")
    for name, (config, build) in contenders().items():
        theirs = peers.training_step(config, batch, learning_rate=LEARNING_RATE)
        row = alternate(our_step(build, batch), theirs)
        results[name] = row
        print(
            f"{name:<50}{row['ours_tokens_per_second']:>12,.0f}"
            f"{row['torch_tokens_per_second']:>13,.0f}{row['ratio']:>7.2f}"
            f"  {row['ratio_lowest']:.2f} to {row['ratio_highest']:.2f}"
            f"   first step {row['first_step_seconds']:.1f} s"
        )
    if FLAGS.output:
        whole = {"environment": common.environment(), "suite": FLAGS.suite, "results": results}
        Path(FLAGS.output).write_text(json.dumps(whole, indent=2) + "\n")


if __name__ == "__main__":
    common.launch(main)
