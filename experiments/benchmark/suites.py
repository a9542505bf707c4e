"""Suites of the benchmark: each measures row by row, prints the rows, and writes all there are."""

import json
import sys
import time
from collections.abc import Callable, Collection, Sequence
from types import ModuleType
from typing import Annotated, Literal, NamedTuple

import jax

from attention_jax.variants import names
from experiments.benchmark import (
    attention,
    attention_cases,
    attention_pairs,
    attention_report,
    decoding,
    gpu,
    rows,
    start,
    training,
    training_cases,
    variants,
    variants_report,
)
from experiments.common.flags import Flag

Texts = tuple[str, ...]
_LISTED = Flag(listed=True)
_NO_TORCH = "torch is not installed, so it is left out: pip install -e .[peers] adds it."


class BenchmarkConfig(NamedTuple):
    """A benchmark.

    Attributes:
      suite: what is measured.
      repeats: counted calls of each side. Default: 15 of training, 7 of attention, of which calls
        that take seconds get 3, 5 of start and of gpu, and 3 of decoding and of variants, of which
        these get 1.
      output: JSON file of the results.
      vocabulary: training of sentence pairs, start, decoding: tokens of the vocabulary.
      sentences: training of sentence pairs, start: sentences a batch.
      length: training of sentence pairs, start: tokens of each sentence, on each side.
      dropout: training of sentence pairs: dropout rate of all sides.
      peers: training: some of torch and torch_compile, or none.
      limit: training: time the matrix products of each step alone.
      cases: all, or some. Of training: nanogpt_small, nanogpt_medium, transformer_tiny,
        transformer_512, gru_additive, lstm_plain, vit and speech. Of attention: full, causal,
        window, alibi, softcap, documents, additive, cosine, gqa, short, decode, memory and long;
        or pairs, as `experiments.benchmark.attention_pairs` explains.
      lengths: lengths of sequences. Default of attention: 128, 512, 1024, 2048, 4096 and 8192,
        where the batch is what makes 2,048 tokens, and at least 1; of decoding: 32 and 128 tokens;
        of variants: 1024, 2048, 4096, 8192 and 16384, one sequence each.
      dtypes: attention: types of the arrays.
      short_lengths: attention: lengths of `short`.
      decode_lengths: attention: keys of `decode`.
      long_length: attention: length of `long`, of ours alone.
      additive_length: attention: longest of --lengths for `additive`.
      batches: decoding: sentences a batch.
      beams: decoding: beams of the search; 1 is greedy.
      models: decoding: tiny, base, or both.
      peer: decoding: the other side.
      streams: decoding: texts that a language model samples at once.
      sampled: decoding: tokens of such a text.
      gigabytes: what needs more memory is left out.
      variants: variants: all, or some, beside whose rows those of others in --output stay.
      seconds: variants: a length is left out where, by the one before it, a call might take longer.
      implementation: attention: ours, by name. Default: the library's choice.
      minutes: gpu: what has not begun by then is left out.
      small: gpu: small sizes, on any device, to try every step.
      picture: attention, variants: file of a figure, its suffix names the format.
    """

    suite: Literal["training", "attention", "decoding", "variants", "start", "gpu"] = "training"
    repeats: Annotated[int | None, Flag(low=3)] = None
    output: str | None = None
    vocabulary: Annotated[int, Flag(low=5)] = 10_000
    sentences: Annotated[int, Flag(low=1)] = 128
    length: Annotated[int, Flag(low=2)] = 32
    dropout: float = 0.1
    peers: Annotated[Texts, _LISTED] = training.PEERS
    limit: bool = True
    cases: Annotated[Texts, _LISTED] = ("all",)
    lengths: Annotated[Texts | None, _LISTED] = None
    dtypes: Annotated[Texts, _LISTED] = ("float32", "bfloat16")
    short_lengths: Annotated[Texts, _LISTED] = ("16", "32", "64", "128")
    decode_lengths: Annotated[Texts, _LISTED] = ("1024", "2048", "4096", "8192", "16384", "32768")
    long_length: int = 65_536
    additive_length: int = 2048
    batches: Annotated[Texts, _LISTED] = ("1", "16", "64")
    beams: Annotated[Texts, _LISTED] = ("1", "5")
    models: Annotated[Texts, _LISTED] = tuple(decoding.MODELS)
    peer: Literal["hugging_face", "ctranslate2"] = "hugging_face"
    streams: Annotated[Texts, _LISTED] = ("1", "16")
    sampled: Annotated[int, Flag(low=1)] = 1024
    gigabytes: float = 6.0
    variants: Annotated[Texts, _LISTED] = ("all",)
    seconds: float = 10.0
    implementation: str | None = None
    minutes: float = 8.0
    small: bool = False
    picture: str | None = None


def measure_training(config: BenchmarkConfig) -> None:
    """Training steps, model by model."""
    makers = training_cases.MAKERS
    chosen = tuple(makers) if config.cases == ("all",) else among("cases", config.cases, makers)
    settings = training.Settings(
        peers=() if config.peers == ("none",) else among("peers", config.peers, training.PEERS),
        repeats=config.repeats or 15,
        limit=config.limit,
    )
    sizes = training_cases.Sizes(config.vocabulary, config.sentences, config.length, config.dropout)
    try:
        from experiments.benchmark import training_torch as peers
    except ImportError:
        print(_NO_TORCH)
        peers = None
    # Compile times are measured, so nothing may come from the cache.
    jax.config.update("jax_enable_compilation_cache", False)
    results = rows.start("training")
    print(training.header(), flush=True)
    for name in chosen:
        results = rows.added(results, training.measure(makers[name](sizes), settings, peers))
        print(training.line(results.rows[-1]), flush=True)
        for reason in rows.reasons(results.rows[-1]):
            print(f"{'':<18}{reason}", flush=True)
        rows.write(results, config.output)
    end(results, config)


def measure_attention(config: BenchmarkConfig) -> None:
    """Attention, case by case, with the time that is left."""
    if config.cases == ("pairs",):
        return measure_pairs(config)
    settings = attention_settings(config)
    # Compile times are measured, so nothing may come from the cache.
    jax.config.update("jax_enable_compilation_cache", False)
    peers = attention_peers()
    results, jobs = rows.start("attention"), attention.jobs(settings)
    efforts = [attention.effort(job) for job in jobs]
    print(attention_report.header(), flush=True)
    begin = time.perf_counter()
    for number, job in enumerate(jobs, 1):
        results = rows.added(results, attention.measure(job, settings, peers))
        pace = (time.perf_counter() - begin) / sum(efforts[:number])
        left = pace * sum(efforts[number:]) / 60
        row = results.rows[-1]
        print(attention_report.line(row, number=number, count=len(jobs), minutes_left=left))
        for reason in attention_report.reasons(row):
            print(f"{'':<16}{reason}")
        sys.stdout.flush()
        rows.write(results, config.output)
        if config.picture:
            attention_report.plot(list(results.rows), config.picture)
    end(results, config)
    print(json.dumps(attention_report.summary(list(results.rows)), indent=2))


def measure_pairs(config: BenchmarkConfig) -> None:
    """Attention at every pair of settings; rows that --output holds are not measured again."""
    peers = attention_peers()
    if peers is None:
        return
    from experiments.benchmark import attention_pairs_torch

    lengths = integers("lengths", config.lengths, default=attention_pairs.SETTINGS["length"])
    results = rows.resumed("pairs", config.output)
    known, cases = [row.case for row in results.rows], attention_pairs.pairs(lengths)
    print(attention_pairs.header(), flush=True)
    for place, case in enumerate(cases, 1):
        if case._asdict() in known:
            continue
        row = attention_pairs.measure(case, attention_pairs_torch, gigabytes=config.gigabytes)
        results = rows.added(results, row)
        print(attention_pairs.line(row, place=f"{place}/{len(cases)}"), flush=True)
        rows.write(results, config.output)
    end(results, config)
    print(json.dumps(attention_pairs.summary(results.rows), indent=2))


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
        print(_NO_TORCH)
        return None
    peers.use_all_cores()
    return peers


def measure_decoding(config: BenchmarkConfig) -> None:
    """Greedy decoding and beam search of a translation model, and sampling of a language model."""
    settings = decoding.Settings(
        vocabulary=config.vocabulary,
        lengths=integers("lengths", config.lengths, default=(32, 128)),
        batches=integers("batches", config.batches),
        beams=integers("beams", config.beams),
        repeats=config.repeats or 3,
        models=among("models", config.models, tuple(decoding.MODELS)),
        streams=integers("streams", config.streams),
        sampled=config.sampled,
    )
    peer = decoding_peer(config.peer)
    results = rows.start("decoding")
    print(decoding.header(), flush=True)
    for job in decoding.jobs(settings):
        if job.task == "sample" and config.peer == "ctranslate2":
            continue  # it is a translator here
        results = rows.added(results, decoding.measure(job, settings, peer))
        print(decoding.line(results.rows[-1]), flush=True)
        rows.write(results, config.output)
    end(results, config)


def decoding_peer(name: str) -> decoding.Peer | None:
    """The other side of `decoding`; None where it is not installed.

    Two of them in one process would slow each other: their threads wait for work busily.
    """
    try:
        from experiments.benchmark.decoding_torch import theirs

        if name == "hugging_face":
            return decoding.Peer(name, theirs)
        from experiments.benchmark import decoding_ctranslate2

        return decoding.Peer(name, decoding_ctranslate2.theirs, theirs)
    except ImportError as error:
        print(f"{error.name} is not installed, so {name} is left out: .[peers] adds it.")
        return None


def measure_variants(config: BenchmarkConfig) -> None:
    """Every variant by itself, as sequences grow; rows of others that --output holds stay."""
    settings = variants_settings(config)
    # Compile times are measured, so nothing may come from the cache.
    jax.config.update("jax_enable_compilation_cache", False)
    results = rows.resumed("variants", config.output)
    others = [row for row in results.rows if row.case["variant"] not in settings.names]
    results = results._replace(rows=tuple(others))
    print(variants_report.header(settings.lengths), flush=True)
    for number, name in enumerate(settings.names, 1):
        own = list(variants.measure(name, settings))
        results = rows.added(results, *own)
        for direction in variants.DIRECTIONS:
            part = [row for row in own if row.case["direction"] == direction]
            print(variants_report.line(part, progress=f"{number}/{len(settings.names)}"))
            for reason in variants_report.reasons(part):
                print(f"{'':<8}{reason}")
        sys.stdout.flush()
        rows.write(results, config.output)
        if config.picture:
            variants_report.plot(list(results.rows), config.picture)
    end(results, config)


def variants_settings(config: BenchmarkConfig) -> variants.Settings:
    """The rows of `variants`.

    Raises:
      ValueError: a variant is unknown, or a length is no number.
    """
    known, asked = names(), config.variants
    return variants.Settings(
        names=known if asked == ("all",) else among("variants", asked, known),
        lengths=integers("lengths", config.lengths, default=variants.LENGTHS),
        repeats=config.repeats or 3,
        gigabytes=config.gigabytes,
        seconds=config.seconds,
    )


def measure_gpu(config: BenchmarkConfig) -> None:
    """Every implementation on a GPU: whether it is right, then its speed."""
    settings = gpu.Settings(config.minutes, config.repeats or 5, config.small)
    gpu.refuse(settings.small)
    results, found = rows.start("gpu"), []
    print(f"{jax.devices()[0]}; about {config.minutes:g} minutes", flush=True)
    for row in gpu.measure(settings, gpu_peers()):
        found.append(row)
        results = rows.added(results, gpu.as_row(row))
        print(gpu.line(row), flush=True)
        rows.write(results, config.output)
    print(gpu.table(found))
    end(results, config)


def gpu_peers() -> ModuleType | None:
    """The sides in PyTorch; None where it is not installed, or sees no GPU."""
    try:
        from experiments.benchmark import gpu_torch as peers
    except ImportError:
        print("torch is not installed, so it is left out: pip install -e .[peers] adds it.")
        return None
    if not peers.is_there():
        print("torch sees no GPU, so it is left out.")
        return None
    return peers


def among(flag: str, values: Sequence[str], known: Collection[str]) -> tuple[str, ...]:
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


def measure_start(config: BenchmarkConfig) -> None:
    """Imports, the list of variants, and first steps, in processes of their own."""
    results = rows.start("start")
    sizes = config.vocabulary, config.sentences, config.length
    for row in start.measure(config.repeats or 5, sizes):
        results = rows.added(results, row)
        print(start.line(row), flush=True)
        rows.write(results, config.output)
    end(results, config)


def end(results: rows.Results, config: BenchmarkConfig) -> None:
    """Measures the machine's matrix peak again, tells both, and writes the whole file."""
    results = rows.finished(results)
    first, *_, last = results.peak_gflops
    print(f"matrix peak: {first:,.0f} GFLOP/s at the beginning, {last:,.0f} at the end")
    rows.write(results, config.output)


SUITES: dict[str, Callable[[BenchmarkConfig], None]] = {
    "training": measure_training,
    "attention": measure_attention,
    "decoding": measure_decoding,
    "variants": measure_variants,
    "start": measure_start,
    "gpu": measure_gpu,
}
