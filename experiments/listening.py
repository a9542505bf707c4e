"""What scripts of speech recognition share: sounds, model and search, as flags say."""

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
from absl import flags
from flax import nnx

from attention_jax.core import checks
from attention_jax.data.audio import batches, spoken_digits, tone_words
from attention_jax.data.audio.corpus import Corpus, Skipped, Utterance
from attention_jax.data.audio.folder import read
from attention_jax.data.audio.spectrogram import Spectrogram
from attention_jax.data.tokenizer import KINDS, Tokenizer
from attention_jax.decoding import ctc
from attention_jax.decoding.transcribe import Transcriber
from attention_jax.decoding.translate import DecodingConfig
from attention_jax.models.seq2seq_rnn import Seq2SeqRNN
from attention_jax.models.seq2seq_transformer import Seq2SeqTransformer
from attention_jax.models.speech import (
    AudioFrontEnd,
    CTCHead,
    CTCModel,
    PyramidalRNNEncoder,
    SpeechTransformerEncoder,
)
from attention_jax.nn import transformer
from attention_jax.nn.recurrent import RNNConfig
from attention_jax.nn.spec_augment import Augment
from attention_jax.training import objectives
from attention_jax.training.objectives import Objective
from experiments import common, run_folders, trained

FLAGS = flags.FLAGS
SOUNDS = ("tones", "fsdd", "fsdd_joined")
LOSSES = ("attention", "ctc", "joint")
DIGITS = "fsdd/fsdd_recordings.zip"


def define_flags() -> None:
    """The sounds, how they become frames, and how these are read."""
    flags.DEFINE_string(
        "sounds", "tones", f"What is heard: {', '.join(SOUNDS)}; or a folder of WAV files, each "
        "with a .txt beside it, or a table of lines file<TAB>transcript[<TAB>split]."
    )  # fmt: skip
    flags.DEFINE_multi_string(
        "sound_option", [], "An option of tones or fsdd_joined, as name=value; may be repeated."
    )
    # Pictures have such a flag too, and a script may read runs of both.
    if "skip_bad" not in FLAGS:
        flags.DEFINE_bool("skip_bad", False, "Leave out what is damaged or wrong, and count it.")
    flags.DEFINE_bool("resample", False, "Resample recordings of another --rate.")
    flags.DEFINE_integer("rate", 8000, "Samples a second of recordings of your own.", lower_bound=1)
    flags.DEFINE_integer("mels", 40, "Bands of the spectrogram.", lower_bound=1)
    flags.DEFINE_enum("transcript_tokens", None, KINDS, "Default: those that suit the sounds.")
    flags.DEFINE_integer("frames_per_batch", 6000, "Padded frames a batch.", lower_bound=1)
    flags.DEFINE_integer("max_frames", 3000, "Longer recordings are left out of training, and "
                         "counted. Learned positions go no further.")  # fmt: skip
    flags.DEFINE_integer("buckets", 3, "Padded lengths, at most.", lower_bound=1)
    flags.DEFINE_enum("loss", "attention", LOSSES, "Trained by a decoder that attends, by CTC, or "
                      "by both at once, where the decoder writes.")  # fmt: skip
    flags.DEFINE_float("ctc_share", 0.3, "Of --loss=joint: the share of CTC.")
    flags.DEFINE_integer("halvings", 2, "Convolutions in front, of stride 2.", lower_bound=0)
    flags.DEFINE_integer("pyramid", 1, "RNN: layers of the listener that halve.", lower_bound=0)
    flags.DEFINE_integer("encoder_layers", None, "Transformer: of the encoder. Default: --layers.")
    _define_augment_flags()


def _define_augment_flags() -> None:
    """The numbers of `sound.Augment`."""
    for name, value, meaning in (
        ("frequency_masks", 2, "runs of bands that are hidden"),
        ("frequency_width", 8, "the most bands in one"),
        ("time_masks", 2, "runs of frames that are hidden"),
        ("time_width", 20, "the most frames in one"),
        ("time_warp", 0, "the most frames by which time is bent"),
    ):
        flags.DEFINE_integer(name, value, f"SpecAugment: {meaning}.", lower_bound=0)
    flags.DEFINE_float(
        "time_share", 0.2, "SpecAugment: the largest share of frames in one.",
        lower_bound=0.0, upper_bound=1.0,
    )  # fmt: skip


run_folders.keep_flags_of(__name__)


def load_corpus() -> Corpus:
    """The recordings that flags name."""
    if FLAGS.sounds == "tones":
        return tone_words.tones(**{"seed": FLAGS.seed} | _options(tone_words.tones))
    if FLAGS.sounds in SOUNDS:
        path = Path(FLAGS.data_dir) / DIGITS
        if FLAGS.sounds == "fsdd":
            return spoken_digits.single(path, skip_bad=FLAGS.skip_bad)
        options = _options(spoken_digits.sequences)
        return spoken_digits.sequences(
            spoken_digits.single(path, skip_bad=FLAGS.skip_bad), **options
        )
    return read(
        FLAGS.sounds,
        rate=FLAGS.rate,
        resample=FLAGS.resample,
        skip_bad=FLAGS.skip_bad,
        seed=FLAGS.seed,
    )


def _options(function: Callable[..., Corpus]) -> dict[str, Any]:
    """The values of --sound_option, as numbers."""
    known = inspect.signature(function).parameters
    found: dict[str, Any] = {}
    for item in FLAGS.sound_option:
        name, _, value = item.partition("=")
        if name not in known or name in ("corpus",):
            listed = [one for one in known if one not in ("corpus",)]
            raise ValueError(
                f"`--sound_option` must be name=value with a name among {', '.join(listed)}; got "
                f"{item!r}."
            )
        kind = known[name].annotation
        try:
            found[name] = kind(value)
        except ValueError as error:
            raise ValueError(
                f"`--sound_option` {name} must be a number ({kind.__name__}); got {value!r}."
            ) from error
    return found


def spectrogram(rate: int) -> Spectrogram:
    """How sound becomes frames."""
    return Spectrogram.at(rate, mels=FLAGS.mels)


def listening() -> AudioFrontEnd:
    """How frames are read."""
    return AudioFrontEnd(
        features=FLAGS.mels,
        halvings=FLAGS.halvings,
        pyramid=FLAGS.pyramid if FLAGS.model == "rnn" else 0,
        augment=Augment(
            FLAGS.frequency_masks,
            FLAGS.frequency_width,
            FLAGS.time_masks,
            FLAGS.time_width,
            FLAGS.time_share,
            FLAGS.time_warp,
        ),
    )


def builder(vocabulary_size: int) -> Callable[[jax.Array], Any]:
    """`key -> model`, as flags say."""
    config, front = common.model_config(vocabulary_size, max_length=FLAGS.max_frames), listening()
    if isinstance(config, RNNConfig):
        listen: Any = lambda rngs: PyramidalRNNEncoder(config, front, rngs=rngs)  # noqa: E731
    else:
        own = config._replace(layers=FLAGS.encoder_layers or config.layers)
        listen = lambda rngs: SpeechTransformerEncoder(own, front, rngs=rngs)  # noqa: E731

    def build(key: jax.Array) -> Any:
        rngs, sizes = nnx.Rngs(key), (config.width, vocabulary_size)
        aligner = partial(CTCHead, *sizes, dropout_rate=config.dropout_rate, rngs=rngs)
        if FLAGS.loss == "ctc":
            return CTCModel(listen(rngs), aligner())
        kind: Any = Seq2SeqRNN if isinstance(config, RNNConfig) else Seq2SeqTransformer
        model = kind(config, encoder=listen, rngs=rngs)
        if FLAGS.loss == "joint":
            model.aligner = aligner()
        return model

    return build


def attention_name() -> str:
    """The attention that the model has: with CTC there is no decoder, so that of the encoder."""
    if FLAGS.loss != "ctc":
        return common.attention_name()
    if FLAGS.model == "rnn":
        return "none"
    config: Any = common.model_config(1, max_length=1)
    return transformer.name_at(config, "bidirectional")


def attention_line() -> str | None:
    """Says what stands where, if it is not the named attention throughout; else None."""
    own, named = attention_name(), common.attention_name()
    if own == "none":
        return None if named == "none" else f"attention: {named} nowhere"
    places = {place: called for place, called in common.WHERE.items()
              if FLAGS.loss != "ctc" or place == "bidirectional"}  # fmt: skip
    return common.attention_line(common.model_config(1, max_length=1), places)


def objective() -> Objective:
    """What is minimised.

    Raises:
      ValueError: numbers that do not go with --loss.
    """
    if FLAGS.loss == "ctc" and FLAGS.label_smoothing:
        raise ValueError(
            f"`--label_smoothing` must be 0 with --loss=ctc; got {FLAGS.label_smoothing}. Leave it "
            "out, or use another loss."
        )
    if FLAGS.loss == "joint":
        checks.fraction("--ctc_share", FLAGS.ctc_share)
        return objectives.joint(FLAGS.ctc_share)
    return objectives.ctc if FLAGS.loss == "ctc" else objectives.translation


def transcriber(
    graphdef: Any,
    vocabulary: Tokenizer,
    rate: int,
    search: DecodingConfig | None = None,
    *,
    rows: int = 32,
) -> Transcriber:
    """Transcribes by a model that flags describe."""
    learned = FLAGS.model == "transformer" and FLAGS.positions == "learned"
    return Transcriber(
        graphdef,
        vocabulary,
        spectrogram(rate),
        search,
        aligned=FLAGS.loss == "ctc",
        rows=rows,
        longest=FLAGS.max_frames if learned else None,
    )


def passing(
    utterances: Sequence[Utterance], check: Callable[[Utterance], int], bad: Skipped
) -> list[Utterance]:
    """Recordings that a check does not refuse.

    Raises:
      ValueError: as `check` does, where bad recordings are not left out.
    """
    return [one for one in utterances if bad.attempt(partial(check, one)) is not None]


def learnable(utterance: Utterance, *, vocabulary: Tokenizer, settings: Spectrogram) -> int:
    """The frames of a recording; CTC needs a position for each token, and one between equals.

    Raises:
      ValueError: they are too few.
    """
    frames, shortening = batches.frames_of(utterance, settings), listening().shortening
    needed = ctc.frames_needed(vocabulary.encode(utterance.transcript))
    if FLAGS.loss != "attention" and -(-frames // shortening) < needed:
        raise ValueError(
            f"`--loss={FLAGS.loss}` needs {needed} positions to spell {utterance.transcript!r}; "
            f"{utterance.name} has {frames} frames, of which {shortening} make a position. Lower "
            "--halvings or --pyramid."
        )
    return frames


class Trained(NamedTuple):
    """A run's model, and what transcribes by it."""

    graphdef: Any
    params: Any
    vocabulary: Tokenizer
    transcriber: Transcriber


def load_run(folder: Path, search: Callable[[], DecodingConfig], *, rows: int = 8) -> Trained:
    """A run's model; afterwards flags are the run's, where this command gives no others.

    Args:
      folder: of the run.
      search: gives the search, once flags are those.
      rows: recordings transcribed at once.

    Raises:
      ValueError: the folder is none of a run, or holds no trained model.
    """
    trained.adopt_flags(folder)
    vocabulary = Tokenizer.load(folder / "vocabulary.json")
    build = builder(vocabulary.size)
    graphdef = trained.graphdef_of(build)
    params = trained.load_final(folder, build)
    own = transcriber(graphdef, vocabulary, run_rate(), search(), rows=rows)
    return Trained(graphdef, params, vocabulary, own)


def run_rate() -> int:
    """Samples a second of the sounds that flags name."""
    return {
        "tones": tone_words.RATE,
        "fsdd": spoken_digits.RATE,
        "fsdd_joined": spoken_digits.RATE,
    }.get(FLAGS.sounds, FLAGS.rate)
