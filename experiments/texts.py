"""What scripts of language models share: the text, the model and the trained run, as flags say."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from absl import flags
from flax import nnx

from attention_jax.data.text_files import read_text
from attention_jax.data.text_windows import RandomWindows
from attention_jax.data.tokenizer import Tokenizer
from attention_jax.decoding.generate import TextGenerator
from attention_jax.decoding.translate import DecodingConfig
from attention_jax.models import language
from experiments import common, run_folders, trained

FLAGS = flags.FLAGS
PRESETS = {"tiny_shakespeare": "tinyshakespeare/input.txt"}
# Of the text, from its beginning; the rest is for validation.
TRAINING_SHARE = 0.9


def define_flags() -> None:
    """The text, how it is cut, and how much is written."""
    flags.DEFINE_string("text_file", None, "Text to learn: any UTF-8 file, or --preset.")
    flags.DEFINE_integer("context", 64, "Characters of a training window.", lower_bound=2)
    flags.DEFINE_integer("windows", 12, "Windows a batch.", lower_bound=1)
    flags.DEFINE_integer("characters", 500, "Characters to write.", lower_bound=1)


run_folders.keep_flags_of(__name__)


class Text(NamedTuple):
    """A text as ids, in two parts."""

    name: str
    vocabulary: Tokenizer
    training: np.ndarray
    validation: np.ndarray


def load() -> Text:
    """The text that flags name; every character of it is a token.

    Raises:
      ValueError: no file or two, an unknown preset, or a text too short for a window.
      FileNotFoundError: there is no such file.
    """
    path = text_path()
    text = read_text(path, argument="text_file")
    parts = text[: int(TRAINING_SHARE * len(text))], text[int(TRAINING_SHARE * len(text)) :]
    if min(map(len, parts)) <= FLAGS.context:
        raise ValueError(
            f"`--text_file` must hold more than --context={FLAGS.context} characters in each of "
            f"its two parts, nine tenths and one; {path} has {len(text)} in all. Give a longer "
            "text, or a smaller --context."
        )
    vocabulary = Tokenizer.learn([text], kind="character")
    ids = [np.asarray(vocabulary.encode(part), np.int32) for part in parts]
    return Text(FLAGS.preset or path.stem, vocabulary, *ids)


def training_batches(text: Text) -> RandomWindows:
    """Windows of the part to learn from."""
    return RandomWindows(text.training, rows=FLAGS.windows, length=FLAGS.context, seed=FLAGS.seed)


def text_path() -> Path:
    """The file that flags name."""
    if (FLAGS.preset is None) == (FLAGS.text_file is None):
        raise ValueError(
            f"`--text_file` or `--preset` must name a text; got --text_file={FLAGS.text_file}, "
            f"--preset={FLAGS.preset}. Give one of the two."
        )
    if FLAGS.text_file is not None:
        return Path(FLAGS.text_file)
    if FLAGS.preset not in PRESETS:
        raise ValueError(f"`--preset` must be among {', '.join(PRESETS)}; got {FLAGS.preset!r}.")
    path = Path(FLAGS.data_dir) / PRESETS[FLAGS.preset]
    if not path.is_file():
        raise FileNotFoundError(f"`--data_dir` must hold {PRESETS[FLAGS.preset]}; {path} is none.")
    return path


def builder(vocabulary_size: int) -> Callable[[jax.Array], Any]:
    """`key -> model`, as flags say."""
    config = common.model_config(vocabulary_size, max_length=FLAGS.context)
    return lambda key: language.build(config, rngs=nnx.Rngs(key))


def writer(graphdef: Any, vocabulary: Tokenizer, search: DecodingConfig) -> TextGenerator:
    """Writes on from a text, as flags say.

    Raises:
      ValueError: a beam is asked for.
    """
    if search.method == "beam":
        raise ValueError(
            f"`--beam` and `--nbest` must be 1 for a text, which is written a token at a time; got "
            f"{FLAGS.beam} and {FLAGS.nbest}. Use --sample, or --nosample for the most probable."
        )
    context = None if FLAGS.model == "rnn" else FLAGS.context
    return TextGenerator(graphdef, vocabulary, search, context=context)


def load_run(folder: Path) -> Callable[[str], str]:
    """What goes on with a text, by a run's model; afterwards flags are the run's.

    Text is sampled as in its run, unless --nosample asks for the most probable.

    Raises:
      ValueError: the folder is none of a run, or holds no trained model.
    """
    trained.adopt_flags(folder)
    vocabulary = Tokenizer.load(folder / "vocabulary.json")
    build = builder(vocabulary.size)
    graphdef, params = trained.graphdef_of(build), trained.load_final(folder, build)
    write = writer(graphdef, vocabulary, common.search(nbest=1))
    return lambda text: write(params, text, FLAGS.characters)
