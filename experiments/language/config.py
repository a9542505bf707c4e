"""Configuration, data and model of a run about the language of a text."""

import os
from pathlib import Path
from typing import Annotated, NamedTuple

import jax
import numpy as np
from flax import nnx

from attention_jax.data.text_columns import FORMATS, read_column
from attention_jax.data.text_files import read_text
from attention_jax.data.text_windows import RandomWindows
from attention_jax.data.tokenizer import Tokenizer
from attention_jax.decoding.generate import TextGenerator, check_options
from attention_jax.models import language
from experiments.common import initial, vocabularies
from experiments.common.config import (
    DecodingFlags,
    DeviceFlags,
    MeshFlags,
    ModelFlags,
    RunFlags,
    TrainingFlags,
)
from experiments.common.experiment import Build
from experiments.common.flags import Flag
from experiments.common.initial import InitFlags
from experiments.common.samples import SampleFlags

PRESETS = {"tiny_shakespeare": "tinyshakespeare/input.txt"}
# Of the text, from its beginning; the rest is for validation.
TRAINING_SHARE = 0.9


class DataFlags(NamedTuple):
    """The text, how it is cut, and how much is written.

    Attributes:
      text_file: text to learn: any UTF-8 file, or --preset.
      fields: the column of text, where --text_file is CSV or JSON Lines: a name, or its number from
        1 for CSV without a header. Each text ends with a line break.
      format: of --text_file with --fields, where its name does not tell.
      preset: text to learn: tiny_shakespeare, in --data_dir.
      data_dir: folder of the data sets.
      tokenizer_file: a tokenizer made elsewhere, instead of one token a character: a
        tokenizer.json of Hugging Face, or a SentencePiece model. The run keeps a copy.
      special_tokens: names of padding, begin, end and unknown in --tokenizer_file, separated by
        commas. Default: those by which they are usually known.
      context: characters, or tokens of --tokenizer_file, of a training window.
      windows: windows a batch.
      characters: characters, or tokens of --tokenizer_file, to write.
      stop_at_end: end a text where the model writes its end, for --tokenizer_file and texts that
        have ends, as those of pretrained models do.
    """

    text_file: Annotated[str | None, Flag(data=True)] = None
    fields: Annotated[str | None, Flag(data=True)] = None
    format: Annotated[str | None, Flag(choices=FORMATS, data=True)] = None
    preset: str | None = None
    data_dir: Annotated[str, Flag(may_change=True)] = "data"
    tokenizer_file: Annotated[str | None, Flag(data=True)] = None
    special_tokens: Annotated[tuple[str, ...], Flag(listed=True)] = ()
    context: Annotated[int, Flag(low=2)] = 64
    windows: Annotated[int, Flag(low=1)] = 12
    characters: Annotated[int, Flag(low=1, may_change=True)] = 500
    stop_at_end: Annotated[bool, Flag(may_change=True)] = False


class LanguageConfig(NamedTuple):
    """A run of experiments.language, each field a group of flags."""

    run: RunFlags = RunFlags()
    data: DataFlags = DataFlags()
    model: ModelFlags = ModelFlags(positions="learned")
    init: InitFlags = InitFlags()
    training: TrainingFlags = TrainingFlags()
    shown: SampleFlags = SampleFlags()
    decoding: DecodingFlags = DecodingFlags(sample=True)
    device: DeviceFlags = DeviceFlags()
    mesh: MeshFlags = MeshFlags()


class Text(NamedTuple):
    """A text as ids, in two parts, and as it is written."""

    name: str
    vocabulary: Tokenizer
    training: np.ndarray
    validation: np.ndarray
    written: tuple[str, str]


def load(config: LanguageConfig) -> Text:
    """The text; every character of it is a token, unless a tokenizer is given.

    Raises:
      ValueError: no file or two, an unknown preset, a text too short for a window, a search that
        cannot be, or a tokenizer that is not what the run began with.
      FileNotFoundError: there is no such file.
    """
    check_options(config.decoding.search(config.run.seed, nbest=1).options)
    path, context = text_path(config.data), config.data.context
    text = text_of(config.data, path)
    parts = text[: int(TRAINING_SHARE * len(text))], text[int(TRAINING_SHARE * len(text)) :]
    begun = Path(config.run.run) if config.run.resume and config.run.run else None
    given = initial.tokenizer(config.init.init_from, begun)
    given = given or vocabularies.of_file(config.data, begun)
    vocabulary = given or Tokenizer.learn([text], kind="character")
    ids = [np.asarray(vocabulary.encode(part), np.int32) for part in parts]
    if min(map(len, ids)) <= context:
        raise ValueError(
            f"`--text_file` must hold more than --context={context} {unit(vocabulary)}s in each of "
            f"its two parts, nine tenths and one; {path} has {sum(map(len, ids))} in all. Give a "
            "longer text, or a smaller --context."
        )
    return Text(config.data.preset or path.stem, vocabulary, *ids, written=parts)


def text_of(data: DataFlags, path: Path) -> str:
    """All text of a file: as it is, or that of a column, each text ended by a line break."""
    if data.fields is None:
        if data.format is not None:
            raise ValueError(
                f"`--format` goes with --fields; got --format={data.format}. Name the column of "
                "text by --fields=text, or leave it out for plain text."
            )
        return read_text(path, argument="text_file")
    if data.preset is not None:
        raise ValueError("`--fields` goes with --text_file; a preset is plain text. Leave it out.")
    texts = read_column(path, data.fields, format=data.format, argument="text_file")
    return "".join(f"{text}\n" for text in texts)


def text_path(data: DataFlags) -> Path:
    """The file of the text."""
    if (data.preset is None) == (data.text_file is None):
        raise ValueError(
            f"`--text_file` or `--preset` must name a text; got --text_file={data.text_file}, "
            f"--preset={data.preset}. Give one of the two."
        )
    if data.text_file is not None:
        return Path(data.text_file)
    if data.preset not in PRESETS:
        raise ValueError(f"`--preset` must be among {', '.join(PRESETS)}; got {data.preset!r}.")
    path = Path(data.data_dir) / PRESETS[data.preset]
    if not os.path.isfile(path):
        raise FileNotFoundError(f"`--data_dir` must hold {PRESETS[data.preset]}; {path} is none.")
    return path


def learn(config: LanguageConfig, text: Text, folder: Path | None) -> Tokenizer:
    """The tokenizer given, or the characters of the text: those of a folder that has some."""
    given = initial.tokenizer(config.init.init_from, folder)
    given = given or vocabularies.of_file(config.data, folder)
    return given or vocabularies.same(text.vocabulary, folder)


def unit(vocabulary: Tokenizer) -> str:
    """The name of a token of the text."""
    return "token" if vocabulary.is_given else "character"


def batches(config: LanguageConfig, text: Text, vocabulary: Tokenizer) -> RandomWindows:
    """Windows of the part to learn from."""
    del vocabulary
    own = config.data
    return RandomWindows(text.training, rows=own.windows, length=own.context, seed=config.run.seed)


def build(config: LanguageConfig, vocabulary: Tokenizer) -> Build:
    """`key -> model`."""
    given = initial.with_flags(config.init.init_from, config.model)
    if given is not None:
        return given.build
    network = config.model.network(vocabulary.size, max_length=config.data.context)

    def make(key: jax.Array) -> nnx.Module:
        return language.build(network, rngs=nnx.Rngs(key))

    return make


def writer(config: LanguageConfig, vocabulary: Tokenizer, graphdef: nnx.GraphDef) -> TextGenerator:
    """Writes on from a text.

    Raises:
      ValueError: a beam is asked for.
    """
    search = config.decoding.search(config.run.seed, nbest=1)
    if search.method == "beam":
        raise ValueError(
            f"`--beam` and `--nbest` must be 1 for a text, which is written a token at a time; got "
            f"{config.decoding.beam} and {config.decoding.nbest}. Use --sample, or --nosample for "
            "the most probable."
        )
    context = None if config.model.model == "rnn" else config.data.context
    ends = config.data.stop_at_end
    return TextGenerator(graphdef, vocabulary, search, context=context, stop_at_end=ends)
