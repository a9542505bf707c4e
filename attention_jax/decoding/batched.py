"""Batched decoding of sequence-to-sequence models: grouping by length, padding, search, text.

A sampled sentence draws from a random key of its own, so a result does not depend on the other
items of its batch, but for rounding: products of more rows sum in another order.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar
from zlib import crc32

import jax
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, UInt32

from attention_jax.core import checks, plain_types
from attention_jax.core.calls import clear_fields
from attention_jax.core.types import Params, State
from attention_jax.data.tokenizer import Tokenizer
from attention_jax.data.types import EOS, Seq2SeqBatch
from attention_jax.decoding import shrinking
from attention_jax.decoding.beams import length_divisor
from attention_jax.decoding.loops import Loop, Path
from attention_jax.decoding.options import DecodingOptions
from attention_jax.decoding.scoring import token_scores
from attention_jax.decoding.search import (
    DecodingResult,
    beam_loop,
    check_beam,
    check_sampling,
    greedy_loop,
    sample_loop,
)
from attention_jax.nn.protocols import Seq2Seq
from attention_jax.parallel.placement import fetch, spread

METHODS = ("greedy", "sample", "beam")

Item = TypeVar("Item")
Output = TypeVar("Output")


@clear_fields
class DecodingConfig(NamedTuple):
    """Configuration of a search; see `decoding.search` for each method.

    `token_scores` asks for the log-probability of each token, which takes one more pass.
    """

    method: str = "greedy"
    beam_size: int = 5
    length_penalty: float = 1.0
    nbest: int = 1
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    seed: int = 0
    options: DecodingOptions = DecodingOptions()
    token_scores: bool = False

    def check(self) -> None:
        """Raises ValueError where a field is of another type, or out of its range."""
        plain_types.check_fields(self)
        plain_types.of_kind("options", self.options, DecodingOptions)
        checks.one_of("method", self.method, METHODS)
        checks.natural("seed", self.seed)
        plain_types.sizes(beam_size=self.beam_size, nbest=self.nbest)
        if self.method == "sample":
            check_sampling(self.temperature, self.top_k, self.top_p)
        if self.method == "beam":
            check_beam(self.beam_size, self.nbest, self.length_penalty)

    @property
    def rescores(self) -> bool:
        """True where found sentences are read once more."""
        return self.token_scores or (self.method == "beam" and self.options.changes_scores)


class Hypothesis(NamedTuple):
    """A decoded sentence.

    Attributes:
      text: of the tokens.
      tokens: with EOS, where the sentence ends.
      score: that hypotheses are ranked by: the log-probability, divided by beam search's length
        penalty; with a repetition penalty, of the penalized log-probabilities.
      log_probability: the sum over the tokens, in nats; None where the score is none of tokens.
      is_cut: the sentence reached the largest number of tokens before its end.
      token_scores: log-probability of each token, in nats; None where they were not asked for.
    """

    text: str
    tokens: tuple[int, ...]
    score: float
    log_probability: float | None = None
    is_cut: bool = False
    token_scores: tuple[float, ...] | None = None


class BatchedDecoder:
    """Decodes padded batches into text, and lets rows go as their sentences end: `shrinking`.

    Compiled once for each shape and `max_length`, and for each smaller number of rows that a batch
    shrinks to.

    Args:
      graphdef: graph of the model, a `nn.protocols.Seq2Seq`.
      tokenizer: tokenizer of the target.
      config: the search.
      fewest_rows: below which no batch shrinks.

    Raises:
      ValueError: an unknown search method.
    """

    def __init__(
        self,
        graphdef: nnx.GraphDef,
        tokenizer: Tokenizer,
        config: DecodingConfig,
        *,
        fewest_rows: int = 1,
    ):
        plain_types.of_kind("config", config, DecodingConfig)
        config.check()
        self.graphdef, self.tokenizer, self.config = graphdef, tokenizer, config
        self.fewest_rows = fewest_rows
        self._start = jax.jit(self._start_batch, static_argnames="max_length")
        self._go_on = jax.jit(
            self._run_stage, static_argnames=("max_length", "length"), donate_argnames="path"
        )
        self._rescore = jax.jit(self._scores, static_argnames="max_length")

    def __call__(
        self, params: Params, batch: Seq2SeqBatch, names: Sequence[str], *, max_length: int
    ) -> list[list[Hypothesis]]:
        """The `nbest` hypotheses of each named row of the batch, best first.

        Args:
          params: parameters of the model.
          batch: sources; rows beyond the names are padding. They are spread over the devices on
            which the parameters lie.
          names: one text for each row, from which its random key is derived.
          max_length: largest number of tokens in a sentence, EOS included; where the options ask
            for a longer one, as many more.
        """
        least = self.config.options.least
        max_length += least if least > max_length else 0
        batch = spread(batch, params)
        keys = np.zeros(len(batch.source), np.uint32)
        keys[: len(names)] = [crc32(name.encode()) for name in names]

        def go_on(path: Path, asked: np.ndarray, length: int) -> Any:
            return self._go_on(params, path, asked, max_length=max_length, length=length)

        path = self._start(params, batch, keys, max_length=max_length)
        decoded = shrinking.run(
            path, go_on, count=len(names), max_length=max_length, fewest=self.fewest_rows
        )
        scores = None
        if self.config.rescores:
            scores = self._rescore(params, batch, decoded.tokens, max_length=max_length)
        return hypotheses(decoded, self.tokenizer, self.config, token_scores=scores)[: len(names)]

    def _start_batch(
        self, params: Params, batch: Seq2SeqBatch, keys: Array, *, max_length: int
    ) -> Path:
        state = _started(nnx.merge(self.graphdef, params), batch, max_length)
        return shrinking.start(loop_of(self.config, max_length, keys), state)

    def _run_stage(
        self, params: Params, path: Path, asked: Array, *, max_length: int, length: int
    ) -> tuple[Path, Array, DecodingResult]:
        step = nnx.merge(self.graphdef, params).step
        loop = loop_of(self.config, max_length)
        return shrinking.stage(loop, step, path, asked, length, fewest=self.fewest_rows)

    def _scores(
        self, params: Params, batch: Seq2SeqBatch, tokens: Array, *, max_length: int
    ) -> Float[Array, "b n t"]:
        model = nnx.merge(self.graphdef, params)
        return token_scores(model.step, _started(model, batch, max_length), tokens)


def _started(model: Seq2Seq, batch: Seq2SeqBatch, max_length: int) -> State:
    return model.start(model.encode(batch.source, batch.source_mask), max_length)


def in_batches(
    items: Sequence[Item],
    lengths: Sequence[int],
    run: Callable[[list[Item], int], Iterable[Output]],
    *,
    rows: int,
) -> list[Output]:
    """Runs a function on groups of items of equal length, and puts the results in order.

    Args:
      items: the items.
      lengths: padded length of each item.
      run: `(group, length) -> results`, one result for each item of a group.
      rows: largest number of items in a group.

    >>> in_batches("bac", [2, 1, 2], lambda group, length: [x * length for x in group], rows=8)
    ['bb', 'a', 'cc']
    """
    outputs: dict[int, Output] = {}
    for length in sorted(set(lengths)):
        members = [i for i, own in enumerate(lengths) if own == length]
        for first in range(0, len(members), rows):
            group = members[first : first + rows]
            outputs |= zip(group, run([items[i] for i in group], length), strict=True)
    return [outputs[i] for i in range(len(items))]


def loop_of(
    config: DecodingConfig,
    max_length: int,
    keys: UInt32[Array | np.ndarray, " b"] | None = None,
) -> Loop:
    """The search of a configuration.

    Args:
      config: the search.
      max_length: largest number of tokens in a sentence, EOS included.
      keys: an integer for each row, from which its random key is derived; not needed to go on.
    """
    if config.method == "greedy":
        return greedy_loop(max_length=max_length, options=config.options)
    if config.method == "sample":
        fold = partial(jax.random.fold_in, jax.random.key(config.seed))
        return sample_loop(
            keys=None if keys is None else jax.vmap(fold)(keys),
            max_length=max_length,
            temperature=config.temperature,
            top_k=config.top_k,
            top_p=config.top_p,
            options=config.options,
        )
    return beam_loop(
        max_length=max_length,
        beam_size=config.beam_size,
        length_penalty=config.length_penalty,
        nbest=config.nbest,
        options=config.options,
    )


def hypotheses(
    decoded: DecodingResult,
    tokenizer: Tokenizer,
    config: DecodingConfig | None = None,
    *,
    token_scores: Float[Array, "b n t"] | None = None,
) -> list[list[Hypothesis]]:
    """The decoded sentences of each row, best first.

    Args:
      decoded: sentences as a search gives them.
      tokenizer: makes texts of them.
      config: of the search; greedy by default.
      token_scores: of the sentences, where the search asks for them or changed the scores.
    """
    config = DecodingConfig() if config is None else config
    tokens, scores, lengths = (fetch(x) for x in decoded)
    each = None if token_scores is None else fetch(token_scores)

    def hypothesis(row: int, rank: int) -> Hypothesis:
        ids = tuple(tokens[row, rank, : lengths[row, rank]].tolist())
        score, own = float(scores[row, rank]), None
        if each is None or not ids:
            total = score * _divisor(len(ids), config)
        else:
            own = tuple(each[row, rank, : len(ids)].tolist())
            total = math.fsum(own)
        return Hypothesis(
            text=tokenizer.decode(ids),
            tokens=ids,
            score=score,
            log_probability=total,
            is_cut=bool(ids) and ids[-1] != EOS,
            token_scores=own if config.token_scores else None,
        )

    return [
        [hypothesis(row, rank) for rank in range(scores.shape[1])] for row in range(len(scores))
    ]


def _divisor(length: int, config: DecodingConfig) -> float:
    """Number by which the search divided the log-probability of so many tokens."""
    if config.method != "beam" or not length:
        return 1.0
    return float(length_divisor(length, config.length_penalty, config.options.length_form))
