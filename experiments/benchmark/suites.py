"""Suites of the benchmark: each measures row by row, prints the rows, and writes all there are."""

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import jax

from attention_jax.variants import names
from experiments import run_folders
from experiments.benchmark import (
    attention,
    attention_cases,
    attention_report,
    seq2seq,
    variants,
    variants_report,
)

Numbers = Sequence[str] | None


class Options(NamedTuple):
    """The flags of `experiments.benchmark`, which explain each field."""

    repeats: int | None
    output: str | None
    vocabulary: int
    sentences: int
    length: int
    dropout: float
    cases: Sequence[str]
    lengths: Numbers
    dtypes: Sequence[str]
    short_lengths: Numbers
    decode_lengths: Numbers
    long_length: int
    additive_length: int
    gigabytes: float
    variants: Sequence[str]
    seconds: float
    implementation: str | None
    picture: str | None


def measure_training(options: Options) -> None:
    """Training steps of the encoder-decoder models."""
    try:
        from experiments.benchmark import seq2seq_torch
    except ImportError as error:
        raise ImportError(
            "the benchmark needs torch: pip install -e .[peers], or run scripts/bench"
        ) from error
    settings = seq2seq.Settings(
        options.vocabulary,
        options.sentences,
        options.length,
        options.dropout,
        options.repeats or 15,
    )
    batch, results = seq2seq.random_batch(settings), {}
    print(f"{'':<50}{'ours tok/s':>12}{'torch tok/s':>13}{'ratio':>7}  spread")
    for name, config, build in seq2seq.candidates(settings):
        theirs = seq2seq_torch.training_step(config, batch, learning_rate=seq2seq.LEARNING_RATE)
        row = seq2seq.compare(seq2seq.training_step(build, batch), theirs, settings)
        results[name] = row
        print(
            f"{name:<50}{row['ours_tokens_per_second']:>12,.0f}"
            f"{row['torch_tokens_per_second']:>13,.0f}{row['ratio']:>7.2f}"
            f"  {row['ratio_lowest']:.2f} to {row['ratio_highest']:.2f}"
            f"   first step {row['first_step_seconds']:.1f} s"
        )
    found = {"environment": run_folders.environment(), "suite": "training", "results": results}
    write(found, options.output)


def measure_attention(options: Options) -> None:
    """Attention, case by case, with the time that is left."""
    settings = attention_settings(options)
    # Compile times are measured, so nothing may come from the cache.
    jax.config.update("jax_enable_compilation_cache", False)
    peers = attention_peers()
    environment = run_folders.environment() | {"torch": peers and peers.torch.__version__}
    jobs, rows, found = attention.jobs(settings), [], {}
    efforts = [attention.effort(job) for job in jobs]
    print(attention_report.header(), flush=True)
    start = time.perf_counter()
    for number, job in enumerate(jobs, 1):
        rows.append(attention.measure(job, settings, peers))
        pace = (time.perf_counter() - start) / sum(efforts[:number])
        left = pace * sum(efforts[number:]) / 60
        print(attention_report.line(rows[-1], number=number, count=len(jobs), minutes_left=left))
        for reason in attention_report.reasons(rows[-1]):
            print(f"{'':<16}{reason}")
        sys.stdout.flush()
        found = attention_report.summary(rows)
        written = {"environment": environment, "suite": "attention", "summary": found, "rows": rows}
        write(written, options.output)
        if options.picture:
            attention_report.plot(rows, options.picture)
    print(json.dumps(found, indent=2))


def attention_settings(options: Options) -> attention.Settings:
    """The rows of `attention`.

    Raises:
      ValueError: a case or a dtype is unknown, or a length is no number.
    """
    cases, groups = options.cases, attention_cases.GROUPS
    default = (128, 512, 1024, 2048, 4096, 8192)
    return attention.Settings(
        cases=groups if cases == ["all"] else among("cases", cases, groups),
        lengths=integers("lengths", options.lengths, default=default),
        dtypes=among("dtypes", options.dtypes, ("float32", "bfloat16")),
        short_lengths=integers("short_lengths", options.short_lengths),
        decode_lengths=integers("decode_lengths", options.decode_lengths),
        long_length=options.long_length,
        additive_length=options.additive_length,
        repeats=options.repeats or 7,
        gigabytes=options.gigabytes,
        implementation=options.implementation,
    )


def attention_peers() -> ModuleType | None:
    """The sides in PyTorch; None where it is not installed."""
    try:
        from experiments.benchmark import attention_torch as peers
    except ImportError:
        print("torch is not installed, so it is left out: pip install -e .[peers] adds it.")
        return None
    peers.use_all_cores()
    return peers


def measure_variants(options: Options) -> None:
    """Every variant by itself, as sequences grow."""
    settings = variants_settings(options)
    # Compile times are measured, so nothing may come from the cache.
    jax.config.update("jax_enable_compilation_cache", False)
    environment, rows = run_folders.environment(), []
    print(variants_report.header(settings.lengths), flush=True)
    for number, name in enumerate(settings.names, 1):
        own = list(variants.measure(name, settings))
        rows += own
        for direction in variants.DIRECTIONS:
            part = [row for row in own if row["direction"] == direction]
            print(variants_report.line(part, progress=f"{number}/{len(settings.names)}"))
            for reason in variants_report.reasons(part):
                print(f"{'':<8}{reason}")
        sys.stdout.flush()
        found = variants.growth(rows)
        written = {"environment": environment, "suite": "variants", "growth": found, "rows": rows}
        write(written, options.output)
        if options.picture:
            variants_report.plot(rows, options.picture)


def variants_settings(options: Options) -> variants.Settings:
    """The rows of `variants`.

    Raises:
      ValueError: a variant is unknown, or a length is no number.
    """
    known, asked = names(), options.variants
    return variants.Settings(
        names=known if asked == ["all"] else among("variants", asked, known),
        lengths=integers("lengths", options.lengths, default=(256, 1024, 4096, 8192)),
        repeats=options.repeats or 3,
        gigabytes=options.gigabytes,
        seconds=options.seconds,
    )


def among(flag: str, values: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """The values of a flag, where all are known.

    Raises:
      ValueError: one is not, or there is none.
    """
    if not values or not set(values) <= set(known):
        raise ValueError(f"`--{flag}` must be some of {', '.join(known)}; got {','.join(values)}.")
    return tuple(values)


def integers(flag: str, values: Numbers, *, default: tuple[int, ...] = ()) -> tuple[int, ...]:
    """The lengths of a flag, as numbers; `default` where it is not given.

    Raises:
      ValueError: one is no number above 0, or there is none.
    """
    if values is None:
        return default
    if not values or not all(value.isdigit() and int(value) for value in values):
        raise ValueError(f"`--{flag}` must be lengths above 0; got {','.join(values)}.")
    return tuple(int(value) for value in values)


def write(results: dict[str, Any], output: str | None) -> None:
    """Replaces the file of results, where one is asked for."""
    if output:
        path = Path(output)
        unfinished = path.with_name(path.name + ".unfinished")
        unfinished.write_text(json.dumps(results, indent=2) + "\n")
        unfinished.replace(path)


SUITES: dict[str, Callable[[Options], None]] = {
    "training": measure_training,
    "attention": measure_attention,
    "variants": measure_variants,
}
