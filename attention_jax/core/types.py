"""One alphabet for the whole library: axis letters, aliases, and the protocols.

Axis letters, in shapes such as `Float[Array, "b t h d"]`:

    b batch    t query length    h query heads             d key width      m model width
    n ranked   s key length      g key and value heads     e value width    v vocabulary
    l layers                       (g divides h)            k classes        f bands of a frame
    y rows of pixels, x across     c channels
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jaxtyping import Array, PRNGKeyArray

Params = Any  # a pytree of arrays; `{}` where nothing is learned
State = Any  # a pytree of arrays whose first axis is the batch

# An array, or what is known of one before it is there.
Like = Array | jax.ShapeDtypeStruct
# One query [d] and one key [d] -> a scalar.
Score = Callable[[Array, Array], Array]
# (score, b, h, i, j) -> a scalar; i and j are global positions.
ScoreMod = Callable[[Array, Array, Array, Array, Array], Array]
# (b, h, i, j) -> a boolean: may query i see key j?
MaskFunction = Callable[[Array, Array, Array, Array], Array]


class Variant(NamedTuple):
    """One attention mechanism: a tuple of pure functions, and what they can honour.

    Attributes:
      init: `(key, *, heads, kv_heads, head_width) -> params`.
      attend: `(params, q, k, v, *, mask, query_offset, ...) -> out`, with the keywords of
        `attention_jax.attention` that it does not choose itself.
      start: `(params, batch, length, *, heads, kv_heads, head_width, value_width, dtype) -> state`
        before the first query, for `length` keys at most; only where there is `step` or `align`.
      step: `(params, state, q, k, v) -> (state, out)` for the next position of one sequence,
        [b h d], [b g d], [b g e] -> [b h e]; reproduces the causal `attend`. Without it a decoder
        keeps keys and values, and attends to them anew.
      align: `(params, state, q, k, v, *, visible) -> (state, out)` for the next query [b h d] over
        keys [b s g d] that stay; `visible` is [b s]. Only where it depends on the queries before.
        Takes `dropout_key` too where `random`.
      score: `(params) -> Score`, only where the variant is nothing but the score of a pair.
        Such a variant also serves between two sequences and in RNN decoders.
      serves: where it can stand, of `PLACES`.
      masks: "pairs" where any mask may hide any pair; "keys" where only keys can be hidden from
        all queries alike, beside `masks.causal`. Others are refused.
      random: whether it draws, beside dropout; it then takes `dropout_key` at any rate.
    """

    init: Callable[..., Params]
    attend: Callable[..., Any]
    start: Callable[..., State] | None = None
    step: Callable[..., tuple[State, Array]] | None = None
    align: Callable[..., tuple[State, Array]] | None = None
    score: Callable[[Params], Score] | None = None
    serves: tuple[str, ...] = ("bidirectional", "causal")
    masks: str = "pairs"
    random: bool = False


# Within one sequence, seen whole or up to each query; and from one sequence to another.
PLACES = ("bidirectional", "causal", "cross")


def no_parameters(key: PRNGKeyArray, **sizes: int) -> Params:
    """The `init` of a variant that learns nothing."""
    del key, sizes
    return {}


def is_typed_key(key: Any) -> bool:
    """Whether `key` is a new-style random key, as `jax.random.key` makes."""
    return isinstance(key, jax.Array) and jax.dtypes.issubdtype(key.dtype, jax.dtypes.prng_key)
