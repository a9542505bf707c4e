"""Configuration and model of a run about speech."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Annotated, Any, Literal, NamedTuple

import jax
from flax import nnx

from attention_jax.core import checks
from attention_jax.data.audio import spoken_digits, tone_words
from attention_jax.data.audio.spectrogram import Spectrogram
from attention_jax.data.tokenizer import KINDS, Tokenizer
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
from attention_jax.nn.transformer import TransformerConfig
from attention_jax.training import objectives
from attention_jax.training.objectives import Objective
from experiments.common import config
from experiments.common.config import (
    LOSSES,
    MOST_LAYERS,
    WHERE,
    DecodingFlags,
    DeviceFlags,
    MeshFlags,
    ModelFlags,
    RunFlags,
    TrainingFlags,
)
from experiments.common.experiment import Build
from experiments.common.flags import Flag, Only

SOUNDS = ("tones", "fsdd", "fsdd_joined")
MEASURES = (*LOSSES, "exact_match", "cer", "wer")  # of validation
_COUNT = Flag(low=0)
_HALVED = Flag(low=0, high=16)  # of what then is a frame, recordings have none
_MASKS = Flag(low=0, high=100)


class DataFlags(NamedTuple):
    """The sounds, and how they become frames.

    Attributes:
      sounds: what is heard: tones, fsdd, fsdd_joined; or a folder of WAV or FLAC files, each with
        a .txt beside it, or a table of lines file<TAB>transcript[<TAB>split].
      sound_option: an option of tones or fsdd_joined, as name=value; may be repeated.
      data_dir: folder of the data sets.
      skip_bad: leave out what is damaged or wrong, and count it.
      resample: resample recordings of another --rate.
      rate: samples a second of recordings of your own.
      mels: bands of the spectrogram.
      transcript_tokens: tokens of the transcripts. Default: those that suit the sounds.
      frames_per_batch: padded frames a batch.
      max_frames: longer recordings are left out of training, and counted. Learned positions go no
        further.
      buckets: padded lengths, at most.
    """

    sounds: Annotated[str, Flag(data=True)] = "tones"
    sound_option: tuple[str, ...] = ()
    data_dir: Annotated[str, Flag(may_change=True)] = "data"
    skip_bad: bool = False
    resample: bool = False
    rate: Annotated[int, Flag(low=1)] = 8000
    mels: Annotated[int, Flag(low=1)] = 40
    transcript_tokens: Annotated[str | None, Flag(choices=KINDS)] = None
    frames_per_batch: Annotated[int, Flag(low=1)] = 6000
    max_frames: Annotated[int, Flag(low=1)] = 3000
    buckets: Annotated[int, Flag(low=1)] = 3


class ListenFlags(NamedTuple):
    """How frames are read, and what is minimized.

    Attributes:
      loss: trained by a decoder that attends, by CTC, or by both at once, where the decoder
        writes.
      ctc_share: of --loss=joint: the share of CTC.
      halvings: convolutions in front, of stride 2: each halves the number of frames.
      pyramid: RNN: layers of the encoder that halve the number of frames.
      encoder_layers: Transformer: layers of the encoder. Default: --layers.
      frequency_masks: SpecAugment: runs of bands that are hidden.
      frequency_width: SpecAugment: the most bands in one.
      time_masks: SpecAugment: runs of frames that are hidden.
      time_width: SpecAugment: the most frames in one.
      time_warp: SpecAugment: the most frames by which time is bent.
      time_share: SpecAugment: the largest share of frames in one.
    """

    loss: Literal["attention", "ctc", "joint"] = "attention"
    ctc_share: float = 0.3
    halvings: Annotated[int, _HALVED] = 2
    pyramid: Annotated[int, _HALVED] = 1
    encoder_layers: Annotated[int | None, Flag(low=1, high=MOST_LAYERS)] = None
    frequency_masks: Annotated[int, _MASKS] = 2
    frequency_width: Annotated[int, _COUNT] = 8
    time_masks: Annotated[int, _MASKS] = 2
    time_width: Annotated[int, _COUNT] = 20
    time_warp: Annotated[int, _COUNT] = 0
    time_share: Annotated[float, Flag(low=0.0, high=1.0)] = 0.2


class SpeechConfig(NamedTuple):
    """A run of experiments.speech, each field a group of flags."""

    run: RunFlags = RunFlags()
    data: DataFlags = DataFlags()
    listen: ListenFlags = ListenFlags()
    model: ModelFlags = ModelFlags(cell="lstm")
    training: Annotated[TrainingFlags, Only(select=MEASURES)] = TrainingFlags()
    decoding: DecodingFlags = DecodingFlags()
    device: DeviceFlags = DeviceFlags()
    mesh: MeshFlags = MeshFlags()


def spectrogram(own: SpeechConfig, rate: int) -> Spectrogram:
    """How sound of so many samples a second becomes frames."""
    return Spectrogram.at(rate, mels=own.data.mels)


def rate(data: DataFlags) -> int:
    """Samples a second of the sounds."""
    return {
        "tones": tone_words.RATE,
        "fsdd": spoken_digits.RATE,
        "fsdd_joined": spoken_digits.RATE,
    }.get(data.sounds, data.rate)


def front_end(own: SpeechConfig) -> AudioFrontEnd:
    """How frames are read."""
    listen = own.listen
    return AudioFrontEnd(
        features=own.data.mels,
        halvings=listen.halvings,
        pyramid=listen.pyramid if own.model.model == "rnn" else 0,
        augment=Augment(
            listen.frequency_masks,
            listen.frequency_width,
            listen.time_masks,
            listen.time_width,
            listen.time_share,
            listen.time_warp,
        ),
    )


def build(own: SpeechConfig, vocabulary: Tokenizer) -> Build:
    """`key -> model`."""
    network = own.model.network(vocabulary.size, max_length=own.data.max_frames)
    encoder, loss = encoder_of(own, network), own.listen.loss

    def make(key: jax.Array) -> nnx.Module:
        rngs, sizes = nnx.Rngs(key), (network.width, vocabulary.size)
        aligner = partial(CTCHead, *sizes, dropout_rate=network.dropout_rate, rngs=rngs)
        if loss == "ctc":
            return CTCModel(encoder(rngs), aligner())
        kind: Any = Seq2SeqRNN if isinstance(network, RNNConfig) else Seq2SeqTransformer
        model = kind(network, encoder=encoder, rngs=rngs)
        if loss == "joint":
            model.aligner = aligner()
        return model

    return make


def encoder_of(
    own: SpeechConfig, network: TransformerConfig | RNNConfig
) -> Callable[[nnx.Rngs], nnx.Module]:
    """`rngs -> encoder`, which reads frames."""
    front = front_end(own)

    def encoder(rngs: nnx.Rngs) -> nnx.Module:
        if isinstance(network, RNNConfig):
            return PyramidalRNNEncoder(network, front, rngs=rngs)
        deep = network._replace(layers=own.listen.encoder_layers or network.layers)
        return SpeechTransformerEncoder(deep, front, rngs=rngs)

    return encoder


def attention_name(own: SpeechConfig) -> str:
    """The attention that the model has: with CTC there is no decoder, so that of the encoder."""
    if own.listen.loss != "ctc":
        return own.model.attention_text
    network = own.model.network(1, max_length=1)
    if isinstance(network, RNNConfig):
        return "none"
    return transformer.name_at(network, "bidirectional")


def notes(own: SpeechConfig) -> Iterator[str]:
    """A line about where the attention stands, if it is not the named one throughout."""
    found, named = attention_name(own), own.model.attention_text
    if found == "none":
        if named != "none":
            yield f"attention: {named} nowhere"
        return
    has_decoder = own.listen.loss != "ctc"
    places = {p: called for p, called in WHERE.items() if has_decoder or p == "bidirectional"}
    yield from config.attention_notes(own.model, places)


def objective(own: SpeechConfig) -> Objective:
    """The loss.

    Raises:
      ValueError: numbers that do not go with --loss.
    """
    loss, smoothing = own.listen.loss, own.training.label_smoothing
    if loss == "ctc" and smoothing:
        raise ValueError(
            f"`--label_smoothing` must be 0 with --loss=ctc; got {smoothing}. Leave it "
            "out, or use another loss."
        )
    if loss == "joint":
        checks.fraction("--ctc_share", own.listen.ctc_share)
        return objectives.joint(own.listen.ctc_share)
    return objectives.ctc if loss == "ctc" else objectives.translation


def transcriber(
    own: SpeechConfig,
    vocabulary: Tokenizer,
    graphdef: nnx.GraphDef,
    rate: int,
    search: DecodingConfig | None = None,
    *,
    rows: int = 32,
) -> Transcriber:
    """Transcribes by the model, recordings of so many samples a second, `rows` at once."""
    learned = own.model.model == "transformer" and own.model.positions == "learned"
    return Transcriber(
        graphdef,
        vocabulary,
        spectrogram(own, rate),
        search,
        aligned=own.listen.loss == "ctc",
        rows=rows,
        longest=own.data.max_frames if learned else None,
    )
