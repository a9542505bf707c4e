"""Measures speed, beside torch or by itself, on the same machine and in one process.

    scripts/bench --suite=training
    scripts/bench --suite=attention --output=attention.json --picture=attention.png
    scripts/bench --suite=variants --output=variants.json --picture=variants.png

All sides run in turn, so that a machine that slows down slows each. Printed are medians, and the
ratio of times pair by pair; above 1 ours is faster. Results are also written to --output as JSON
with the command and the machine. `training` is a step of training, against torch eager;
`attention` is attention itself, as `experiments.attention_speed` explains, and takes hours with
all its cases: --cases, --lengths and --dtypes choose among them. `variants` is every variant by
itself, as sequences grow, as `experiments.variants_speed` explains; about 20 minutes on 2 cores.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import numpy as np
from absl import flags
from flax import nnx

from attention_jax import variants
from attention_jax.data.batching import pad
from attention_jax.data.types import Seq2SeqBatch
from attention_jax.models import seq2seq_rnn, seq2seq_transformer
from attention_jax.nn import recurrent, transformer
from attention_jax.nn.protocols import Seq2Seq
from attention_jax.training import optimizers
from attention_jax.training.step import compile_steps
from attention_jax.training.step import start as step_start
from experiments import (
    attention_report,
    attention_speed,
    common,
    run_folders,
    variants_report,
    variants_speed,
)

FLAGS = flags.FLAGS
common.define_device_flags()
flags.adopt_module_key_flags(common)
flags.DEFINE_enum("suite", "training", ["training", "attention", "variants"], "What is measured.")
flags.DEFINE_integer(
    "repeats", None, "Counted calls of each side. Default: 15 of training, 7 of attention, of "
    "which calls that take seconds get 3, and 3 of variants, of which these get 1.", lower_bound=3
)  # fmt: skip
flags.DEFINE_string("output", None, "JSON file of the results.")
flags.DEFINE_integer("vocabulary", 10_000, "Training: tokens of the vocabulary.", lower_bound=5)
flags.DEFINE_integer("sentences", 128, "Training: sentences a batch.", lower_bound=1)
flags.DEFINE_integer(
    "length", 32, "Training: tokens of each sentence, on each side.", lower_bound=2
)
flags.DEFINE_float("dropout", 0.1, "Training: dropout rate of both sides.")
flags.DEFINE_list(
    "cases", ["all"], f"Attention: all, or some of {', '.join(attention_speed.GROUPS)}."
)
flags.DEFINE_list(
    "lengths", None, "Lengths of sequences. Default of attention: 128, 512, 1024, 2048, 4096 and "
    "8192, where the batch is what makes 2,048 tokens, and at least 1; of variants: 256, 1024, "
    "4096 and 8192, one sequence each."
)  # fmt: skip
flags.DEFINE_list("dtypes", ["float32", "bfloat16"], "Attention: types of the arrays.")
flags.DEFINE_list("short_lengths", ["16", "32", "64", "128"], "Attention: lengths of `short`.")
flags.DEFINE_list(
    "decode_lengths", ["1024", "2048", "4096", "8192", "16384", "32768"], "Attention: keys of "
    "`decode`."
)  # fmt: skip
flags.DEFINE_integer("long_length", 65_536, "Attention: length of `long`, of ours alone.")
flags.DEFINE_integer("additive_length", 2048, "Attention: longest of --lengths for `additive`.")
flags.DEFINE_float("gigabytes", 6.0, "What needs more memory is left out.")
flags.DEFINE_list("variants", ["all"], "Variants: all, or some.")
flags.DEFINE_float(
    "seconds", 10.0, "Variants: a length is left out where, by the one before it, a call might "
    "take longer."
)  # fmt: skip
flags.DEFINE_string("implementation", None, "Attention: of ours. Default: the library's choice.")
flags.DEFINE_string(
    "picture", None, "Attention, variants: file of a picture, its suffix names the format."
)

LEARNING_RATE = 1e-4


def contenders() -> dict[str, tuple[Any, Callable[[jax.Array], Seq2Seq]]]:
    """Each model's configuration, and how it is built."""
    tiny = transformer.TransformerConfig(
        vocabulary_size=FLAGS.vocabulary, dropout_rate=FLAGS.dropout
    )
    gru = recurrent.RNNConfig(vocabulary_size=FLAGS.vocabulary, dropout_rate=FLAGS.dropout)
    return {
        "transformer 4+4 layers, d 128, ffn 256, 4 heads": (
            tiny,
            lambda key: seq2seq_transformer.Seq2SeqTransformer(tiny, rngs=nnx.Rngs(key)),
        ),
        "gru d 256, additive attention, input feeding": (
            gru,
            lambda key: seq2seq_rnn.Seq2SeqRNN(gru, rngs=nnx.Rngs(key)),
        ),
    }


def random_batch() -> Seq2SeqBatch:
    """Full rows of random tokens."""
    draw = np.random.default_rng(0)
    shape = (2, FLAGS.sentences, FLAGS.length - 1)
    sources, targets = draw.integers(4, FLAGS.vocabulary, shape).tolist()
    pairs = list(zip(sources, targets, strict=True))
    return pad(pairs, rows=FLAGS.sentences, length=FLAGS.length)


def our_step(build: Callable[[jax.Array], Seq2Seq], batch: Seq2SeqBatch) -> Callable[[], float]:
    """One training step of ours, as `training.fit` takes it; waits for its loss."""
    transform = optimizers.optimizer("adam", learning_rate=LEARNING_RATE)
    graphdef, state = step_start(build, transform, seed=0)
    whole = compile_steps(graphdef, transform, label_smoothing=0.1).whole
    held = [state]

    def step() -> float:
        held[0], totals = whole(held[0], batch)
        return float(totals.loss)

    return step


def alternate(ours: Callable[[], float], theirs: Callable[[], float]) -> dict[str, float]:
    """Times both in turn."""
    first, _ = timed(ours)
    timed(theirs)
    rows = [(timed(ours)[0], timed(theirs)[0]) for _ in range(FLAGS.repeats or 15)]
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


def measure_training() -> None:
    """Measures steps of training, prints, writes."""
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
    write({"environment": run_folders.environment(), "suite": FLAGS.suite, "results": results})


def measure_attention() -> None:
    """Measures attention, row by row: prints each, and writes all there are."""
    settings = attention_settings()
    # Compile times are measured, so nothing may come from the cache.
    jax.config.update("jax_enable_compilation_cache", False)
    peers = attention_peers()
    environment = run_folders.environment() | {"torch": peers and peers.torch.__version__}
    jobs, rows = attention_speed.jobs(settings), []
    efforts = [attention_speed.effort(job) for job in jobs]
    print(attention_report.header(), flush=True)
    start = time.perf_counter()
    for number, job in enumerate(jobs, 1):
        rows.append(attention_speed.measure(job, settings, peers))
        pace = (time.perf_counter() - start) / sum(efforts[:number])
        left = pace * sum(efforts[number:]) / 60
        print(attention_report.line(rows[-1], number=number, count=len(jobs), minutes_left=left))
        for reason in attention_report.reasons(rows[-1]):
            print(f"{'':<16}{reason}")
        sys.stdout.flush()
        found = attention_report.summary(rows)
        write({"environment": environment, "suite": FLAGS.suite, "summary": found, "rows": rows})
        if FLAGS.picture:
            attention_report.picture(rows, FLAGS.picture)
    print(json.dumps(found, indent=2))


def attention_settings() -> attention_speed.Settings:
    """What is measured, as flags say."""
    cases, groups = FLAGS.cases, attention_speed.GROUPS
    return attention_speed.Settings(
        cases=groups if cases == ["all"] else among("cases", cases, groups),
        lengths=integers("lengths", default=(128, 512, 1024, 2048, 4096, 8192)),
        dtypes=among("dtypes", FLAGS.dtypes, ("float32", "bfloat16")),
        short_lengths=integers("short_lengths"),
        decode_lengths=integers("decode_lengths"),
        long_length=FLAGS.long_length,
        additive_length=FLAGS.additive_length,
        repeats=FLAGS.repeats or 7,
        gigabytes=FLAGS.gigabytes,
        implementation=FLAGS.implementation,
    )


def among(flag: str, values: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    """The values, where all are known."""
    if not values or not set(values) <= set(names):
        raise ValueError(f"`--{flag}` must be some of {', '.join(names)}; got {','.join(values)}.")
    return tuple(values)


def integers(flag: str, *, default: tuple[int, ...] = ()) -> tuple[int, ...]:
    """A flag's list of lengths, as numbers."""
    values: Any = FLAGS[flag].value
    if values is None:
        return default
    if not values or not all(value.isdigit() and int(value) for value in values):
        raise ValueError(f"`--{flag}` must be lengths above 0; got {','.join(values)}.")
    return tuple(int(value) for value in values)


def measure_variants() -> None:
    """Measures variant by variant: prints each, and writes all there are."""
    known = variants.names()
    settings = variants_speed.Settings(
        names=known if FLAGS.variants == ["all"] else among("variants", FLAGS.variants, known),
        lengths=integers("lengths", default=(256, 1024, 4096, 8192)),
        repeats=FLAGS.repeats or 3,
        gigabytes=FLAGS.gigabytes,
        seconds=FLAGS.seconds,
    )
    # Compile times are measured, so nothing may come from the cache.
    jax.config.update("jax_enable_compilation_cache", False)
    environment, rows = run_folders.environment(), []
    print(variants_report.header(settings.lengths), flush=True)
    for number, name in enumerate(settings.names, 1):
        own = list(variants_speed.measure(name, settings))
        rows += own
        for direction in variants_speed.DIRECTIONS:
            part = [row for row in own if row["direction"] == direction]
            print(variants_report.line(part, progress=f"{number}/{len(settings.names)}"))
            for reason in variants_report.reasons(part):
                print(f"{'':<8}{reason}")
        sys.stdout.flush()
        found = variants_speed.growth(rows)
        write({"environment": environment, "suite": FLAGS.suite, "growth": found, "rows": rows})
        if FLAGS.picture:
            variants_report.picture(rows, FLAGS.picture)


def attention_peers() -> ModuleType | None:
    """The sides in torch; None where it is not installed."""
    try:
        from experiments import attention_peers as peers
    except ImportError:
        print("torch is not installed, so it is left out: pip install -e .[peers] adds it.")
        return None
    peers.use_all_cores()
    return peers


def write(results: dict[str, Any]) -> None:
    """Replaces the file of results, where one is asked for."""
    if FLAGS.output:
        path = Path(FLAGS.output)
        unfinished = path.with_name(path.name + ".unfinished")
        unfinished.write_text(json.dumps(results, indent=2) + "\n")
        unfinished.replace(path)


def main() -> None:
    """Measures what --suite names."""
    suites = {
        "training": measure_training,
        "attention": measure_attention,
        "variants": measure_variants,
    }
    suites[FLAGS.suite]()


if __name__ == "__main__":
    common.launch(main)
