"""Beam search, step by step: open prefixes are continued, finished sentences kept aside."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from attention_jax.core.types import State
from attention_jax.data.types import BOS, EOS, PAD
from attention_jax.decoding.forced_words import (
    Words,
    all_met,
    banks,
    best_of_banks,
    next_tokens,
    progress,
)
from attention_jax.decoding.logits import largest
from attention_jax.decoding.options import DecodingOptions
from attention_jax.decoding.rules import Rule
from attention_jax.decoding.types import DecodingResult, Step, batch_size, decoded, pick_rows
from attention_jax.nn.protocols import BeamState

_NONE = DecodingOptions()


def length_divisor(length: Array | float | int, length_penalty: float, form: str = "wu") -> Any:
    """Number by which `search.beam` divides a log-probability.

        ((5 + length) / 6)^length_penalty    "wu"
        length^length_penalty                "power"

    Reference: Wu et al. 2016, arXiv:1609.08144, equation 14; Hugging Face's `BeamSearchScorer`.
    """
    if form == "power":
        return (1.0 * length) ** length_penalty
    return ((5.0 + length) / 6.0) ** length_penalty


class Beams(NamedTuple):
    """Open prefixes of each row and its best finished sentences, both in order of score.

    With forced words k counts the beams of all banks, in the order of `forced_words`.
    """

    position: Int[Array, ""]
    state: State  # b * k rows: the beams of one row lie together
    token: Int[Array, "b k"]
    open_tokens: Int[Array, "b k t"]
    open_scores: Float[Array, "b k"]  # log-probabilities; -inf for no prefix
    done_tokens: Int[Array, "b n t"]
    done_scores: Float[Array, "b n"]  # length penalty applied; -inf for no sentence
    before: Int[Array, "b s"] | None = None  # tokens before the prefixes, where the options say so


def start(state: State, k: int, n: int, max_length: int, options: DecodingOptions = _NONE) -> Beams:
    """The empty prefix of each row, with room for k prefixes a bank and n sentences."""
    words = options.words
    b, first = batch_size(state), k * (banks(words) - 1)  # the emptiest bank is the last
    k *= banks(words)
    return Beams(
        position=jnp.int32(0),
        state=_repeated(state, k),
        token=jnp.full((b, k), BOS, jnp.int32),
        open_tokens=jnp.full((b, k, max_length), PAD, jnp.int32),
        # The k copies of the empty prefix are the same: only the first may be continued.
        open_scores=jnp.full((b, k), -jnp.inf, jnp.float32).at[:, first].set(0.0),
        done_tokens=jnp.full((b, n, max_length), PAD, jnp.int32),
        done_scores=jnp.full((b, n), -jnp.inf, jnp.float32),
        before=options.before_of(b),
    )


def may_improve(beams: Beams, at_most: float) -> Bool[Array, " b"]:
    """True for rows of which an open prefix could still enter the best finished sentences.

    Args:
      at_most: number that scores of the longest sentences are divided by.
    """
    # Log-probabilities only fall, and the longest sentence divides its own by the most.
    return beams.open_scores.max(axis=1) / at_most > beams.done_scores[:, -1]


def advance(step: Step, beams: Beams, penalty: Array, options: DecodingOptions = _NONE) -> Beams:
    """Continues or finishes every open prefix, and keeps the best of both.

    Args:
      step: `(state, token [b k]) -> (state, logits [b k v])`, with b and k as one axis.
      beams: the prefixes.
      penalty: number that scores of sentences which end here are divided by.
      options: whose rules apply to the log-probabilities, and whose words every sentence must hold.
    """
    b, k = beams.token.shape
    rule, words = options.after(beams.before).rule, options.words
    bank, past = k // banks(words), beams.open_tokens.reshape(b * k, -1)
    state, logits = step(beams.state, beams.token.reshape(b * k))
    if rule is None and not words:
        best, tokens, end = _best_words(logits, k)
    else:
        best, tokens, end = _best_allowed(logits, bank, past, beams.position, rule, words)
    # The k best of a row are among the k best of each of its beams.
    scores = (beams.open_scores.reshape(b * k, 1) + best).reshape(b, -1)
    if words:
        counts = progress(past, beams.position, tokens, words).reshape(b, -1)
        open_scores, choice = best_of_banks(scores, counts, k=bank, number=banks(words))
    else:
        open_scores, choice = lax.top_k(scores, k)
    token = jnp.take_along_axis(tokens.reshape(b, -1), choice, axis=1)
    parent = choice // best.shape[-1]
    done_tokens, done_scores = _keep_ended(
        beams, beams.open_scores + end.reshape(b, k), open_scores, penalty, bank
    )
    rows = (jnp.arange(b)[:, None] * k + parent).reshape(b * k)
    return beams._replace(
        position=beams.position + 1,
        state=_moved(state, beams.state, rows),
        token=token,
        open_tokens=pick_rows(beams.open_tokens, parent).at[:, :, beams.position].set(token),
        open_scores=open_scores,
        done_tokens=done_tokens,
        done_scores=done_scores,
    )


def _repeated(state: State, k: int) -> State:
    """The state of k beams for each row."""
    return jax.tree.map(
        lambda x: x.repeated(k) if isinstance(x, BeamState) else jnp.repeat(x, k, axis=0),
        state,
        is_leaf=_is_beam_state,
    )


def _moved(state: State, before: State, rows: Int[Array, " r"]) -> State:
    """The state of these rows, each of which goes on from a beam of its own sentence."""

    def move(new: State, old: State) -> State:
        # The beams of one row share leaves that `step` returned untouched: nothing to move.
        return jax.tree.map(
            lambda new, old: new if new is old else jnp.take(new, rows, axis=0, mode="clip"),
            new,
            old,
        )

    return jax.tree.map(
        lambda new, old: new.moved(old, move) if isinstance(new, BeamState) else move(new, old),
        state,
        before,
        is_leaf=_is_beam_state,
    )


def _is_beam_state(x: Any) -> bool:
    return isinstance(x, BeamState)


def _best_words(
    logits: Float[Array, "r v"], k: int
) -> tuple[Float[Array, "r c"], Int[Array, "r c"], Float[Array, " r"]]:
    """Log-probabilities of the k best continuations, their tokens, and log-probability of EOS."""
    logits = logits.astype(jnp.float32)
    words = jnp.where(jnp.arange(logits.shape[-1])[None] > EOS, logits, -jnp.inf)
    # Ranking the logits and normalizing the k best is cheaper than normalizing them all.
    best, tokens = largest(words, k)
    normalizer = jax.nn.logsumexp(logits, axis=-1)
    return best - normalizer[:, None], tokens, logits[:, EOS] - normalizer


def _best_allowed(
    logits: Float[Array, "r v"],
    k: int,
    past: Int[Array, "r t"],
    position: Int[Array, ""],
    rule: Rule | None,
    words: Words,
) -> tuple[Float[Array, "r c"], Int[Array, "r c"], Float[Array, " r"]]:
    """`_best_words` after a rule on the log-probabilities, and what brings forced words on."""
    log_p = jax.nn.log_softmax(logits.astype(jnp.float32), axis=-1)
    if rule is not None:
        log_p = rule(log_p, past, position)
    text = jnp.where(jnp.arange(logits.shape[-1])[None] > EOS, log_p, -jnp.inf)
    best, tokens = largest(text, k)
    if not words:
        return best, tokens, log_p[:, EOS]
    more = next_tokens(past, position, words)
    added = jnp.take_along_axis(text, more, axis=1)
    # A token that is among the best, or of two words, would be the same prefix twice.
    earlier = jnp.tril(jnp.ones((len(words), len(words)), bool), -1)[None]
    twice = (more[:, :, None] == tokens[:, None]).any(axis=2)
    twice |= ((more[:, :, None] == more[:, None]) & earlier).any(axis=2)
    best = jnp.concatenate([best, jnp.where(twice, -jnp.inf, added)], axis=1)
    end = jnp.where(all_met(past, words), log_p[:, EOS], -jnp.inf)
    return best, jnp.concatenate([tokens, more], axis=1), end


def _keep_ended(
    beams: Beams,
    end_scores: Float[Array, "b k"],
    open_scores: Float[Array, "b k"],
    penalty: Array,
    bank: int,
) -> tuple[Int[Array, "b n t"], Float[Array, "b n"]]:
    """The n best finished sentences, new ones if their EOS is among the k best continuations.

    With forced words those of the first bank, which holds them all, are compared.
    """
    n, open_tokens = beams.done_scores.shape[1], beams.open_tokens
    if bank < end_scores.shape[1]:
        end_scores, open_scores = end_scores[:, :bank], open_scores[:, :bank]
        open_tokens = open_tokens[:, :bank]
    last = lax.top_k(jnp.concatenate([end_scores, open_scores], axis=1), bank)[0][:, -1:]
    end_scores = jnp.where(end_scores >= last, end_scores, -jnp.inf) / penalty
    ended = open_tokens.at[:, :, beams.position].set(EOS)
    scores, kept = lax.top_k(jnp.concatenate([beams.done_scores, end_scores], axis=1), n)
    return pick_rows(jnp.concatenate([beams.done_tokens, ended], axis=1), kept), scores


def rank(beams: Beams, penalty: float) -> DecodingResult:
    """Finished sentences, followed, if they are too few, by the prefixes still open."""
    n, k = beams.done_scores.shape[1], beams.open_scores.shape[1]
    scores = jnp.concatenate([beams.done_scores, beams.open_scores / penalty], axis=1)
    tokens = jnp.concatenate([beams.done_tokens, beams.open_tokens], axis=1)
    is_open = jnp.arange(n + k) >= n
    group = jnp.where(jnp.isneginf(scores), 2, is_open[None].astype(jnp.int32))
    order = jnp.argsort(group, axis=1, stable=True)[:, :n]
    scores = jnp.take_along_axis(scores, order, axis=1)
    exists = ~jnp.isneginf(scores)
    return decoded(jnp.where(exists[:, :, None], pick_rows(tokens, order), PAD), scores)
