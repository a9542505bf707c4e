"""States of one matrix a head, behind short convolutions: `from_recurrence` builds a variant."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from attention_jax.core.numerics import wide_dtype
from attention_jax.core.types import Options, Params, Variant
from attention_jax.variants._builders import exchange
from attention_jax.variants._builders.compiled import compiled, compiled_extension
from attention_jax.variants._builders.documents import Runs, near, reset
from attention_jax.variants._builders.keywise import (
    Prepared,
    finalize,
    marked,
    only_causal,
    taken,
)
from attention_jax.variants._builders.linear import spread


class RecurrentState(NamedTuple):
    """State of a recurrence.

    Attributes:
      sums: the state of each head, one matrix or what `Recurrence.empty` makes.
      q, k, v: the last vectors that convolutions reach back to, the latest first; of keys and
        values n m heads, where a position writes m of them.
    """

    sums: PyTree
    q: Float[Array, "b n h d"]
    k: Float[Array, "b n hm d"]
    v: Float[Array, "b n hm e"]


class Given(NamedTuple):
    """Parameters and features by which a position is taken in, beside its query, key and value.

    Attributes:
      params: of the variant.
      features: of the layer's input, or None.
      key: before the convolution.
      visible: the keys that are seen.
      runs: the documents that are packed into a sequence, if any are.
    """

    params: Params
    features: Any
    key: Float[Array, "b t h d"]
    visible: Bool[Array, "#b t"]
    runs: Runs | None = None

    def decay(self, x: Float[Array, "b t *d"]) -> Float[Array, "b t *d"]:
        """Log-decays, 0 at positions that are hidden, and lowest where a document begins."""
        return reset(self.runs, self.shown(x))

    @property
    def since(self) -> Int[Array, "b t"] | None:
        """Positions since the document began; None where no documents are packed."""
        return None if self.runs is None else self.runs.since

    def shown(self, x: Float[Array, "b t *d"]) -> Float[Array, "b t *d"]:
        """The array, 0 at positions that are hidden."""
        return jnp.where(self.visible.reshape(*self.visible.shape, *[1] * (x.ndim - 2)), x, 0)


class Recurrence(NamedTuple):
    """How states take in positions.

    Attributes:
      arrays: `(given, q, k, v) -> arrays`, after convolutions: of each position, all that the
        others need, the query first; None for what is not there. A hidden position must leave the
        state as it is, and log-decays be those of `given.decay`.
      scan: `(*arrays, start=state) -> (state, out [b t h e])`, from zeros or `empty` where `start`
        is None; the state need not be known then.
      step: `(state, *arrays of one position) -> (state, out [b h e])`.
      finish: `(given, out, *arrays) -> out`.
      moved: `(*arrays but the query) -> moves, added`: by what all positions move the state before
        them, and what they add to it; None where that is not known, so that no shard can go on
        from the state of the one before.
      before: of `exchange`: `state_before` where states fade, `delta_state_before` where a matrix
        moves them; None where `moved` is.
      empty: `(params, length, shape [b h d e], dtype) -> state` before the first position, whose
        floating arrays begin with the axes b and h; None for a matrix of zeros.
      writes: keys and values of a position.
      further: `(features) -> keys [b t h m-1 d], values`, where a position writes m of them.
    """

    arrays: Callable[..., tuple[Array | None, ...]]
    scan: Callable[..., tuple[Any, Array]]
    step: Callable[..., tuple[PyTree, Array]]
    finish: Callable[..., Array]
    moved: Callable[..., tuple[Array, Array]] | None = None
    before: Callable[..., Array | None] | None = None
    empty: Callable[..., PyTree] | None = None
    writes: int = 1
    further: Callable[[PyTree], tuple[Array, Array]] | None = None


def from_recurrence(
    name: str,
    of: Recurrence,
    *,
    init: Callable[..., Params],
    features: Callable[[Params, Array], PyTree] | None = None,
    convolution: int | None = None,
) -> Variant:
    """A state that each position moves and adds to, for causal passes only.

    Args:
      name: of the variant, for errors.
      of: the recurrence.
      init: as of `Variant`; with "taps" of `taps` where there are convolutions.
      features: as of `Variant`.
      convolution: positions that the causal convolutions of q, k and v span; None for none.
    """

    back = (convolution or 1) - 1
    return Variant(
        init,
        compiled(partial(_attend, name, of, back)),
        partial(_start, back, of),
        partial(_step, of),
        roles=("causal",),
        mask_kind="keywise",
        divides=of.moved is not None,
        features=features,
        extend=compiled_extension(partial(_extend, of, back)),
    )


def _attend(
    name: str,
    of: Recurrence,
    back: int,
    params: Params,
    q: Array,
    k: Array,
    v: Array,
    options: Options = Options(),
    features: PyTree = None,
) -> Float[Array, "b t h e"]:
    got, _, layout = exchange.prepared(name, q, k, v, options)
    only_causal(name, got.causal)
    tail = partial(exchange.tail_before, layout, count=back)
    given, arrays, _ = _taken_in(of, params, features, got, lambda now: map(tail, now))
    start = None if of.before is None else of.before(layout, of.moved, *arrays[1:])
    _, out = of.scan(*arrays, start=start)
    return finalize(got, of.finish(given, out, *arrays), q.dtype)


def _extend(
    of: Recurrence,
    back: int,
    params: Params,
    state: RecurrentState,
    q: Array,
    k: Array,
    v: Array,
    visible: Array | None = None,
    features: PyTree = None,
) -> tuple[RecurrentState, Float[Array, "b t h e"]]:
    got = taken(q, k, v, visible, dtype=state.q.dtype)
    tails = lambda now: (x[:, ::-1] for x in state[1:])  # noqa: E731
    given, arrays, reach = _taken_in(of, params, features, got, tails)
    sums, out = of.scan(*arrays, start=state.sums)
    last = (x[:, x.shape[1] - back :][:, ::-1] for x in reach)
    out = finalize(got, of.finish(given, out, *arrays), q.dtype)
    return RecurrentState(marked(got, sums), *last), out


def _step(
    of: Recurrence,
    params: Params,
    state: RecurrentState,
    q: Array,
    k: Array,
    v: Array,
    features: PyTree = None,
) -> tuple[RecurrentState, Float[Array, "b h e"]]:
    own = jax.tree.map(lambda x: x[:, None], features)
    state, out = _turn(of, params, own, state, (q, k, v))
    return state, out.astype(q.dtype)


# The arrays of now -> of each, the positions before it to which a convolution reaches.
Tails = Callable[[tuple[Array, ...]], Iterable[Array]]


def _taken_in(
    of: Recurrence, params: Params, features: PyTree, got: Prepared, tails: Tails
) -> tuple[Given, tuple[Array | None, ...], tuple[Array, ...]]:
    """All that is given, the arrays of all positions, and what convolutions reach, in order."""
    own = tuple(spread(x, got.q.shape[2]) for x in (got.k, got.v))
    given = Given(params, features, own[0], got.visible, got.runs)
    k, v = _with_further(of, given, *own)
    # A hidden position's own query still reads, but no later one takes it in.
    later = given.shown(got.q), k, v
    reach = tuple(jnp.concatenate(x, axis=1) for x in zip(tails(later), later, strict=True))
    return given, of.arrays(given, *_convolved(given, (got.q, k, v), reach)), reach


def _start(
    back: int, of: Recurrence, params: Params, batch: int, length: int, **sizes: Any
) -> RecurrentState:
    """The state before the first position, whose convolutions reach `back` positions back."""
    heads, width, value_width = (sizes[x] for x in ("heads", "head_width", "value_width"))
    dtype = wide_dtype(jnp.zeros((), sizes["dtype"]))
    shape = batch, heads, width, value_width
    empty = of.empty
    sums = jnp.zeros(shape, dtype) if empty is None else empty(params, length, shape, dtype)
    shapes = (heads, width), (heads * of.writes, width), (heads * of.writes, value_width)
    return RecurrentState(sums, *(jnp.zeros((batch, back, *own), dtype) for own in shapes))


def _turn(
    of: Recurrence,
    params: Params,
    features: PyTree,
    state: RecurrentState,
    qkv: tuple[Array, Array, Array],
) -> tuple[RecurrentState, Float[Array, "b h e"]]:
    """The state and the output of the next position."""
    dtype, heads = state.q.dtype, qkv[0].shape[1]
    q, *own = (spread(x[:, None].astype(dtype), heads) for x in qkv)
    given = Given(params, features, own[0], jnp.ones((1, 1), bool))
    new = q, *_with_further(of, given, *own)
    windows = tuple(jnp.concatenate(x, axis=1) for x in zip(new, state[1:], strict=True))
    mixed = new
    if "taps" in params:
        mixed = tuple(
            (window * tap.astype(dtype).swapaxes(0, 1)[None]).sum(1, keepdims=True)
            for window, tap in zip(windows, _taps_of(params, own[1].shape[-1]), strict=True)
        )
    arrays = of.arrays(given, *mixed)
    sums, out = of.step(state.sums, *jax.tree.map(lambda x: x[:, 0], arrays))
    out = of.finish(given, out[:, None], *arrays)[:, 0]
    return RecurrentState(sums, *(x[:, :-1] for x in windows)), out


def _with_further(
    of: Recurrence, given: Given, k: Float[Array, "b t h d"], v: Float[Array, "b t h e"]
) -> tuple[Float[Array, "b t hm d"], Float[Array, "b t hm e"]]:
    """The keys and values of a position with those that come of the layer's input, head by head."""
    if of.further is None:
        return k, v
    keys, values = (given.shown(x.astype(k.dtype)) for x in of.further(given.features))
    pairs = (k, keys), (v, values[..., : v.shape[-1]])
    k, v = (jnp.concatenate([own[..., None, :], more], axis=3) for own, more in pairs)
    flat = lambda x: x.reshape(*x.shape[:2], -1, x.shape[-1])  # noqa: E731
    return flat(k), flat(v)


def taps(
    key: PRNGKeyArray, heads: int, span: int, width: int, *, shared: bool = False, writes: int = 1
) -> dict[str, Array]:
    """Taps of each channel of q, k and v; of values for all channels alike where `shared`."""
    keys = jax.random.split(key, 3)
    wide = heads * writes, span, width
    shapes = {"q": (heads, span, width), "k": wide, "v": wide[:2] if shared else wide}
    return {
        name: jax.random.uniform(k, shape, minval=-(span**-0.5), maxval=span**-0.5)
        for k, (name, shape) in zip(keys, shapes.items(), strict=True)
    }


def _taps_of(params: Params, value_width: int) -> tuple[Array, Array, Array]:
    """Taps [h n d] of queries and keys, and [h n #e] of values."""
    taps = params["taps"]
    of_values = taps["v"]
    of_values = of_values[..., None] if of_values.ndim == 2 else of_values[..., :value_width]
    return taps["q"], taps["k"], of_values


def _convolved(given: Given, now: tuple[Array, ...], reach: tuple[Array, ...]) -> tuple[Array, ...]:
    if "taps" not in given.params:
        return now
    own = partial(convolve, runs=given.runs)
    return tuple(map(own, _taps_of(given.params, now[2].shape[-1]), now, reach))


def convolve(
    taps: Float[Array, "h n #d"],
    now: Float[Array, "b t h d"],
    before: Float[Array, "b p h d"],
    *,
    runs: Runs | None = None,
) -> Float[Array, "b t h d"]:
    """A causal convolution of each channel.

        out_t = taps_0 now_t + sum_(l > 0) taps_l before_(t - l)

    Args:
      before: what later positions see of `now`, after the n - 1 positions before it.
      runs: documents beyond which it does not reach.
    """
    n, t = taps.shape[1], now.shape[1]
    taps = taps.astype(now.dtype)
    out = taps[:, 0][None, None] * now
    for lag in range(1, n):
        earlier = near(runs, before[:, n - 1 - lag : n - 1 - lag + t], lag)
        out = out + taps[:, lag][None, None] * earlier
    return out
