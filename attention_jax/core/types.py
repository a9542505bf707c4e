"""One alphabet for the whole library: axis letters, aliases, and the protocols.

Axis letters, in shapes such as `Float[Array, "b t h d"]`:

    b batch    t query length    h query heads             d key width      m model width
    n ranked   s key length      g key and value heads     e value width    v vocabulary
    l layers                       (g divides h)            k classes        f bands of a frame
    y rows of pixels, x across     c channels
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, runtime_checkable

import jax
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from attention_jax.core.calls import clear_fields

Params = Any  # a pytree of arrays; `{}` where nothing is learned
State = Any  # a pytree of arrays whose first axis is the batch

# An array of JAX or of NumPy, as public functions take it.
AnyArray = Array | np.ndarray
# An array, or what is known of one before it is there.
Like = Array | jax.ShapeDtypeStruct


@runtime_checkable
class Symbol(Protocol):
    """A length that `jax.export` leaves open."""

    @property
    def dimension_as_value(self) -> Array: ...


if TYPE_CHECKING:
    Length = int  # a symbol has its arithmetic
else:
    Length = int | Symbol
# One query [d] and one key [d] -> a scalar; or (query, key, b, h, i, j), with the global positions
# of the pair, where a function has so many arguments without a default.
Score = Callable[..., Array]
# (score, b, h, i, j) -> a scalar; i and j are global positions.
ScoreMod = Callable[[Array, Array, Array, Array, Array], Array]
# (b, h, i, j) -> a boolean: may query i see key j?
MaskFunction = Callable[[Array, Array, Array, Array], Array]


# What attention returns: the output [b t h e], or (output, lse [b t h]) with `return_lse`.
Output = Array | tuple[Array, Array]


Strategy = Literal["gather", "ring", "neighbors"]
Order = Literal["natural", "zigzag"]


@clear_fields
class Context(NamedTuple):
    """How the sequence of a call is divided over devices.

    Attributes:
      axis: of the mesh, whose shards hold parts of the sequence, in order.
      strategy: "gather" brings all keys and values to each shard; "ring" passes them on from shard
        to shard, so that none holds more than a part; "neighbors" brings those alone that a
        `masks.sliding_window` reaches.
      order: "natural", or "zigzag", where shard r of n holds the chunks r and 2n - 1 - r of 2n, so
        that all shards have as many pairs of a causal mask: see `zigzag`.
    """

    axis: str
    strategy: Strategy = "gather"
    order: Order = "natural"

    @property
    def chunks(self) -> int:
        """Chunks of the sequence that a shard holds."""
        return 2 if self.order == "zigzag" else 1


@clear_fields
class Options(NamedTuple):
    """The part of an attention call that a variant does not choose itself.

    The fields are keywords of `attention_jax.attention`, so a variant hands them on whole, or
    changed by `_replace`:

        attention(q, k, v, score=score, **options._asdict())

    Attributes:
      mask: `(b, h, i, j) -> bool`, whether query i may see key j; None where all see all.
      query_offset, key_offset: global positions of the first query and the first key.
      dropout_rate: share of the weights that is set to 0; the others grow by 1 / (1 - rate).
      dropout_key: needed where `dropout_rate` is above 0. A stochastic variant draws from it at
        any rate.
      return_lse: whether to return `(output, lse)`, with the log-sum-exp of each row's logits.
      implementation: of the engine; None for the fastest that honors the call.
      context: the axis of the mesh over which the sequence is divided, or a `Context`; None where
        each device has whole sequences.
    """

    mask: MaskFunction | None = None
    query_offset: int | Array = 0
    key_offset: int | Array = 0
    dropout_rate: float = 0.0
    dropout_key: PRNGKeyArray | None = None
    return_lse: bool = False
    implementation: str | None = None
    context: Context | str | None = None


class Variant(NamedTuple):
    """One attention mechanism: a tuple of pure functions, and what they can honor.

    Attributes:
      init: `(key, *, heads, kv_heads, head_width) -> params`.
      attend: `(params, q, k, v, options=Options()) -> out`, [b t h d], [b s g d], [b s g e] ->
        [b t h e]. An option that it cannot honor is a `ValueError`.
      start: `(params, batch, length, *, heads, kv_heads, head_width, value_width, dtype) -> state`
        before the first query, for `length` keys at most; only with `step` or `cross_step`.
      step: `(params, state, q, k, v) -> (state, out)` for the next position of one sequence,
        [b h d], [b g d], [b g e] -> [b h e]; reproduces the causal `attend`. Without it a decoder
        keeps keys and values, and attends to them anew.
      cross_step: `(params, state, q, k, v, *, visible) -> (state, out)` for the next query [b h d]
        over keys [b s g d] that stay; `visible` is [b s]. Only where the weights depend on the
        queries before. Takes `dropout_key` too where `stochastic`.
      score: `(params) -> Score`, only where the variant is nothing but the score of a pair.
        Such a variant also serves between two sequences and in RNN decoders.
      roles: where it can stand, of `ROLES`.
      mask_kind: "pairwise" where any mask may hide any pair; "keywise" where only keys can be
        hidden from all queries alike, beside `masks.causal`. Others are refused, but for
        `masks.documents` of a causal pass by those whose states begin anew with each document.
      stochastic: whether it draws, beside dropout; it then takes `dropout_key` at any rate.
      divides: whether `attend` honors `context` itself, inside `jax.shard_map`. Any other is called
        there with the queries of a shard, and with the keys and values of all.
      features: `(params, x) -> features`, [b t m] -> a tree of [b t ...]: what the variant computes
        from the layer's input at each position, such as gates, decays and step sizes. Then `init`
        takes `width` of that input too, and `attend` and `step` take `features`, those of the
        positions of the queries, without t for `step`. Its own projections of q, k and v stay the
        layer's.
      extend: `(params, state, q, k, v, *, visible=None) -> (state, out)` for the next positions of
        one sequence at once, [b t h d], [b t g d], [b t g e] -> [b t h e]; reproduces t calls of
        `step`, and from `start` the causal `attend`. `visible` is [b t], False where a key is
        hidden; refused where the state holds each position. Takes `features` as `attend` does.
        Only beside `step`, which serves in its place.
    """

    init: Callable[..., Params]
    attend: Callable[..., Any]
    start: Callable[..., State] | None = None
    step: Callable[..., tuple[State, Array]] | None = None
    cross_step: Callable[..., tuple[State, Array]] | None = None
    score: Callable[[Params], Score] | None = None
    roles: tuple[str, ...] = ("bidirectional", "causal")
    mask_kind: str = "pairwise"
    stochastic: bool = False
    divides: bool = False
    features: Callable[[Params, Array], Any] | None = None
    extend: Callable[..., tuple[State, Array]] | None = None


# Within one sequence, seen whole or up to each query; and from one sequence to another.
ROLES = ("bidirectional", "causal", "cross")


def no_parameters(key: PRNGKeyArray, **sizes: int) -> Params:
    """The `init` of a variant that learns nothing."""
    del key, sizes
    return {}


def is_typed_key(key: Any) -> bool:
    """Tells whether `key` is a typed random key, as `jax.random.key` makes."""
    return isinstance(key, jax.Array) and jax.dtypes.issubdtype(key.dtype, jax.dtypes.prng_key)
