"""Models whose training steps are measured, each with its optimizer and a batch of random data."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from flax import nnx

import experiments
from attention_jax.data.batching import pad
from attention_jax.data.types import SPECIAL_TOKENS, ImageBatch, Seq2SeqBatch, TokenBatch
from attention_jax.models import language, seq2seq_rnn, seq2seq_transformer
from attention_jax.models.image_transformer import VisionTransformer
from attention_jax.models.speech import AudioFrontEnd, SpeechTransformerEncoder
from attention_jax.nn.patches import ImageConfig
from attention_jax.nn.recurrent import RNNConfig
from attention_jax.nn.transformer import TransformerConfig
from attention_jax.training import objectives
from attention_jax.training.config import TrainConfig
from attention_jax.training.objectives import Objective
from attention_jax.training.step import Build
from experiments.common import flags
from experiments.common.experiment import find

Model = Callable[..., nnx.Module]


class Sizes(NamedTuple):
    """Sizes of the cases of sentence pairs; the flags of `experiments.benchmark` explain them."""

    vocabulary: int = 10_000
    sentences: int = 128
    length: int = 32
    dropout: float = 0.1


class Case(NamedTuple):
    """A model and its training step.

    Attributes:
      name: as --cases knows it.
      network: its sizes.
      build: makes it from a random key.
      training: its optimizer.
      objective: what is minimized.
      batch: random data.
      image: sizes, where images are read.
      audio: the front end, where frames are read.
      encoder_layers: of speech, where the encoder is deeper than the decoder.
    """

    name: str
    network: TransformerConfig | RNNConfig
    build: Build
    training: TrainConfig
    objective: Objective
    batch: Any
    image: ImageConfig | None = None
    audio: AudioFrontEnd | None = None
    encoder_layers: int | None = None


def nanogpt_small(sizes: Sizes) -> Case:
    """nanoGPT's setting for CPUs: 12 windows of 64 characters, 4 layers, width 128."""
    del sizes
    return _language("nanogpt_small", rows=12)


def nanogpt_medium(sizes: Sizes) -> Case:
    """nanoGPT's setting for GPUs, without dropout, in batches of 16: 6 layers, width 384."""
    del sizes
    changes = {"layers": 6, "heads": 6, "width": 384, "feed_forward": 1536, "context": 256}
    return _language("nanogpt_medium", rows=16, **changes)


def transformer_tiny(sizes: Sizes) -> Case:
    """The library's default Transformer: 4 + 4 layers, width 128."""
    return _seq2seq("transformer_tiny", TransformerConfig(sizes.vocabulary), sizes)


def transformer_512(sizes: Sizes) -> Case:
    """A Transformer of 3 + 3 layers, width 512, on half as many sentences."""
    network = TransformerConfig(sizes.vocabulary, width=512, layers=3, heads=8, feed_forward=2048)
    sizes = sizes._replace(sentences=max(1, sizes.sentences // 2))
    return _seq2seq("transformer_512", network, sizes)


def gru_additive(sizes: Sizes) -> Case:
    """A GRU of width 256 with additive attention and input feeding."""
    return _seq2seq("gru_additive", RNNConfig(sizes.vocabulary), sizes)


def lstm_plain(sizes: Sizes) -> Case:
    """An LSTM of width 256 without attention."""
    network = RNNConfig(sizes.vocabulary, cell="lstm", attention="none")
    return _seq2seq("lstm_plain", network, sizes)


def vit(sizes: Sizes) -> Case:
    """The Vision Transformer of the preset fashion_vit; by AdamW, which both sides have."""
    del sizes
    config = _preset("images", "fashion_vit", optimizer="adamw")
    image, network = (
        ImageConfig(28, 28, 1, config.data.patch),
        config.model.network(10, max_length=1),
    )
    how = {"pooling": config.data.pooling, "stem": config.data.stem}
    draw, rows = np.random.default_rng(0), config.data.images_per_batch
    batch = ImageBatch(
        draw.random((rows, *image[:3]), np.float32),
        draw.integers(0, 10, rows, np.int32),
        np.ones(rows, np.float32),
    )
    return Case(
        "vit",
        network,
        _builder(partial(VisionTransformer, image, network, **how)),
        config.training.settings(0),
        objectives.classification,
        batch,
        image=image,
    )


def speech(sizes: Sizes) -> Case:
    """The Transformer of the preset fsdd_transformer, without SpecAugment; 48 x 64 frames."""
    del sizes
    config = _preset("speech", "fsdd_transformer")
    front = AudioFrontEnd(config.data.mels, config.listen.halvings)
    network = config.model.network(24, max_length=config.data.max_frames)
    deep = network._replace(layers=config.listen.encoder_layers)

    def encoder(rngs: nnx.Rngs) -> nnx.Module:
        return SpeechTransformerEncoder(deep, front, rngs=rngs)

    text = _random_pairs(Sizes(vocabulary=24, sentences=48, length=8))
    frames = np.random.default_rng(1).standard_normal((48, 64, front.features), np.float32)
    return Case(
        "speech",
        network,
        _builder(partial(seq2seq_transformer.Seq2SeqTransformer, network, encoder=encoder)),
        config.training.settings(0),
        objectives.translation,
        text._replace(source=frames, source_mask=np.ones((48, 64), bool)),
        audio=front,
        encoder_layers=config.listen.encoder_layers,
    )


MAKERS: dict[str, Callable[[Sizes], Case]] = {
    maker.__name__: maker
    for maker in (
        nanogpt_small,
        nanogpt_medium,
        transformer_tiny,
        transformer_512,
        gru_additive,
        lstm_plain,
        vit,
        speech,
    )
}


def _preset(experiment: str, name: str, **changes: Any) -> Any:
    """The configuration of an experiment that a preset gives, with other values of some flags."""
    path = Path(experiments.__path__[0], "presets", f"{name}.flags")
    own = find(experiment).config
    return flags.replace(
        flags.from_lines(own, path.read_text(encoding="utf-8").splitlines(), source=path.name),
        **changes,
    )


def _builder(model: Model) -> Build:
    return lambda key: model(rngs=nnx.Rngs(key))


def _language(name: str, *, rows: int, **changes: Any) -> Case:
    config = _preset("language", "tiny_shakespeare", **changes)
    vocabulary, context = 65, config.data.context
    network = config.model.network(vocabulary, max_length=context)
    draw = np.random.default_rng(0).integers(0, vocabulary, (rows, context + 1), np.int32)
    batch = TokenBatch(draw[:, :-1], draw[:, 1:], np.ones((rows, context), np.float32))
    return Case(
        name,
        network,
        _builder(partial(language.build, network)),
        config.training.settings(0),
        objectives.next_token,
        batch,
    )


def _seq2seq(name: str, network: TransformerConfig | RNNConfig, sizes: Sizes) -> Case:
    network = network._replace(dropout_rate=sizes.dropout)
    kind: Model = seq2seq_transformer.Seq2SeqTransformer
    if isinstance(network, RNNConfig):
        kind = seq2seq_rnn.Seq2SeqRNN
    return Case(
        name,
        network,
        _builder(partial(kind, network)),
        TrainConfig(1000, schedule="constant", learning_rate=1e-4, label_smoothing=0.1),
        objectives.translation,
        _random_pairs(sizes),
    )


def _random_pairs(sizes: Sizes) -> Seq2SeqBatch:
    """Full rows of random tokens."""
    draw = np.random.default_rng(0)
    shape = (2, sizes.sentences, sizes.length - 1)
    sources, targets = draw.integers(len(SPECIAL_TOKENS), sizes.vocabulary, shape).tolist()
    pairs = list(zip(sources, targets, strict=True))
    return pad(pairs, rows=sizes.sentences, length=sizes.length)
