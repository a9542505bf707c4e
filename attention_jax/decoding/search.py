"""Decoding with any step function: greedy, sampling, beam search.

Each is one `lax.while_loop` over `step(state, token) -> (state, logits)`, so it runs under
`jax.jit` and stops as soon as every row has ended. All start from BOS and end with EOS; PAD and BOS
are never produced. The result of a row does not depend on the other rows of its batch.

    decoded = decoding.beam(model.step, model.start(memory, 64), max_length=64, beam_size=5)
    texts = [tokenizer.decode(tokens[0]) for tokens in decoded.tokens.tolist()]
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from attention_jax.core import checks
from attention_jax.core.calls import clear_calls
from attention_jax.core.types import State, is_typed_key
from attention_jax.data.types import BOS, EOS, PAD
from attention_jax.nn.protocols import require_room

Step = Callable[[State, Array], tuple[State, Array]]  # (state, token [b]) -> (state, logits [b v])


class DecodingResult(NamedTuple):
    """Decoded sentences of each row, best first.

    Attributes:
      tokens: ids after BOS, EOS included, then PAD. A sentence cut off at `max_length` has no EOS.
      scores: log-probability of the tokens under the model; `beam` divides it by its length
        penalty. If fewer than `nbest` sentences exist, the rest are empty and score -inf.
      lengths: number of tokens, EOS included.
    """

    tokens: Int[Array, "b n t"]
    scores: Float[Array, "b n"]
    lengths: Int[Array, "b n"]


@clear_calls
def greedy(step: Step, state: State, *, max_length: int) -> DecodingResult:
    """Greedy decoding: the most probable token at every position.

        y[i] = argmax_y log p(y | y[<i])

    Args:
      step: `(state, token [b]) -> (state, logits [b v])`.
      state: initial state; the first axis of every leaf is the batch.
      max_length: largest number of tokens in a sentence, EOS included.

    Raises:
      ValueError: `max_length` is below 1 or beyond the room of `state`; its leaves share no axis.

    >>> def three_then_end(state, token):
    ...     return state + 1, jnp.eye(5)[jnp.where(state < 3, 4, EOS)]
    >>> greedy(three_then_end, jnp.zeros(1, jnp.int32), max_length=6).tokens.tolist()
    [[[4, 4, 4, 2, 0, 0]]]
    """
    return _extend(step, state, lambda log_p, position: jnp.argmax(log_p, axis=-1), max_length)


@clear_calls
def sample(
    step: Step,
    state: State,
    *,
    key: Array,
    max_length: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> DecodingResult:
    """Sampling with temperature, top-k and top-p.

        y[i] ~ p(y | y[<i])^(1 / temperature), renormalized over the tokens that are kept

    The temperature is applied first; then all but the `top_k` most probable tokens are dropped,
    then all but the smallest set of most probable tokens whose mass reaches `top_p`. Giving `top_k`
    beside `top_p` is faster, since it spares a sort of the whole vocabulary at every position.

    Args:
      step: `(state, token [b]) -> (state, logits [b v])`.
      state: initial state; the first axis of every leaf is the batch.
      key: one random key, where row r draws from `fold_in(key, r)`; or keys [b], one a row.
      max_length: largest number of tokens in a sentence, EOS included.
      temperature: above 0; below 1 sharpens the distribution, above 1 flattens it.
      top_k: number of tokens to keep; None for all.
      top_p: probability mass to keep, in (0, 1]; None for all.

    Returns:
      One sentence a row; its score is the log-probability at temperature 1.

    Raises:
      ValueError: an argument is out of its range, or the leaves of `state` do not share an axis.

    Reference: Fan et al. 2018, arXiv:1805.04833 (top-k); Holtzman et al. 2020, arXiv:1904.09751
      (top-p).
    """
    if not (temperature > 0 and math.isfinite(temperature)):
        raise ValueError(
            f"`temperature` must be above 0 and finite; got {temperature}. "
            "For the most probable token use `greedy`."
        )
    if top_k is not None:
        checks.positive("top_k", top_k)
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"`top_p` must lie in (0, 1]; got {top_p}. Use None to keep all tokens.")
    rows = _batch_size(state)
    if not is_typed_key(key) or key.shape not in ((), (rows,)):
        raise ValueError(
            f"`key` must be one random key, or one for each of {rows} rows; got {key!r}. "
            "Make it by `jax.random.key`."
        )
    row_keys = key if key.ndim else jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(rows))

    def draw(log_p: Float[Array, "b v"], position: Int[Array, ""]) -> Int[Array, " b"]:
        keys = jax.vmap(lambda row_key: jax.random.fold_in(row_key, position))(row_keys)
        kept, tokens = _keep(log_p / temperature, top_k, top_p)
        choice = jax.vmap(jax.random.categorical)(keys, kept)
        return choice if tokens is None else _pick(tokens, choice)

    return _extend(step, state, draw, max_length)


def length_divisor(length: Array | float | int, length_penalty: float) -> Any:
    """Number by which `beam` divides a log-probability: ((5 + length) / 6)^length_penalty."""
    return ((5.0 + length) / 6.0) ** length_penalty


@clear_calls
def beam(
    step: Step,
    state: State,
    *,
    max_length: int,
    beam_size: int = 5,
    length_penalty: float = 1.0,
    nbest: int = 1,
) -> DecodingResult:
    """Beam search with a length penalty.

        score(y) = log p(y) / ((5 + |y|) / 6)^length_penalty

    A sentence ends if its EOS ranks among the `beam_size` best continuations. Finished sentences
    are kept aside, and the search stops once no open prefix could still enter the `nbest` best of
    them, so stopping early changes no result. Prefixes still open at `max_length` rank after all
    finished sentences. With `beam_size=1` and `length_penalty=0` this is `greedy`.

    Args:
      step: `(state, token [b]) -> (state, logits [b v])`, called with `b * beam_size` rows. A leaf
        of the state that it returns untouched (the encoder's memory) is never copied.
      state: initial state; the first axis of every leaf is the batch.
      max_length: largest number of tokens in a sentence, EOS included.
      beam_size: prefixes kept for each row.
      length_penalty: 0 for none; a larger one prefers longer sentences.
      nbest: sentences returned for each row, at most `beam_size`.

    Returns:
      `nbest` sentences a row, best first.

    Raises:
      ValueError: an argument is out of its range, or the leaves of `state` do not share an axis.

    Reference: Wu et al. 2016, arXiv:1609.08144, section 7.
    """
    for name, count in (("beam_size", beam_size), ("nbest", nbest)):
        checks.positive(name, count)
    require_room(state, max_length)
    if nbest > beam_size:
        raise ValueError(
            f"`nbest` must be at most `beam_size`; got nbest={nbest}, beam_size={beam_size}. "
            f"Use `beam_size={nbest}` or more."
        )
    if not (length_penalty >= 0 and math.isfinite(length_penalty)):
        raise ValueError(
            f"`length_penalty` must be 0 or more and finite; got {length_penalty}. Use 0 for none."
        )
    at_most = length_divisor(max_length, length_penalty)

    def may_improve(beams: _Beams) -> Bool[Array, ""]:
        # Log-probabilities only fall, and the longest sentence divides its own by the most.
        reachable = beams.open_scores[:, 0] / at_most
        return (beams.position < max_length) & jnp.any(reachable > beams.done_scores[:, -1])

    def advance(beams: _Beams) -> _Beams:
        length = (beams.position + 1).astype(jnp.float32)
        return _advance(step, beams, length_divisor(length, length_penalty))

    beams = _start_beams(state, beam_size, nbest, max_length)
    return _rank(lax.while_loop(may_improve, advance, beams), at_most)


class _Path(NamedTuple):
    """Decoding state: one unfinished sentence a row."""

    position: Int[Array, ""]
    state: State
    token: Int[Array, " b"]
    tokens: Int[Array, "b t"]
    scores: Float[Array, " b"]
    ended: Bool[Array, " b"]


def _extend(
    step: Step, state: State, choose: Callable[..., Array], max_length: int
) -> DecodingResult:
    """Appends the token `choose(log_p, position)` until every row has ended."""
    require_room(state, max_length)
    b = _batch_size(state)

    def advance(path: _Path) -> _Path:
        state, logits = step(path.state, path.token)
        log_p = _log_probabilities(logits)
        chosen = choose(log_p, path.position).astype(jnp.int32)
        token = jnp.where(path.ended, PAD, chosen)
        return _Path(
            position=path.position + 1,
            state=state,
            token=token,
            tokens=path.tokens.at[:, path.position].set(token),
            scores=path.scores + jnp.where(path.ended, 0.0, _pick(log_p, chosen)),
            ended=path.ended | (token == EOS),
        )

    path = lax.while_loop(
        lambda path: (path.position < max_length) & ~jnp.all(path.ended),
        advance,
        _Path(
            position=jnp.int32(0),
            state=state,
            token=jnp.full(b, BOS, jnp.int32),
            tokens=jnp.full((b, max_length), PAD, jnp.int32),
            scores=jnp.zeros(b, jnp.float32),
            ended=jnp.zeros(b, bool),
        ),
    )
    return _decoded(path.tokens[:, None], path.scores[:, None])


class _Beams(NamedTuple):
    """Open prefixes of each row and its best finished sentences, both in order of score."""

    position: Int[Array, ""]
    state: State  # b * k rows: the beams of one row lie together
    token: Int[Array, "b k"]
    open_tokens: Int[Array, "b k t"]
    open_scores: Float[Array, "b k"]  # log-probabilities; -inf for no prefix
    done_tokens: Int[Array, "b n t"]
    done_scores: Float[Array, "b n"]  # length penalty applied; -inf for no sentence


def _start_beams(state: State, k: int, n: int, max_length: int) -> _Beams:
    b = _batch_size(state)
    return _Beams(
        position=jnp.int32(0),
        state=jax.tree.map(lambda leaf: jnp.repeat(leaf, k, axis=0), state),
        token=jnp.full((b, k), BOS, jnp.int32),
        open_tokens=jnp.full((b, k, max_length), PAD, jnp.int32),
        # The k copies of the empty prefix are the same: only the first may be continued.
        open_scores=jnp.full((b, k), -jnp.inf, jnp.float32).at[:, 0].set(0.0),
        done_tokens=jnp.full((b, n, max_length), PAD, jnp.int32),
        done_scores=jnp.full((b, n), -jnp.inf, jnp.float32),
    )


def _advance(step: Step, beams: _Beams, penalty: Array) -> _Beams:
    """Continues or finishes every open prefix, and keeps the best of both."""
    b, k = beams.token.shape
    state, logits = step(beams.state, beams.token.reshape(b * k))
    best, tokens, end = _best_words(logits, k)
    # The k best of a row are among the k best of each of its beams.
    scores = (beams.open_scores.reshape(b * k, 1) + best).reshape(b, -1)
    open_scores, choice = lax.top_k(scores, k)
    token = jnp.take_along_axis(tokens.reshape(b, -1), choice, axis=1)
    parent = choice // best.shape[-1]
    done_tokens, done_scores = _keep_ended(
        beams, beams.open_scores + end.reshape(b, k), open_scores, penalty
    )
    rows = (jnp.arange(b)[:, None] * k + parent).reshape(b * k)
    return _Beams(
        position=beams.position + 1,
        # The beams of one row share leaves that `step` returned untouched: nothing to move.
        state=jax.tree.map(
            lambda new, old: new if new is old else jnp.take(new, rows, axis=0, mode="clip"),
            state,
            beams.state,
        ),
        token=token,
        open_tokens=_pick_rows(beams.open_tokens, parent).at[:, :, beams.position].set(token),
        open_scores=open_scores,
        done_tokens=done_tokens,
        done_scores=done_scores,
    )


def _best_words(
    logits: Float[Array, "r v"], k: int
) -> tuple[Float[Array, "r c"], Int[Array, "r c"], Float[Array, " r"]]:
    """Log-probabilities of the k best continuations, their tokens, and log-probability of EOS."""
    logits = logits.astype(jnp.float32)
    words = jnp.where(jnp.arange(logits.shape[-1])[None] > EOS, logits, -jnp.inf)
    # Ranking the logits and normalizing the k best is cheaper than normalizing them all.
    best, tokens = _top_k(words, k)
    normalizer = jax.nn.logsumexp(logits, axis=-1)
    return best - normalizer[:, None], tokens, logits[:, EOS] - normalizer


def _keep_ended(
    beams: _Beams, end_scores: Float[Array, "b k"], open_scores: Float[Array, "b k"], penalty: Array
) -> tuple[Int[Array, "b n t"], Float[Array, "b n"]]:
    """The n best finished sentences, new ones if their EOS is among the k best continuations."""
    n, k = beams.done_scores.shape[1], end_scores.shape[1]
    last = lax.top_k(jnp.concatenate([end_scores, open_scores], axis=1), k)[0][:, -1:]
    end_scores = jnp.where(end_scores >= last, end_scores, -jnp.inf) / penalty
    ended = beams.open_tokens.at[:, :, beams.position].set(EOS)
    scores, kept = lax.top_k(jnp.concatenate([beams.done_scores, end_scores], axis=1), n)
    return _pick_rows(jnp.concatenate([beams.done_tokens, ended], axis=1), kept), scores


def _rank(beams: _Beams, penalty: float) -> DecodingResult:
    """Finished sentences, followed, if they are too few, by the prefixes still open."""
    n, k = beams.done_scores.shape[1], beams.open_scores.shape[1]
    scores = jnp.concatenate([beams.done_scores, beams.open_scores / penalty], axis=1)
    tokens = jnp.concatenate([beams.done_tokens, beams.open_tokens], axis=1)
    is_open = jnp.arange(n + k) >= n
    group = jnp.where(jnp.isneginf(scores), 2, is_open[None].astype(jnp.int32))
    order = jnp.argsort(group, axis=1, stable=True)[:, :n]
    scores = jnp.take_along_axis(scores, order, axis=1)
    exists = ~jnp.isneginf(scores)
    return _decoded(jnp.where(exists[:, :, None], _pick_rows(tokens, order), PAD), scores)


def _decoded(tokens: Int[Array, "b n t"], scores: Float[Array, "b n"]) -> DecodingResult:
    return DecodingResult(tokens, scores, jnp.sum(tokens != PAD, axis=-1, dtype=jnp.int32))


def _log_probabilities(logits: Float[Array, "b v"]) -> Float[Array, "b v"]:
    """Log-softmax over the whole vocabulary, then -inf at PAD and BOS."""
    log_p = jax.nn.log_softmax(logits.astype(jnp.float32), axis=-1)
    return jnp.where(jnp.arange(logits.shape[-1])[None] >= EOS, log_p, -jnp.inf)


def _keep(
    logits: Float[Array, "b v"], top_k: int | None, top_p: float | None
) -> tuple[Float[Array, "b c"], Int[Array, "b c"] | None]:
    """Logits that may be sampled, in order, and their tokens; None stands for all tokens."""
    if top_p == 1.0:
        top_p = None
    if top_k is None and top_p is None:
        return logits, None
    logits, tokens = _top_k(logits, logits.shape[-1] if top_k is None else top_k)
    if top_p is not None:
        share = jax.nn.softmax(logits, axis=-1)
        share_before = jnp.cumsum(share, axis=-1) - share
        logits = jnp.where(share_before < top_p, logits, -jnp.inf)
    return logits, tokens


def _top_k(x: Float[Array, "b v"], k: int) -> tuple[Float[Array, "b c"], Int[Array, "b c"]]:
    """The `min(k, v)` largest of each row and their indices, as `lax.top_k`, but faster on CPU.

    The k largest lie in the k groups of the largest maxima, so only those groups are searched.
    """
    b, v = x.shape
    size = math.isqrt(v)
    groups = -(-v // size)
    if k >= groups:
        return tuple(lax.top_k(x, min(k, v)))
    x = jnp.pad(x, ((0, 0), (0, groups * size - v)), constant_values=-jnp.inf)
    x = x.reshape(b, groups, size)
    _, group = lax.top_k(x.max(axis=-1), k)
    best, choice = lax.top_k(_pick_rows(x, group).reshape(b, k * size), k)
    index = jnp.take_along_axis(group, choice // size, axis=1) * size + choice % size
    return best, jnp.minimum(index, v - 1)  # among ties at -inf, padding may have been chosen


def _pick(x: Array, index: Int[Array, " b"]) -> Array:
    """x[b, index[b]]"""
    return jnp.take_along_axis(x, index[:, None], axis=1)[:, 0]


def _pick_rows(x: Array, index: Int[Array, "b n"]) -> Array:
    """x[b, index[b, n], :]"""
    return jnp.take_along_axis(x, index[:, :, None], axis=1)


def _batch_size(state: State) -> int:
    shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(state)]
    sizes = {shape[:1] for shape in shapes}
    if len(sizes) != 1 or () in sizes:
        raise ValueError(
            "every leaf of `state` must lead with the batch axis, and there must be one; "
            f"got leaves of shape {shapes}. Give scalars one entry for each row."
        )
    return shapes[0][0]
