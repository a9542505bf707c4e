"""Special tokens, examples, tasks and padded batches."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jaxtyping import Bool, Float, Int

# The first ids of every vocabulary.
PAD, BOS, EOS, UNKNOWN = range(4)
SPECIAL_TOKENS = ("<pad>", "<bos>", "<eos>", "<unk>")


class Example(NamedTuple):
    """A source sentence and its correct targets, of which training uses the first."""

    source: str
    references: tuple[str, ...]


class Task(NamedTuple):
    """A sequence-to-sequence problem as text; no two splits share a source."""

    name: str
    train: Sequence[Example]
    validation: Sequence[Example]
    tests: dict[str, Sequence[Example]]  # the first is in distribution
    tokenizer: str  # suitable kind of tokenizer: "character", "word" or "bpe"
    lowercase: bool = False  # text is lower-cased, and scored so
    left_out: Mapping[str, int] = {}  # pairs that no split has, by the reason


class Seq2SeqBatch(NamedTuple):
    """Padded sources and targets; a pytree, so that a jitted step takes it whole."""

    source: Int[Any, "b s"] | Float[Any, "b s f"]  # ids, or frames of a spectrogram
    source_mask: Bool[Any, "b s"]
    target_in: Int[Any, "b t"]  # BOS y1 y2 ...
    target_out: Int[Any, "b t"]  # y1 y2 ... EOS
    weights: Float[Any, "b t"]  # 1 on real target tokens, 0 on padding


class ImageBatch(NamedTuple):
    """Images and their labels; a pytree, so that a jitted step takes it whole."""

    images: Float[Any, "b y x c"]  # from 0 to 1
    labels: Int[Any, " b"]
    weights: Float[Any, " b"]  # 1 on images, 0 on padding rows


class TokenBatch(NamedTuple):
    """Windows of a text, and the token to predict at each of their tokens; a pytree."""

    tokens: Int[Any, "b t"]
    targets: Int[Any, "b t"]
    weights: Float[Any, "b t"]  # 1 where a prediction counts, 0 elsewhere


class SeriesBatch(NamedTuple):
    """Series of vectors, and the number to predict at the end of each; a pytree."""

    vectors: Float[Any, "b t c"]
    targets: Float[Any, " b"]
    weights: Float[Any, " b"]  # 1 where a prediction counts, 0 elsewhere
