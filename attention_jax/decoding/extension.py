"""Greedy decoding and sampling, step by step: each row is one sentence, extended until it ends."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from attention_jax.core.types import State
from attention_jax.data.types import BOS, EOS, PAD
from attention_jax.decoding.logits import without_special
from attention_jax.decoding.loops import Loop
from attention_jax.decoding.options import DecodingOptions
from attention_jax.decoding.types import DecodingResult, Step, batch_size, decoded, pick

# (logits [b v], position, keys [b]) -> tokens [b]
Choice = Callable[[Array, Array, Array | None], Array]


class Sentences(NamedTuple):
    """One unfinished sentence a row.

    Attributes:
      keys: random keys of the rows, of sampling.
      before: tokens before the sentences, where the options have them.
    """

    position: Int[Array, ""]
    state: State
    token: Int[Array, " b"]
    tokens: Int[Array, "b t"]
    scores: Float[Array, " b"]
    ended: Bool[Array, " b"]
    keys: Key[Array, " b"] | None = None
    before: Int[Array, "b s"] | None = None


def loop(
    choose: Choice,
    *,
    max_length: int,
    options: DecodingOptions,
    keys: Key[Array, " b"] | None = None,
) -> Loop:
    """Appends the token that `choose` picks of the allowed logits until every row has ended."""
    return Loop(
        partial(start, max_length=max_length, keys=keys, options=options),
        lambda path: ~path.ended,
        partial(advance, choose=choose, options=options),
        _result,
        max_length,
    )


def start(
    state: State, *, max_length: int, keys: Key[Array, " b"] | None, options: DecodingOptions
) -> Sentences:
    """The sentence of every row before its first token."""
    b = batch_size(state)
    return Sentences(
        position=jnp.int32(0),
        state=state,
        token=jnp.full(b, BOS, jnp.int32),
        tokens=jnp.full((b, max_length), PAD, jnp.int32),
        scores=jnp.zeros(b, jnp.float32),
        ended=jnp.zeros(b, bool),
        keys=keys,
        before=options.before_of(b),
    )


def advance(step: Step, path: Sentences, *, choose: Choice, options: DecodingOptions) -> Sentences:
    """Extends every sentence that has not ended by a token."""
    state, logits = step(path.state, path.token)
    logits, before = logits.astype(jnp.float32), path.ended
    rule = options.after(path.before).rule
    allowed = logits if rule is None else rule(logits, path.tokens, path.position)
    allowed = without_special(allowed)
    if rule is not None:
        before |= jnp.isneginf(allowed).all(axis=-1)  # where nothing may follow, it is cut
    chosen = choose(allowed, path.position, path.keys).astype(jnp.int32)
    token = jnp.where(before, PAD, chosen)
    # Of the chosen token alone: normalizing all of them would write them all.
    log_p = pick(logits, chosen) - jax.nn.logsumexp(logits, axis=-1)
    return path._replace(
        position=path.position + 1,
        state=state,
        token=token,
        tokens=path.tokens.at[:, path.position].set(token),
        scores=path.scores + jnp.where(before, 0.0, log_p),
        ended=before | (token == EOS),
    )


def _result(path: Sentences) -> DecodingResult:
    return decoded(path.tokens[:, None], path.scores[:, None])
