"""Translation of sentences by a trained model, and its scores on unseen ones."""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple
from zlib import crc32

import jax
import numpy as np
from flax import nnx

from attention_jax.core import checks
from attention_jax.core.types import Params
from attention_jax.data.batching import pad
from attention_jax.data.tokenizer import Tokenizer
from attention_jax.data.types import Seq2SeqBatch
from attention_jax.decoding.search import DecodingResult, beam, greedy, sample

METHODS = ("greedy", "sample", "beam")


class DecodingConfig(NamedTuple):
    """How a translation is searched for; see `decoding.search` for each."""

    method: str = "greedy"
    beam_size: int = 5
    length_penalty: float = 1.0
    nbest: int = 1
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    seed: int = 0


class Hypothesis(NamedTuple):
    """One translation: its text, its tokens with EOS, and its score in nats."""

    text: str
    tokens: tuple[int, ...]
    score: float


class Translator:
    """Translates texts; compiled once for each padded length.

    A sentence is padded to a multiple of 8 tokens, and translated at up to twice that length
    plus 16. Every call pads to the same number of rows, and a sampled sentence draws from a key
    of its own, so a translation does not depend on what is translated beside it.

    Args:
      graphdef: of the model, a `nn.protocols.Seq2Seq`.
      vocabulary: of source and target.
      search: how to search.
      rows: sentences translated at once.
    """

    def __init__(
        self,
        graphdef: Any,
        vocabulary: Tokenizer,
        search: DecodingConfig | None = None,
        *,
        rows: int = 64,
    ):
        self.search = DecodingConfig() if search is None else search
        checks.one_of("method", self.search.method, METHODS)
        self.graphdef, self.vocabulary, self.rows = graphdef, vocabulary, rows
        self._decode = jax.jit(self._decode_batch, static_argnames="max_length")

    def __call__(self, params: Params, sources: Sequence[str]) -> list[list[Hypothesis]]:
        """The `nbest` hypotheses of each source, best first."""
        encoded = [self.vocabulary.encode(source) for source in sources]
        found: list[list[Hypothesis]] = [[] for _ in sources]
        for length in sorted({_padded(ids) for ids in encoded}):
            inside = [i for i, ids in enumerate(encoded) if _padded(ids) == length]
            for first in range(0, len(inside), self.rows):
                rows = inside[first : first + self.rows]
                batch = pad([(encoded[i], ()) for i in rows], rows=self.rows, length=length)
                keys = np.zeros(self.rows, np.uint32)
                keys[: len(rows)] = [crc32(sources[i].encode()) for i in rows]
                decoded = self._decode(params, batch, keys, max_length=2 * length + 16)
                read = hypotheses(decoded, self.vocabulary)
                for i, of_row in zip(rows, read, strict=False):
                    found[i] = of_row
        return found

    def _decode_batch(
        self, params: Params, batch: Seq2SeqBatch, keys: jax.Array, *, max_length: int
    ) -> DecodingResult:
        model = nnx.merge(self.graphdef, params)
        return decode(model, batch, keys, self.search, max_length=max_length)


def decode(
    model: Any, batch: Seq2SeqBatch, keys: jax.Array, search: DecodingConfig, *, max_length: int
) -> DecodingResult:
    """What a `nn.protocols.Seq2Seq` writes for each source of a batch.

    Args:
      model: the model.
      batch: its sources; targets are not looked at.
      keys: a whole number for each row, which a sampled sentence depends on.
      search: how to search.
      max_length: the most tokens of a sentence, EOS included.
    """
    state = model.start(model.encode(batch.source, batch.source_mask), max_length)

    def step(state, token):
        return model.step(state, token)[:2]

    if search.method == "greedy":
        return greedy(step, state, max_length=max_length)
    if search.method == "sample":
        fold = partial(jax.random.fold_in, jax.random.key(search.seed))
        return sample(
            step,
            state,
            key=jax.vmap(fold)(keys),
            max_length=max_length,
            temperature=search.temperature,
            top_k=search.top_k,
            top_p=search.top_p,
        )
    return beam(
        step,
        state,
        max_length=max_length,
        beam_size=search.beam_size,
        length_penalty=search.length_penalty,
        nbest=search.nbest,
    )


def hypotheses(decoded: DecodingResult, vocabulary: Tokenizer) -> list[list[Hypothesis]]:
    """The sentences of each row as text, the best first."""
    tokens, scores, lengths = (np.asarray(x) for x in decoded)

    def hypothesis(row: int, rank: int) -> Hypothesis:
        ids = tuple(int(token) for token in tokens[row, rank, : lengths[row, rank]])
        return Hypothesis(vocabulary.decode(ids), ids, float(scores[row, rank]))

    return [
        [hypothesis(row, rank) for rank in range(scores.shape[1])] for row in range(len(scores))
    ]


def _padded(ids: Sequence[int]) -> int:
    """Length of a source with EOS, rounded up to a multiple of 8."""
    return -(-(len(ids) + 1) // 8) * 8
