"""Translation of sentences by a trained model, and its scores on unseen ones."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple
from zlib import crc32

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from attention_jax import checks, decoding, metrics, objectives, statistics
from attention_jax.batches import Batches, Pair, pad
from attention_jax.objectives import Objective
from attention_jax.types import BOS, EOS, Batch, Example, Params
from attention_jax.vocabulary import Vocabulary

METHODS = ("greedy", "sample", "beam")


class Search(NamedTuple):
    """How a translation is searched for; see `attention_jax.decoding` for each."""

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


class Focus(NamedTuple):
    """How widely cross-attention looks, in tokens of the source: 1 is one token, all weight on it.

        effective = exp(-sum_j w[j] log w[j])

    The mean over target tokens, layers and heads. Weights that do not sum to one count by their
    size.

    Attributes:
      effective: source tokens that a target token draws on.
      sharpest: the same, of the head where it is lowest.
      source: source tokens that there are, EOS included.
    """

    effective: float
    sharpest: float
    source: float


class Translator:
    """Translates texts; compiled once for each padded length.

    A sentence is padded to a multiple of 8 tokens, and translated at up to twice that length
    plus 16. Every call pads to the same number of rows, and a sampled sentence draws from a key
    of its own, so a translation does not depend on what is translated beside it.

    Args:
      graphdef: of the model, a `types.Seq2Seq`.
      vocabulary: of source and target.
      search: how to search.
      rows: sentences translated at once.
    """

    def __init__(
        self, graphdef: Any, vocabulary: Vocabulary, search: Search | None = None, *, rows: int = 64
    ):
        self.search = Search() if search is None else search
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
        self, params: Params, batch: Batch, keys: jax.Array, *, max_length: int
    ) -> decoding.Decoded:
        model = nnx.merge(self.graphdef, params)
        return decode(model, batch, keys, self.search, max_length=max_length)


def decode(
    model: Any, batch: Batch, keys: jax.Array, search: Search, *, max_length: int
) -> decoding.Decoded:
    """What a `types.Seq2Seq` writes for each source of a batch.

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
        return decoding.greedy(step, state, max_length=max_length)
    if search.method == "sample":
        fold = partial(jax.random.fold_in, jax.random.key(search.seed))
        return decoding.sample(
            step,
            state,
            key=jax.vmap(fold)(keys),
            max_length=max_length,
            temperature=search.temperature,
            top_k=search.top_k,
            top_p=search.top_p,
        )
    return decoding.beam(
        step,
        state,
        max_length=max_length,
        beam_size=search.beam_size,
        length_penalty=search.length_penalty,
        nbest=search.nbest,
    )


def hypotheses(decoded: decoding.Decoded, vocabulary: Vocabulary) -> list[list[Hypothesis]]:
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


def losses(
    graphdef: Any, objective: Objective = objectives.translation
) -> Callable[[Params, Batches], dict[str, float]]:
    """A function that gives loss, perplexity and accuracy over one epoch of batches."""

    @jax.jit
    def sums(params, batch):
        return jnp.stack(objective(nnx.merge(graphdef, params), batch))

    def over(params: Params, batches: Batches) -> dict[str, float]:
        total = np.sum([np.asarray(sums(params, b), np.float64) for b in batches.epoch()], axis=0)
        loss, count, right = (float(x) for x in total)
        # exp overflows a double above 709.
        perplexity = float(np.exp(min(loss / count, 700.0)))
        return {"loss": loss / count, "perplexity": perplexity, "accuracy": right / count}

    return over


def score(
    translator: Translator, params: Params, examples: Sequence[Example], *, lowercase: bool = False
) -> tuple[dict[str, Any], list[str]]:
    """Exact match, BLEU and chrF of the best hypotheses, and these hypotheses."""
    best = [found[0].text for found in translator(params, [e.source for e in examples])]
    references = [example.references for example in examples]
    return metrics.corpus_scores(best, references, lowercase=lowercase), best


@partial(jax.jit, static_argnums=(0,))
def cross_weights(graphdef: Any, params: Params, batch: Batch) -> jax.Array | None:
    """Cross-attention [t b l h s] of the steps that read the batch's targets; None without any."""
    model = nnx.merge(graphdef, params)
    memory = model.encode(batch.source, batch.source_mask)
    state = model.start(memory, batch.target_in.shape[1])

    def step(state, token):
        state, _, weights = model.step(state, token, return_weights=True)
        return state, weights

    return jax.lax.scan(step, state, batch.target_in.T)[1]


def alignment(
    graphdef: Any, params: Params, vocabulary: Vocabulary, source: str, target: Sequence[int]
) -> tuple[np.ndarray, list[str], list[str]] | None:
    """Cross-attention [l h t s] of the steps that produce `target` (ids with EOS), and the tokens.

    None where the model has no attention.
    """
    ids = vocabulary.encode(source)
    # The step that reads BOS writes the first target token.
    batch = pad([(ids, tuple(target)[:-1])], rows=1, length=max(len(ids) + 1, len(target)))
    assert batch.target_in[0, 0] == BOS
    weights = cross_weights(graphdef, params, batch)
    if weights is None:
        return None
    drawn = np.asarray(weights, np.float32)[: len(target), 0, :, :, : len(ids) + 1]
    names = vocabulary.tokens([*ids, EOS]), vocabulary.tokens([*target])
    return drawn.transpose(1, 2, 0, 3), *names


def focus(graphdef: Any, params: Params, pairs: Sequence[Pair]) -> Focus | None:
    """The focus of a model that is told to write the targets; None where it has no attention.

    Args:
      graphdef: of the model, a `types.Seq2Seq`.
      params: its parameters.
      pairs: source and target ids, as `encode_examples` makes them.
    """
    longest = max(max(len(source), len(target)) for source, target in pairs) + 1
    batch = pad(pairs, rows=len(pairs), length=-(-longest // 8) * 8)
    weights = cross_weights(graphdef, params, batch)
    if weights is None:
        return None
    shares, looks = statistics.shares(np.asarray(weights, np.float64))  # [t b l h s]
    effective = 2 ** statistics.entropy(shares)
    # Rows without any weight look at nothing, and padding is not looked from.
    counts = looks * batch.weights.T[:, :, None, None]
    of_heads = (effective * counts).sum(axis=(0, 1)) / counts.sum(axis=(0, 1))
    lengths = [len(source) + 1 for source, target in pairs for _ in range(len(target) + 1)]
    return Focus(float(of_heads.mean()), float(of_heads.min()), float(np.mean(lengths)))
