"""The linear family of variants: functions that build a variant from what it does to a key.

`from_features` for weighted means, `from_decay` for states that fade, `from_delta` for states that
are corrected.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, PRNGKeyArray

from attention_jax.core.numerics import wide_dtype
from attention_jax.core.types import ROLES, Options, Params, Variant, no_parameters
from attention_jax.engine.context_layout import Layout
from attention_jax.variants._builders import exchange
from attention_jax.variants._builders.chunked_scan import (
    added,
    delta_added,
    delta_scan,
    delta_step,
    read,
    scan,
    step,
)
from attention_jax.variants._builders.compiled import compiled
from attention_jax.variants._builders.keywise import Prepared, finalize, only_causal


class LinearState(NamedTuple):
    """Recurrent state of weighted sums.

    Attributes:
      sums: the state of each head.
      position: of the next query.
    """

    sums: Float[Array, "b g d e"]
    position: Int[Array, " b"]


# (vectors [b t n d], positions [#b t]) -> features [b t n m]
Feature = Callable[[Array, Array], Array]


def from_features(
    name: str, of_query: Feature, of_key: Feature, *, roles: tuple[str, ...] = ROLES
) -> Variant:
    """A weighted mean whose weights are products of features: a sum over keys, made once.

        out_i = (sum_j phi(k_j) v_j^T)^T phi(q_i) / (sum_j phi(k_j)) . phi(q_i)

    Args:
      name: of the variant, for errors.
      of_query, of_key: features of wide arrays and their positions; no product is negative.
      roles: where the variant can stand, of `core.types.ROLES`.
    """

    @compiled
    def attend(params: Params, q: Array, k: Array, v: Array, options: Options = Options()) -> Array:
        del params
        got, options, layout = exchange.prepared(name, q, k, v, options)
        queries = of_query(got.q, positions_from(options.query_offset, q.shape[1]))
        keys = of_key(got.k, positions_from(options.key_offset, k.shape[1]))
        keys = jnp.where(got.visible[:, :, None, None], keys, 0)
        values = _counted(got.v)
        if got.causal:
            before = exchange.state_before(layout, added, keys, values)
            sums = scan(queries, keys, values, start=before)
        else:
            sums = read(exchange.total(layout, added(keys, values)[1]), queries)
        return finalize(got, _mean(sums), q.dtype)

    def next_one(
        params: Params, state: LinearState, q: Array, k: Array, v: Array
    ) -> tuple[LinearState, Array]:
        del params
        at, dtype = state.position[:, None], state.sums.dtype
        queries = of_query(q[:, None].astype(dtype), at)[:, 0]
        keys = of_key(k[:, None].astype(dtype), at)[:, 0]
        sums, out = step(state.sums, queries, keys, _counted(v.astype(dtype)))
        return LinearState(sums, state.position + 1), _mean(out).astype(q.dtype)

    start = partial(_feature_start, of_key)
    return Variant(
        no_parameters, attend, start, next_one, roles=roles, mask_kind="keywise", divides=True
    )


def _feature_start(
    of_key: Feature, params: Params, batch: int, length: int, **sizes: Any
) -> LinearState:
    """The state before the first position: sums of as many features as a key has."""
    del params, length
    dtype = wide_dtype(jnp.zeros((), sizes["dtype"]))
    key = jax.ShapeDtypeStruct((1, 1, 1, sizes["head_width"]), dtype)
    width = jax.eval_shape(of_key, key, jax.ShapeDtypeStruct((1, 1), jnp.int32)).shape[-1]
    return empty_state(batch, sizes["kv_heads"], width, sizes["value_width"] + 1, dtype)


def _counted(v: Float[Array, "*b e"]) -> Float[Array, "*b e_and_one"]:
    """The values with a channel of ones, in which the weights add up."""
    return jnp.concatenate([v, jnp.ones((*v.shape[:-1], 1), v.dtype)], axis=-1)


def _mean(sums: Float[Array, "*b e_and_one"]) -> Float[Array, "*b e"]:
    """The sums of values over the sum of weights, which stands beside them; 0 where that is 0."""
    total = sums[..., -1:]
    # The inner where keeps the derivative finite where nothing is seen.
    return jnp.where(total == 0, 0, sums[..., :-1] / jnp.where(total == 0, 1, total))


# (params, q [b t h d], k [b t h d], positions [#b t], visible [#b t]) -> q, k, log_decay [b t h #d]
Fade = Callable[[Params, Array, Array, Array, Array], tuple[Array, Array, Array]]


def from_decay(
    name: str,
    fade: Fade,
    *,
    normalize: bool | Callable[[Array], Array],
    init: Callable[..., Params] = no_parameters,
) -> Variant:
    """A state that fades, for causal passes only.

        S_j = exp(log_decay_j) S_{j-1} + k_j v_j^T        out_j = normalize(S_j^T q_j)

    Each query head has a state of its own: heads may fade differently over the same keys.

    Args:
      name: of the variant, for errors.
      fade: what becomes of queries and keys, and how the state decays at each position.
      normalize: whether each head's output is brought to mean 0 and variance 1; or what is done
        with the outputs of all heads instead, [..., h, e] each.
    """
    given = {True: layer_norm, False: _as_it_is}
    finish = normalize if callable(normalize) else given[normalize]

    @compiled
    def attend(params: Params, q: Array, k: Array, v: Array, options: Options = Options()) -> Array:
        got, options, layout = exchange.prepared(name, q, k, v, options)
        only_causal(name, got.causal)
        at = positions_from(options.key_offset, k.shape[1])
        k, v = (spread(x, q.shape[2]) for x in (got.k, got.v))
        queries, keys, log_decay = fade(params, got.q, k, at, got.visible)
        return finalize(got, finish(_faded(layout, queries, keys, v, log_decay)), q.dtype)

    def start(params: Params, batch: int, length: int, **sizes: Any) -> LinearState:
        del params, length
        dtype = wide_dtype(jnp.zeros((), sizes["dtype"]))
        widths = sizes["head_width"], sizes["value_width"]
        return empty_state(batch, sizes["heads"], *widths, dtype)

    def next_one(
        params: Params, state: LinearState, q: Array, k: Array, v: Array
    ) -> tuple[LinearState, Array]:
        at, dtype = state.position[:, None], state.sums.dtype
        k, v = (spread(x[:, None].astype(dtype), q.shape[1]) for x in (k, v))
        faded = fade(params, q[:, None].astype(dtype), k, at, jnp.ones((1, 1), bool))
        queries, keys, log_decay = (x[:, 0] for x in faded)
        sums, out = step(state.sums, queries, keys, v[:, 0], log_decay)
        return LinearState(sums, state.position + 1), finish(out).astype(q.dtype)

    return Variant(
        init, attend, start, next_one, roles=("causal",), mask_kind="keywise", divides=True
    )


def _faded(layout: Layout | None, q: Array, k: Array, v: Array, log_decay: Array) -> Array:
    """The causal pass of one shard, from the state after those before it."""
    before = exchange.state_before(layout, added, k, v, log_decay)
    return scan(q, k, v, log_decay, start=before)


def empty_state(
    batch: int, heads: int, key_width: int, value_width: int, dtype: DTypeLike
) -> LinearState:
    """The state before the first position."""
    sums = jnp.zeros((batch, heads, key_width, value_width), dtype)
    return LinearState(sums, jnp.zeros(batch, jnp.int32))


def spread(x: Float[Array, "b s g d"], heads: int) -> Float[Array, "b s h d"]:
    """Each key head, once for every query head that reads it."""
    return jnp.repeat(x, heads // x.shape[2], axis=2)


def positions_from(offset: int | Array, length: int) -> Int[Array, "1 t"]:
    """Positions that follow one another, for all sequences of a batch."""
    return (jnp.asarray(offset, jnp.int32) + jnp.arange(length, dtype=jnp.int32))[None]


def layer_norm(x: Float[Array, "*b e"]) -> Float[Array, "*b e"]:
    """Mean 0 and variance 1 over the last axis; a vector of zeros stays one."""
    centered = x - x.mean(-1, keepdims=True)
    return root_mean_square_norm(centered)


def root_mean_square_norm(x: Float[Array, "*b e"]) -> Float[Array, "*b e"]:
    """Mean square 1 over the last axis; a vector of zeros stays one."""
    return x * jax.lax.rsqrt((x * x).mean(-1, keepdims=True) + 1e-5)


def norm_of_all_heads(x: Float[Array, "*b h e"]) -> Float[Array, "*b h e"]:
    """Mean square 1 over all heads together; where all are zeros they stay so."""
    return x * jax.lax.rsqrt((x * x).mean((-2, -1), keepdims=True) + 1e-5)


def _as_it_is(x: Array) -> Array:
    return x


class DeltaState(NamedTuple):
    """Recurrent state of the delta rule.

    Attributes:
      sums: the state of each head.
      q, k, v: the last vectors that convolutions reach back to, the latest first.
    """

    sums: Float[Array, "b h d e"]
    q: Float[Array, "b n h d"]
    k: Float[Array, "b n h d"]
    v: Float[Array, "b n h e"]


def from_delta(
    name: str,
    *,
    convolution: int | None,
    normalize: bool,
    gate: tuple[Callable[..., Params], Callable[[Params, Array], Array]] | None = None,
) -> Variant:
    """A state that is corrected rather than added to, for causal passes only.

    Queries, keys and values pass a short causal convolution and SiLU; queries and keys then have
    length 1. How strongly a key writes is a sigmoid of a learned product with the key.

    Args:
      name: of the variant, for errors.
      convolution: positions that it spans; None for no convolution.
      normalize: whether each head's output is brought to mean square 1.
      gate: `(key, heads, head_width) -> params` and `(params, k [b t h d]) -> log_decay [b t h]`;
        None where nothing decays.
    """
    finish = root_mean_square_norm if normalize else lambda out: out
    gates = partial(_gates, None if gate is None else gate[1])

    def init(key: PRNGKeyArray, *, heads: int, kv_heads: int, head_width: int) -> Params:
        del kv_heads
        key_strength, key_taps, key_gate = jax.random.split(key, 3)
        drawn = jax.random.normal(key_strength, (heads, head_width))
        params: dict[str, Any] = {"strength": drawn * head_width**-0.5}
        if convolution is not None:
            params["taps"] = _taps(key_taps, heads, convolution, head_width)
        if gate is not None:
            params["gate"] = gate[0](key_gate, heads, head_width)
        return params

    @compiled
    def attend(params: Params, q: Array, k: Array, v: Array, options: Options = Options()) -> Array:
        got, _, layout = exchange.prepared(name, q, k, v, options)
        only_causal(name, got.causal)
        return finalize(got, finish(_delta_pass(params, gates, got, layout)), q.dtype)

    def next_one(
        params: Params, state: DeltaState, q: Array, k: Array, v: Array
    ) -> tuple[DeltaState, Array]:
        state, out = _delta_turn(params, gates, state, q, k, v)
        return state, finish(out).astype(q.dtype)

    start = partial(_delta_start, (convolution or 1) - 1)
    return Variant(
        init, attend, start, next_one, roles=("causal",), mask_kind="keywise", divides=True
    )


# (params, k [b t h d], visible [#b t]) -> strength and log_decay [b t h]
Gates = Callable[[Params, Array, Array], tuple[Array, Array]]


def _gates(
    decay: Callable[[Params, Array], Array] | None, params: Params, k: Array, visible: Array
) -> tuple[Array, Array]:
    """The strength of each key and its log-decay of the state; 0 where hidden."""
    strength = jax.nn.sigmoid(per_head(params["strength"], k))
    log_decay = jnp.zeros_like(strength) if decay is None else decay(params["gate"], k)
    shown = visible[..., None]
    return jnp.where(shown, strength, 0), jnp.where(shown, log_decay, 0)


def _delta_pass(
    params: Params, gates: Gates, got: Prepared, layout: Layout | None
) -> Float[Array, "b t h e"]:
    """The output of all positions at once."""
    k, v = (spread(x, got.q.shape[2]) for x in (got.k, got.v))
    # A hidden position's own query still reads, but no later one takes it in.
    before = jnp.where(got.visible[:, :, None, None], got.q, 0), k, v
    strength, log_decay = gates(params, k, got.visible)
    mixed = _convolved(params, (got.q, k, v), before, layout)
    q, k, v = _shaped(*mixed)
    start = exchange.delta_state_before(layout, delta_added, k, v, strength, log_decay)
    return delta_scan(q, k, v, strength, log_decay, start=start)


def _delta_start(back: int, params: Params, batch: int, length: int, **sizes: Any) -> DeltaState:
    """The state before the first position, whose convolutions reach `back` positions back."""
    del params, length
    heads, width, value_width = (sizes[x] for x in ("heads", "head_width", "value_width"))
    dtype = wide_dtype(jnp.zeros((), sizes["dtype"]))
    sums = jnp.zeros((batch, heads, width, value_width), dtype)
    past = (jnp.zeros((batch, back, heads, n), dtype) for n in (width, width, value_width))
    return DeltaState(sums, *past)


def _delta_turn(
    params: Params, gates: Gates, state: DeltaState, q: Array, k: Array, v: Array
) -> tuple[DeltaState, Array]:
    """The state and the output of the next position."""
    dtype, heads = state.sums.dtype, q.shape[1]
    new = tuple(spread(x[:, None].astype(dtype), heads) for x in (q, k, v))
    windows = tuple(jnp.concatenate(x, axis=1) for x in zip(new, state[1:], strict=True))
    mixed = new
    if "taps" in params:
        mixed = tuple(
            (window * tap.astype(dtype).swapaxes(0, 1)[None]).sum(1, keepdims=True)
            for window, tap in zip(windows, _taps_of(params), strict=True)
        )
    opening = gates(params, new[1], jnp.ones((1, 1), bool))
    shaped = (x[:, 0] for x in (*_shaped(*mixed), *opening))
    sums, out = delta_step(state.sums, *shaped)
    return DeltaState(sums, *(x[:, :-1] for x in windows)), out


def per_head(weights: Float[Array, "h d"], x: Float[Array, "b t h d"]) -> Float[Array, "b t h"]:
    """The product of each head's vector with its weights."""
    return jnp.einsum("hd,bthd->bth", weights.astype(x.dtype), x)


def _taps(key: PRNGKeyArray, heads: int, span: int, width: int) -> dict[str, Array]:
    keys = jax.random.split(key, 3)
    shapes = {"q": (heads, span, width), "k": (heads, span, width), "v": (heads, span)}
    return {
        name: jax.random.uniform(k, shape, minval=-(span**-0.5), maxval=span**-0.5)
        for k, (name, shape) in zip(keys, shapes.items(), strict=True)
    }


def _taps_of(params: Params) -> tuple[Array, Array, Array]:
    """Taps [h n d] of queries and keys, and [h n 1] of values."""
    taps = params["taps"]
    return taps["q"], taps["k"], taps["v"][..., None]


def _convolved(
    params: Params, now: tuple[Array, ...], before: tuple[Array, ...], layout: Layout | None
) -> tuple[Array, ...]:
    if "taps" not in params:
        return now
    taps = _taps_of(params)
    count = taps[0].shape[1] - 1
    earlier = (jnp.concatenate([exchange.tail_before(layout, x, count), x], axis=1) for x in before)
    return tuple(map(convolve, taps, now, earlier))


def convolve(
    taps: Float[Array, "h n #d"], now: Float[Array, "b t h d"], before: Float[Array, "b p h d"]
) -> Float[Array, "b t h d"]:
    """A causal convolution of each channel.

        out_t = taps_0 now_t + sum_(l > 0) taps_l before_(t - l)

    Args:
      before: what later positions see of `now`, after the n - 1 positions before it.
    """
    n, t = taps.shape[1], now.shape[1]
    taps = taps.astype(now.dtype)
    out = taps[:, 0][None, None] * now
    for lag in range(1, n):
        earlier = before[:, n - 1 - lag : n - 1 - lag + t]
        out = out + taps[:, lag][None, None] * earlier
    return out


def _shaped(q: Array, k: Array, v: Array) -> tuple[Array, Array, Array]:
    return _unit(jax.nn.silu(q)), _unit(jax.nn.silu(k)), jax.nn.silu(v)


def _unit(x: Float[Array, "*b d"]) -> Float[Array, "*b d"]:
    """The vector at length 1; a vector of zeros stays one."""
    return x * jax.lax.rsqrt((x * x).sum(-1, keepdims=True) + 1e-6)
