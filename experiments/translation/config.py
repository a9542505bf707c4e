"""Configuration, data and model of a translation."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from flax import nnx

from attention_jax.core.messages import said
from attention_jax.data import tasks
from attention_jax.data.batching import BucketedBatches, encode_examples
from attention_jax.data.pairs.files import FORMATS
from attention_jax.data.pairs.filters import UNITS, Filters
from attention_jax.data.text_files import UNICODE_FORMS, unicode_form
from attention_jax.data.tokenizer import KINDS, Tokenizer
from attention_jax.data.types import UNKNOWN, Example, Task
from attention_jax.evaluation.text import TOKENIZERS
from attention_jax.models import seq2seq
from attention_jax.models.seq2seq import Seq2SeqConfig
from experiments.common import initial, vocabularies
from experiments.common.config import (
    LOSSES,
    DecodingFlags,
    DeviceFlags,
    MeshFlags,
    ModelFlags,
    RunFlags,
    TrainingFlags,
    attention_line,
)
from experiments.common.experiment import Build
from experiments.common.flags import Flag, Only
from experiments.common.initial import InitFlags
from experiments.common.samples import SampleFlags
from experiments.translation import sides
from experiments.translation.sides import SideFlags

MEASURES = (*LOSSES, "exact_match", "bleu", "chrf")  # of validation


# Flags that are options of --task=parallel, under the same names.
OF_PARALLEL = ("pairs", "format", "fields", *Filters._fields)


class DataFlags(NamedTuple):
    """The sentences.

    Attributes:
      task: what is learned.
      task_option: an option of the task, as name=value; may be repeated.
      preset: real text of --task=parallel: multi30k_de_en (any pair of de, en, fr) or
        tatoeba_en_es.
      pairs: file of sentence pairs for --task=parallel: .tsv, .csv, .jsonl, .tmx (each also with
        .gz), corpus for the two files corpus.en and corpus.de, or a data set of Hugging Face on
        disk: a folder of save_to_disk, or .parquet.
      format: of --pairs, where its name does not tell.
      fields: names of source and target, as en,de: columns of CSV, keys of JSON, languages of TMX,
        ends of the names of two files. For CSV without a header two numbers from 1.
      skip_empty: leave pairs with an empty side out, instead of refusing them.
      drop_duplicates: leave out pairs that were there before.
      shortest: leave out pairs with a side shorter than that, in --length_unit; 0: none.
      longest: leave out pairs with a side longer than that; 0: none.
      length_ratio: leave out pairs with a side over so many times as long as the other; 0: none.
      length_unit: unit of --shortest, --longest and --length_ratio: words, which spaces separate,
        or characters.
      data_dir: folder of the data sets.
      tokenizer: kind of tokens. Default: the one that suits the task.
      tokenizer_file: a tokenizer made elsewhere, instead of one that is learned: a
        tokenizer.json of Hugging Face, or a SentencePiece model. The run keeps a copy.
      special_tokens: names of padding, begin, end and unknown in --tokenizer_file, separated by
        commas. Default: those by which they are usually known.
      unicode: normal form in which text is read and learned: nfc composes accents, nfkc also makes
        one of variants of a character, none leaves text as it is.
      vocabulary_size: tokens of a BPE vocabulary.
      bleu_tokenizer: sacreBLEU's tokenizer for BLEU. Default: zh of Chinese, char of other text
        without spaces between words, else 13a.
      max_length: longer sentences are left out, and counted.
      tokens_per_batch: padded tokens a batch, on each side.
    """

    task: Annotated[str, Flag(choices=tasks.names())] = "spanish"
    task_option: Annotated[tuple[str, ...], Flag(data=True)] = ()
    preset: str | None = None
    pairs: Annotated[str | None, Flag(data=True)] = None
    format: Annotated[str | None, Flag(choices=FORMATS, data=True)] = None
    fields: Annotated[str | None, Flag(data=True)] = None
    skip_empty: bool = False
    drop_duplicates: bool = False
    shortest: Annotated[int, Flag(low=0)] = 0
    longest: Annotated[int, Flag(low=0)] = 0
    length_ratio: Annotated[float, Flag(low=0.0)] = 0.0
    length_unit: Annotated[str, Flag(choices=UNITS)] = "words"
    data_dir: Annotated[str, Flag(may_change=True)] = "data"
    tokenizer: Annotated[str | None, Flag(choices=KINDS)] = None
    tokenizer_file: Annotated[str | None, Flag(data=True)] = None
    special_tokens: Annotated[tuple[str, ...], Flag(listed=True)] = ()
    unicode: Annotated[str, Flag(choices=UNICODE_FORMS)] = "nfc"
    vocabulary_size: Annotated[int, Flag(low=8)] = 8000
    bleu_tokenizer: Annotated[str | None, Flag(choices=TOKENIZERS, may_change=True)] = None
    max_length: Annotated[int, Flag(low=2)] = 128
    tokens_per_batch: Annotated[int, Flag(low=1)] = 4096


class TranslationConfig(NamedTuple):
    """A run of experiments.translation, each field a group of flags."""

    run: RunFlags = RunFlags()
    data: DataFlags = DataFlags()
    model: ModelFlags = ModelFlags()
    sides: SideFlags = SideFlags()
    init: InitFlags = InitFlags()
    training: Annotated[TrainingFlags, Only(select=MEASURES)] = TrainingFlags()
    shown: SampleFlags = SampleFlags()
    decoding: DecodingFlags = DecodingFlags()
    device: DeviceFlags = DeviceFlags()
    mesh: MeshFlags = MeshFlags()


def load(config: TranslationConfig) -> Task:
    """The task.

    Raises:
      ValueError: an option is not of the task, or the search cannot be.
    """
    config.decoding.search(config.run.seed)
    own = config.data
    _check_tokenizer(own)
    options: dict[str, Any] = {}
    for item in own.task_option:
        name, equals, value = item.partition("=")
        if not equals:
            raise ValueError(f"`--task_option` must be name=value; got {item!r}.")
        options[name] = json.loads(value) if value.lstrip("-").isdigit() else value
    if own.task in ("parallel", "scan"):
        options = {"data_dir": own.data_dir} | options
    given = {
        name: getattr(own, name)
        for name in ("preset", *OF_PARALLEL)
        if getattr(own, name) != getattr(DataFlags(), name)
    }
    if own.task == "parallel":
        return tasks.get(own.task, **options | given | {"unicode": own.unicode})
    if given:
        raise ValueError(f"`--{min(given)}` goes with --task=parallel; got --task={own.task}.")
    return tasks.get(own.task, **options)


def learn(config: TranslationConfig, task: Task, folder: Path | None) -> Tokenizer:
    """The vocabulary: given, or learned from the training sentences; then read from the folder."""
    own = config.data
    if (found := initial.tokenizer(config.init.init_from, folder)) is not None:
        return found
    given = vocabularies.of_file(own, folder, lowercase=task.lowercase, unicode=own.unicode)
    found = given or vocabularies.kept(folder)
    if found is not None:
        return found
    kind = own.tokenizer or task.tokenizer
    texts = (text for e in task.train for text in (e.source, e.references[0]))
    size = own.vocabulary_size if kind == "bpe" else None
    return Tokenizer.learn(
        texts, kind=kind, size=size, lowercase=task.lowercase, unicode=own.unicode
    )


def _check_tokenizer(own: DataFlags) -> None:
    """Refuses flags of a vocabulary that is learned beside one that is given."""
    for name in ("tokenizer", "vocabulary_size"):
        got = getattr(own, name)
        if own.tokenizer_file is not None and got != getattr(DataFlags(), name):
            raise ValueError(
                f"`--{name}` is of a vocabulary that is learned; got --{name}={got} beside "
                f"--tokenizer_file={own.tokenizer_file}. Leave one of the two out."
            )


def named(config: TranslationConfig) -> tuple[str, str]:
    """The model in a word, and its attention."""
    return sides.named(config.model, config.sides)


def network(config: TranslationConfig, vocabulary: Tokenizer) -> sides.Network:
    """Sizes and choices of the model."""
    given = initial.with_flags(config.init.init_from, config.model)
    if given is not None:
        return given.network
    # What is decoded may be longer than what was learned.
    length = 4 * config.data.max_length
    return sides.network(config.model, config.sides, vocabulary.size, max_length=length)


def build(config: TranslationConfig, vocabulary: Tokenizer) -> Build:
    """`key -> model`."""
    given = initial.with_flags(config.init.init_from, config.model)
    if given is not None:
        return given.build
    own = network(config, vocabulary)
    return lambda key: seq2seq.build(own, rngs=nnx.Rngs(key))


def _each(form: str, values: Mapping[str, float]) -> str:
    """The values of the parts of a task, as a line has them."""
    form = said(form)
    return ", ".join(form.format(name=said(name), value=x) for name, x in values.items())


def notes(config: TranslationConfig, task: Task, vocabulary: Tokenizer) -> Iterator[str]:
    """The data in numbers, and where scaled dot stands in for the named attention."""
    held_out = {"validation": task.validation, **task.tests}
    sizes = {name: len(own) for name, own in {"training": task.train, **held_out}.items()}
    yield said("pairs: {sizes}").format(sizes=_each("{value:,} of {name}", sizes))
    if task.left_out:
        listed = "; ".join(f"{why}: {n:,}" for why, n in task.left_out.items())
        yield said("left out: {reasons}").format(reasons=listed)
    shares = {name: unknown_share(own, vocabulary) for name, own in held_out.items()}
    unknown = _each("{value:.2%} of {name}", shares)
    kind = f"{vocabulary.kind}, made elsewhere" if vocabulary.is_given else vocabulary.kind
    yield said("vocabulary: {size:,} tokens ({kind}); unknown: {shares}").format(
        size=vocabulary.size, kind=kind, shares=unknown
    )
    known = {_letters(example.source) for example in task.train}
    for name, own in held_out.items():
        alike = sum(_letters(example.source) in known for example in own)
        if alike:
            yield (
                f"{alike} of {len(own)} sources of {name} are in training too, but for case, "
                "spaces, punctuation and variants of characters"
            )
    own = network(config, vocabulary)
    line = sides.described(own)
    if line is None and not isinstance(own, Seq2SeqConfig):
        line = attention_line(own)
    if line:
        yield line


def unknown_share(examples: Sequence[Example], vocabulary: Tokenizer) -> float:
    """The share of the source tokens that are in no training sentence."""
    ids = vocabulary.encode_batch([example.source for example in examples])
    tokens = [i for own in ids for i in own]
    return tokens.count(UNKNOWN) / max(len(tokens), 1)


def _letters(text: str) -> str:
    """The letters and digits of a text, as one tells whether two sentences are alike."""
    return "".join(c for c in unicode_form(text, "nfkc").casefold() if c.isalnum()) or text


def batches(config: TranslationConfig, task: Task, vocabulary: Tokenizer) -> BucketedBatches:
    """Batches of training."""
    return batches_of(config, "train", task.train, vocabulary)


def left_out(task: Task, batches: BucketedBatches) -> dict[str, int]:
    """Pairs that are not learned from, by the reason."""
    too_long = {"of training, longer than --max_length": batches.too_long}
    return {why: count for why, count in {**task.left_out, **too_long}.items() if count}


def batches_of(
    config: TranslationConfig, split: str, examples: Sequence[Example], vocabulary: Tokenizer
) -> BucketedBatches:
    """Batches of a split; says how many sentences are too long."""
    found = BucketedBatches(
        encode_examples(examples, vocabulary),
        tokens_per_batch=config.data.tokens_per_batch,
        max_length=config.data.max_length,
        seed=config.run.seed,
        shuffle=split == "train",
    )
    if found.too_long:
        print(
            f"{split}: {found.too_long} of {len(examples)} sentences are longer than "
            f"--max_length={config.data.max_length} and left out"
        )
    return found
