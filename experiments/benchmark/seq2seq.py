"""Training steps of the encoder-decoder models beside PyTorch, on batches of random tokens."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from flax import nnx

from attention_jax.data.batching import pad
from attention_jax.data.types import Seq2SeqBatch
from attention_jax.models import seq2seq_rnn, seq2seq_transformer
from attention_jax.nn.recurrent import RNNConfig
from attention_jax.nn.transformer import TransformerConfig
from attention_jax.training import optimizers
from attention_jax.training.step import compile_steps
from attention_jax.training.step import start as step_start
from experiments.common import timing

LEARNING_RATE = 1e-4


class Settings(NamedTuple):
    """Sizes of the models and batches; the flags of `experiments.benchmark` explain each field."""

    vocabulary: int
    sentences: int
    length: int
    dropout: float
    repeats: int


class Candidate(NamedTuple):
    """A model of ours, which PyTorch has too."""

    name: str
    config: TransformerConfig | RNNConfig
    build: Callable[[jax.Array], nnx.Module]


def candidates(settings: Settings) -> list[Candidate]:
    """A Transformer and an RNN, of the sizes that small translation tasks ask for."""
    size, rate = settings.vocabulary, settings.dropout
    tiny = TransformerConfig(vocabulary_size=size, dropout_rate=rate)
    gru = RNNConfig(vocabulary_size=size, dropout_rate=rate)
    return [
        Candidate(
            "transformer 4+4 layers, d 128, ffn 256, 4 heads",
            tiny,
            lambda key: seq2seq_transformer.Seq2SeqTransformer(tiny, rngs=nnx.Rngs(key)),
        ),
        Candidate(
            "gru d 256, additive attention, input feeding",
            gru,
            lambda key: seq2seq_rnn.Seq2SeqRNN(gru, rngs=nnx.Rngs(key)),
        ),
    ]


def random_batch(settings: Settings) -> Seq2SeqBatch:
    """Full rows of random tokens."""
    draw = np.random.default_rng(0)
    shape = (2, settings.sentences, settings.length - 1)
    sources, targets = draw.integers(4, settings.vocabulary, shape).tolist()
    pairs = list(zip(sources, targets, strict=True))
    return pad(pairs, rows=settings.sentences, length=settings.length)


def training_step(
    build: Callable[[jax.Array], nnx.Module], batch: Seq2SeqBatch
) -> Callable[[], float]:
    """One training step of ours, as `training.fit` takes it; waits for its loss."""
    transform = optimizers.optimizer("adam", learning_rate=LEARNING_RATE)
    graphdef, state = step_start(build, transform, seed=0)
    whole = compile_steps(graphdef, transform, label_smoothing=0.1).whole
    held = [state]

    def step() -> float:
        held[0], totals = whole(held[0], batch)
        return float(totals.loss)

    return step


def compare(
    ours: Callable[[], float], theirs: Callable[[], float], settings: Settings
) -> dict[str, float]:
    """Tokens a second of both, which take a step each in turn; a ratio above 1: ours is faster."""
    times = timing.interleaved({"ours": ours, "torch": theirs}, settings.repeats)
    ratio = times["torch"].over(times["ours"])
    tokens = settings.sentences * settings.length
    return {
        "first_step_seconds": times["ours"].first,
        "ours_tokens_per_second": tokens / times["ours"].median,
        "torch_tokens_per_second": tokens / times["torch"].median,
        "ratio": ratio.median,
        "ratio_lowest": ratio.lowest,
        "ratio_highest": ratio.highest,
    }
