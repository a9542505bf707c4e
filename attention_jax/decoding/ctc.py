"""Connectionist temporal classification (CTC): loss, greedy decoding, beam search, alignment.

    p(y | x) = sum over paths of prod_s p(path[s] | x),  collapse(path) = y

A path names a token or the blank at each frame; `collapse` merges repeats, then drops blanks. PAD
serves as the blank: it is in every vocabulary and in no transcript.

    tokens = ctc.greedy(logits, mask)                            # in jit, [b s]
    best = ctc.beam(log_probabilities, beam_size=8)              # on the host, one recording
    when = ctc.posteriors(log_probabilities, best[0].tokens)     # frames of each label

Reference: Graves et al. 2006, ICML, "Connectionist temporal classification".
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int

from attention_jax.core import checks
from attention_jax.core.plain_types import typed_calls
from attention_jax.data.types import PAD

BLANK = PAD


class Labels(NamedTuple):
    """Decoded tokens, and their log-probability summed over the paths that were kept."""

    tokens: tuple[int, ...]
    score: float


def loss(
    logits: Float[Array, "b s v"],
    mask: Bool[Array, "b s"],
    labels: Int[Array, "b t"],
    real: Float[Array, "b t"],
) -> Float[Array, " b"]:
    """CTC loss: -log p(y | x) of each recording, in nats.

    Args:
      logits: at each position.
      mask: which positions are real.
      labels: y, without EOS.
      real: 1 on labels, 0 on padding.
    """
    padding = 1 - mask.astype(jnp.float32)
    return optax.ctc_loss(logits, padding, labels, 1 - real.astype(jnp.float32), blank_id=BLANK)


@typed_calls
def frames_needed(labels: Sequence[int]) -> int:
    """Length of the shortest path to `labels`: a frame each, and a blank between equal neighbors.

    >>> frames_needed([5, 5, 6])
    4
    """
    return len(labels) + sum(a == b for a, b in zip(labels, labels[1:], strict=False))


def greedy(
    logits: Float[Array, "b s v"], mask: Bool[Array, "b s"]
) -> tuple[Int[Array, "b s"], Int[Array, " b"]]:
    """Tokens of the most probable path, padded by PAD, and their number."""
    path = jnp.where(mask, jnp.argmax(logits, axis=-1), BLANK).astype(jnp.int32)
    before = jnp.pad(path[:, :-1], ((0, 0), (1, 0)), constant_values=BLANK)
    kept = (path != BLANK) & (path != before)
    to = jnp.where(kept, jnp.cumsum(kept, axis=1) - 1, path.shape[1])
    rows = jnp.arange(len(path))[:, None]
    tokens = jnp.full_like(path, PAD).at[rows, to].set(path, mode="drop")
    return tokens, kept.sum(axis=1, dtype=jnp.int32)


def right(
    logits: Float[Array, "b s v"],
    mask: Bool[Array, "b s"],
    labels: Int[Array, "b t"],
    real: Float[Array, "b t"],
) -> Float[Array, " b"]:
    """1 for recordings whose most probable path gives exactly the labels, 0 for others."""
    tokens, counts = jax.lax.stop_gradient(greedy(logits, mask))
    s, t = tokens.shape[1], labels.shape[1]
    tokens = jnp.pad(tokens, ((0, 0), (0, max(0, t - s))), constant_values=PAD)[:, :t]
    same = ((tokens == labels) | (real == 0)).all(axis=1)
    return (same & (counts == real.sum(axis=1).astype(jnp.int32))).astype(jnp.float32)


@typed_calls
def beam(
    log_probabilities: Float[np.ndarray, "s v"], *, beam_size: int = 8, nbest: int = 1
) -> list[Labels]:
    """CTC prefix beam search for the most probable labels.

    The probability of a prefix sums over its paths, in two parts: paths that end in the blank, and
    paths that end in the last token. With a beam as large as the number of prefixes the result is
    exact.

    Args:
      log_probabilities: of one recording, without padding.
      beam_size: prefixes kept after each frame.
      nbest: number of results, best first.

    Raises:
      ValueError: a number is out of range.

    Reference: Graves 2012, "Supervised sequence labelling", section 7.5; Hannun et al. 2014,
      arXiv:1408.2873, algorithm 1, without its language model.
    """
    if not 1 <= nbest <= beam_size:
        raise ValueError(
            "`beam_size` must be at least 1, and `nbest` between 1 and `beam_size`; got "
            f"beam_size={beam_size}, nbest={nbest}."
        )
    checks.shape("log_probabilities", log_probabilities, "s v")
    log_p = np.asarray(log_probabilities, np.float64)
    kept: dict[tuple[int, ...], tuple[float, float]] = {(): (0.0, -np.inf)}
    for at in log_p:
        kept = _best(_advanced(kept, at, beam_size), beam_size)
    ranked = sorted(kept.items(), key=lambda item: -np.logaddexp(*item[1]))
    return [Labels(tokens, float(np.logaddexp(*both))) for tokens, both in ranked[:nbest]]


@typed_calls
def posteriors(
    log_probabilities: Float[np.ndarray, "s v"], labels: Sequence[int]
) -> Float[np.ndarray, "t s"]:
    """Posterior probability of each label at each frame, by the forward-backward algorithm.

        out[i, s] = p(path[s] stands for label i | y, x)

    Equal labels have rows of their own. A column sums to 1 minus the probability of the blank.

    Args:
      log_probabilities: of one recording, without padding.
      labels: y, at least one.

    Raises:
      ValueError: there are fewer frames than the shortest path to `labels` has.

    Reference: Graves et al. 2006, section 4.1.
    """
    checks.shape("log_probabilities", log_probabilities, "s v")
    log_p, needed = np.asarray(log_probabilities, np.float64), frames_needed(labels)
    if len(log_p) < needed:
        raise ValueError(
            f"`labels` must fit into the frames; got {len(log_p)} frames for labels that need "
            f"{needed}. Give fewer labels."
        )
    states = np.full(2 * len(labels) + 1, BLANK)
    states[1::2] = labels
    # Impossible tokens keep a finite log-probability, so that it can be subtracted again.
    at = np.maximum(log_p[:, states], -1e9)
    both = _forward(at, states) + _forward(at[::-1, ::-1], states[::-1])[::-1, ::-1] - at
    return np.exp(both - np.logaddexp.reduce(both, axis=1, keepdims=True)).T[1::2]


def _forward(at: Float[np.ndarray, "s n"], states: np.ndarray) -> Float[np.ndarray, "s n"]:
    """Forward variables: log-probability of the path prefixes in each state after each frame."""
    n, never = len(states), np.full(2, -np.inf)
    # The blank between two tokens can be skipped only if they differ.
    skips = (states != BLANK) & (states != np.concatenate([[BLANK] * 2, states])[:n])
    now, found = np.where(np.arange(n) == 0, 0.0, -np.inf), []
    for row in at:
        before = np.concatenate([never, now])
        leap = np.where(skips, before[:n], -np.inf)
        now = row + np.logaddexp(np.logaddexp(now, before[1 : n + 1]), leap)
        found.append(now)
    return np.array(found)


_Prefixes = dict[tuple[int, ...], tuple[float, float]]  # log p ending in the blank, in a token


def _advanced(kept: _Prefixes, at: np.ndarray, beam_size: int) -> _Prefixes:
    """Prefixes one frame later; of longer ones, those that can be among the best."""
    found: _Prefixes = {}

    def add(tokens: tuple[int, ...], blank: float, token: float) -> None:
        before = found.get(tokens, (-np.inf, -np.inf))
        found[tokens] = np.logaddexp(before[0], blank), np.logaddexp(before[1], token)

    # A prefix is best extended by the likeliest tokens; two of them may be the blank and a repeat.
    likely = np.argsort(-at, kind="stable")[: beam_size + 2]
    for tokens, (blank, token) in kept.items():
        total = np.logaddexp(blank, token)
        add(tokens, total + at[BLANK], token + at[tokens[-1]] if tokens else -np.inf)
        for new in map(int, likely):
            if new != BLANK:
                # A repeat is the same token unless a blank stands between.
                grown = blank if tokens and new == tokens[-1] else total
                add((*tokens, new), -np.inf, grown + at[new])
    # An extension that equals a kept prefix adds to it, however unlikely its token is.
    for tokens in kept:
        if tokens and tokens[:-1] in kept and tokens[-1] not in likely:
            blank, token = kept[tokens[:-1]]
            new = tokens[-1]
            again = len(tokens) > 1 and tokens[-2] == new
            grown = blank if again else np.logaddexp(blank, token)
            add(tokens, -np.inf, grown + at[new])
    return found


def _best(found: _Prefixes, count: int) -> _Prefixes:
    ranked = sorted(found.items(), key=lambda item: -np.logaddexp(*item[1]))
    return dict(ranked[:count])
