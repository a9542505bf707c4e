"""Rules on the logits of the next token: repetition, n-grams, least length, tokens, prefix.

A rule is a function `(logits [r v], tokens [r t], position) -> logits [r v]`: `tokens` are those
that each row has so far, PAD from `position` on, and -inf forbids a token. `DecodingOptions` makes
one rule of those that are asked for.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from attention_jax.data.types import EOS, PAD

Logits = Float[Array, "r v"]
Rule = Callable[[Array, Array, Array], Array]  # (logits [r v], tokens [r t], position) -> logits


def penalize_repetition(logits: Logits, past: Int[Array, "r t"], *, penalty: float) -> Logits:
    """Makes tokens that occurred less likely.

        logits'[y] = logits[y] / penalty    if logits[y] >= 0, for y in past
                     logits[y] * penalty    if logits[y] < 0

    Args:
      logits: of the next token.
      past: tokens; PAD may stand among them.
      penalty: above 1, or below to make them more likely.

    Reference: Keskar et al. 2019, arXiv:1909.05858, section 4.1; with the two cases of Hugging
      Face's `RepetitionPenaltyLogitsProcessor`.
    """
    scaled = jnp.where(logits < 0, logits * penalty, logits / penalty)
    return jnp.where(_marked(logits, jnp.where(past == PAD, -1, past)), scaled, logits)


def forbid_repeated_ngrams(
    logits: Logits, past: Int[Array, "r t"], length: Int[Array, ""], *, size: int
) -> Logits:
    """Forbids tokens that would complete a sequence of `size` tokens which occurred.

        logits'[y] = -inf    if (past[length-size+1:length], y) = past[i:i+size] for an i

    Args:
      logits: of the next token.
      past: tokens, of which the first `length` count.
      length: number of tokens so far.
      size: tokens of an n-gram; at 1 no token occurs twice.

    Reference: Paulus et al. 2017, arXiv:1705.04304, section 2.5; Hugging Face's
      `NoRepeatNGramLogitsProcessor`.
    """
    rows, room = past.shape
    windows = room - size + 1
    if windows < 1:
        return logits
    # Where there are fewer tokens than this, the windows are beyond `length` anyway.
    last = lax.dynamic_slice_in_dim(past, jnp.maximum(length - size + 1, 0), size - 1, axis=1)
    same = jnp.broadcast_to(jnp.arange(windows)[None] + size - 1 < length, (rows, windows))
    for offset in range(size - 1):
        same &= past[:, offset : offset + windows] == last[:, offset, None]
    completing = jnp.where(same, past[:, size - 1 :], -1)
    return jnp.where(_marked(logits, completing), -jnp.inf, logits)


def forbid_early_end(logits: Logits, position: Int[Array, ""], *, least: int) -> Logits:
    """Forbids EOS until there are `least` tokens.

    Reference: Hugging Face's `MinNewTokensLengthLogitsProcessor`.
    """
    is_end = (jnp.arange(logits.shape[-1]) == EOS)[None]
    return jnp.where(is_end & (position < least), -jnp.inf, logits)


def forbid_tokens(
    logits: Logits,
    position: Int[Array, ""],
    *,
    never: tuple[int, ...] = (),
    never_first: tuple[int, ...] = (),
    first: int = 0,
) -> Logits:
    """Forbids tokens wherever they would stand, and others where a text begins.

    Args:
      logits: of the next token.
      position: number of tokens so far.
      never: tokens that stand nowhere.
      never_first: tokens that do not stand at position `first`.

    Reference: Hugging Face's `SuppressTokensLogitsProcessor` and
      `SuppressTokensAtBeginLogitsProcessor`.
    """
    index = jnp.arange(logits.shape[-1])
    nowhere = jnp.isin(index, jnp.asarray(never, jnp.int32))
    not_here = jnp.isin(index, jnp.asarray(never_first, jnp.int32)) & (position == first)
    return jnp.where((nowhere | not_here)[None], -jnp.inf, logits)


def force_prefix(
    logits: Logits, given: Logits, position: Int[Array, ""], *, prefix: tuple[int, ...]
) -> Logits:
    """Forbids all tokens but that of the prefix, as long as it lasts.

    Args:
      logits: of the next token.
      given: the same before other rules, which hold where those forbid the token.
      position: number of tokens so far.
      prefix: tokens, at least one.

    Reference: Hugging Face's `PrefixConstrainedLogitsProcessor`, with one token allowed.
    """
    token = jnp.asarray(prefix)[jnp.minimum(position, len(prefix) - 1)]
    is_forced = (jnp.arange(logits.shape[-1]) == token)[None]
    forced = jnp.where(is_forced, jnp.where(jnp.isneginf(logits), given, logits), -jnp.inf)
    return jnp.where(position < len(prefix), forced, logits)


def _marked(logits: Logits, tokens: Int[Array, "r n"]) -> Array:
    """True at the tokens of each row; those below 0 mark nothing."""
    rows = jnp.arange(len(tokens))[:, None]
    # A negative index would count from the end: it is sent beyond it, and dropped.
    index = jnp.where(tokens < 0, logits.shape[-1], tokens)
    return jnp.zeros(logits.shape, bool).at[rows, index].set(True, mode="drop")
