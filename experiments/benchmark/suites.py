"""Suites of the benchmark: each measures row by row, prints the rows, and writes all there are."""

import json
import sys
import time
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Annotated, Any, Literal, NamedTuple

import jax

from attention_jax.core.files import write_whole
from attention_jax.variants import names
from experiments.benchmark import (
    attention,
    attention_cases,
    attention_pairs,
    attention_report,
    decoding,
    seq2seq,
    variants,
    variants_report,
)
from experiments.common.flags import Flag
from experiments.common.run_folder import environment

Texts = tuple[str, ...]
_LISTED = Flag(listed=True)


class BenchmarkConfig(NamedTuple):
    """A benchmark.

    Attributes:
      suite: what is measured.
      repeats: counted calls of each side. Default: 15 of training, 7 of attention, of which calls
        that take seconds get 3, and 3 of decoding and of variants, of which these get 1.
      output: JSON file of the results.
      vocabulary: training, decoding: tokens of the vocabulary.
      sentences: training: sentences a batch.
      length: training: tokens of each sentence, on each side.
      dropout: training: dropout rate of both sides.
      cases: attention: all, or some of full, causal, window, alibi, softcap, documents, additive,
        cosine, gqa, short, decode, memory and long; or pairs, as
        `experiments.benchmark.attention_pairs` explains.
      lengths: lengths of sequences. Default of attention: 128, 512, 1024, 2048, 4096 and 8192,
        where the batch is what makes 2,048 tokens, and at least 1; of decoding: 32 and 128 tokens;
        of variants: 256, 1024, 4096 and 8192, one sequence each.
      dtypes: attention: types of the arrays.
      short_lengths: attention: lengths of `short`.
      decode_lengths: attention: keys of `decode`.
      long_length: attention: length of `long`, of ours alone.
      additive_length: attention: longest of --lengths for `additive`.
      batches: decoding: sentences a batch.
      beams: decoding: beams of the search; 1 is greedy.
      gigabytes: what needs more memory is left out.
      variants: variants: all, or some.
      seconds: variants: a length is left out where, by the one before it, a call might take longer.
      implementation: attention: ours, by name. Default: the library's choice.
      picture: attention, variants: file of a figure, its suffix names the format.
    """

    suite: Literal["training", "attention", "decoding", "variants"] = "training"
    repeats: Annotated[int | None, Flag(low=3)] = None
    output: str | None = None
    vocabulary: Annotated[int, Flag(low=5)] = 10_000
    sentences: Annotated[int, Flag(low=1)] = 128
    length: Annotated[int, Flag(low=2)] = 32
    dropout: float = 0.1
    cases: Annotated[Texts, _LISTED] = ("all",)
    lengths: Annotated[Texts | None, _LISTED] = None
    dtypes: Annotated[Texts, _LISTED] = ("float32", "bfloat16")
    short_lengths: Annotated[Texts, _LISTED] = ("16", "32", "64", "128")
    decode_lengths: Annotated[Texts, _LISTED] = ("1024", "2048", "4096", "8192", "16384", "32768")
    long_length: int = 65_536
    additive_length: int = 2048
    batches: Annotated[Texts, _LISTED] = ("1", "16", "64")
    beams: Annotated[Texts, _LISTED] = ("1", "5")
    gigabytes: float = 6.0
    variants: Annotated[Texts, _LISTED] = ("all",)
    seconds: float = 10.0
    implementation: str | None = None
    picture: str | None = None


def measure_training(config: BenchmarkConfig) -> None:
    """Training steps of the encoder-decoder models."""
    try:
        from experiments.benchmark import seq2seq_torch
    except ImportError as error:
        raise ImportError(
            "the benchmark needs torch: pip install -e .[peers], or run scripts/bench"
        ) from error
    settings = seq2seq.Settings(
        config.vocabulary,
        config.sentences,
        config.length,
        config.dropout,
        config.repeats or 15,
    )
    batch, results = seq2seq.random_batch(settings), {}
    print(f"{'':<50}{'ours tok/s':>12}{'torch tok/s':>13}{'ratio':>7}  spread")
    for name, network, build in seq2seq.candidates(settings):
        theirs = seq2seq_torch.training_step(network, batch, learning_rate=seq2seq.LEARNING_RATE)
        row = seq2seq.compare(seq2seq.training_step(build, batch), theirs, settings)
        results[name] = row
        print(
            f"{name:<50}{row['ours_tokens_per_second']:>12,.0f}"
            f"{row['torch_tokens_per_second']:>13,.0f}{row['ratio']:>7.2f}"
            f"  {row['ratio_lowest']:.2f} to {row['ratio_highest']:.2f}"
            f"   first step {row['first_step_seconds']:.1f} s"
        )
    found = {"environment": environment(), "suite": "training", "results": results}
    write(found, config.output)


def measure_attention(config: BenchmarkConfig) -> None:
    """Attention, case by case, with the time that is left."""
    if config.cases == ("pairs",):
        return measure_pairs(config)
    settings = attention_settings(config)
    # Compile times are measured, so nothing may come from the cache.
    jax.config.update("jax_enable_compilation_cache", False)
    peers = attention_peers()
    machine = environment() | {"torch": peers and peers.torch.__version__}
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
        written = {"environment": machine, "suite": "attention", "summary": found, "rows": rows}
        write(written, config.output)
        if config.picture:
            attention_report.plot(rows, config.picture)
    print(json.dumps(found, indent=2))


def measure_pairs(config: BenchmarkConfig) -> None:
    """Attention at every pair of settings; rows that --output holds are not measured again."""
    try:
        from experiments.benchmark import attention_pairs_torch as peers
    except ImportError as error:
        raise ImportError(
            "the benchmark needs torch: pip install -e .[peers], or run scripts/bench"
        ) from error
    lengths = integers("lengths", config.lengths, default=attention_pairs.SETTINGS["length"])
    peers.use_all_cores()
    machine = environment() | {"torch": peers.torch.__version__}
    rows, cases = attention_pairs.known_rows(config.output), attention_pairs.pairs(lengths)
    print(attention_pairs.header(), flush=True)
    for number, case in enumerate(cases, 1):
        if any(attention_pairs.is_of(row, case) for row in rows):
            continue
        rows.append(attention_pairs.measure(case, peers, gigabytes=config.gigabytes))
        print(attention_pairs.line(rows[-1], number=number, count=len(cases)), flush=True)
        found = attention_pairs.summary(rows)
        written = {"environment": machine, "suite": "pairs", "summary": found, "rows": rows}
        write(written, config.output)
    print(json.dumps(attention_pairs.summary(rows), indent=2))


def attention_settings(config: BenchmarkConfig) -> attention.Settings:
    """The rows of `attention`.

    Raises:
      ValueError: a case or a dtype is unknown, or a length is no number.
    """
    cases, groups = config.cases, attention_cases.GROUPS
    default = (128, 512, 1024, 2048, 4096, 8192)
    return attention.Settings(
        cases=groups if cases == ("all",) else among("cases", cases, groups),
        lengths=integers("lengths", config.lengths, default=default),
        dtypes=among("dtypes", config.dtypes, ("float32", "bfloat16")),
        short_lengths=integers("short_lengths", config.short_lengths),
        decode_lengths=integers("decode_lengths", config.decode_lengths),
        long_length=config.long_length,
        additive_length=config.additive_length,
        repeats=config.repeats or 7,
        gigabytes=config.gigabytes,
        implementation=config.implementation,
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


def measure_decoding(config: BenchmarkConfig) -> None:
    """Greedy decoding and beam search of a translation model."""
    settings = decoding.Settings(
        vocabulary=config.vocabulary,
        lengths=integers("lengths", config.lengths, default=(32, 128)),
        batches=integers("batches", config.batches),
        beams=integers("beams", config.beams),
        repeats=config.repeats or 3,
    )
    try:
        from experiments.benchmark.decoding_torch import theirs
    except ImportError:
        print("transformers or torch is not installed, so it is left out: .[peers] adds them.")
        theirs = None
    rows: list[dict[str, Any]] = []
    print(decoding.header(), flush=True)
    for job in decoding.jobs(settings):
        rows.append(decoding.measure(job, settings, theirs))
        print(decoding.line(rows[-1]), flush=True)
        write({"environment": environment(), "suite": "decoding", "rows": rows}, config.output)


def measure_variants(config: BenchmarkConfig) -> None:
    """Every variant by itself, as sequences grow."""
    settings = variants_settings(config)
    # Compile times are measured, so nothing may come from the cache.
    jax.config.update("jax_enable_compilation_cache", False)
    machine, rows = environment(), []
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
        written = {"environment": machine, "suite": "variants", "growth": found, "rows": rows}
        write(written, config.output)
        if config.picture:
            variants_report.plot(rows, config.picture)


def variants_settings(config: BenchmarkConfig) -> variants.Settings:
    """The rows of `variants`.

    Raises:
      ValueError: a variant is unknown, or a length is no number.
    """
    known, asked = names(), config.variants
    return variants.Settings(
        names=known if asked == ("all",) else among("variants", asked, known),
        lengths=integers("lengths", config.lengths, default=(256, 1024, 4096, 8192)),
        repeats=config.repeats or 3,
        gigabytes=config.gigabytes,
        seconds=config.seconds,
    )


def among(flag: str, values: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """The values of a flag, where all are known.

    Raises:
      ValueError: one is not, or there is none.
    """
    if not values or not set(values) <= set(known):
        raise ValueError(f"`--{flag}` must be some of {', '.join(known)}; got {','.join(values)}.")
    return tuple(values)


def integers(flag: str, values: Texts | None, *, default: tuple[int, ...] = ()) -> tuple[int, ...]:
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
        write_whole(output, json.dumps(results, indent=2) + "\n")


SUITES: dict[str, Callable[[BenchmarkConfig], None]] = {
    "training": measure_training,
    "attention": measure_attention,
    "decoding": measure_decoding,
    "variants": measure_variants,
}
