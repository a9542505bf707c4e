"""The linear family of variants: functions that build a variant from what it does to a key.

`from_features` for weighted means, `from_decay` for states that fade; states that are corrected are
built in `delta.py`.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from attention_jax.core.numerics import wide_dtype
from attention_jax.core.types import ROLES, Options, Params, Variant, no_parameters
from attention_jax.variants._builders import exchange
from attention_jax.variants._builders.chunked_scan import (
    added,
    read,
    scan,
    step,
)
from attention_jax.variants._builders.compiled import compiled, compiled_extension
from attention_jax.variants._builders.documents import reset
from attention_jax.variants._builders.keywise import (
    Prepared,
    finalize,
    marked,
    only_causal,
    taken,
)


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

    of = _Features(name, of_query, of_key)
    return Variant(
        no_parameters,
        compiled(partial(_attend_by_features, of)),
        partial(_feature_start, of_key),
        partial(_step_by_features, of),
        roles=roles,
        mask_kind="keywise",
        divides=True,
        extend=compiled_extension(partial(_extend_by_features, of)),
    )


class _Features(NamedTuple):
    """The arguments of `from_features`."""

    name: str
    of_query: Feature
    of_key: Feature

    def taken_in(self, got: Prepared, of_queries: Array, of_keys: Array) -> tuple[Array, ...]:
        """Features of queries and keys at these positions, and values."""
        keys = self.of_key(got.k, of_keys)
        keys = jnp.where(got.visible[:, :, None, None], keys, 0)
        return self.of_query(got.q, of_queries), keys, _counted(got.v)


def _attend_by_features(
    of: _Features, params: Params, q: Array, k: Array, v: Array, options: Options = Options()
) -> Float[Array, "b t h e"]:
    del params
    got, options, layout = exchange.prepared(of.name, q, k, v, options)
    of_queries = positions_from(options.query_offset, q.shape[1])
    of_keys = positions_from(options.key_offset, k.shape[1])
    queries, keys, values = of.taken_in(got, of_queries, of_keys)
    if got.causal:
        still = jnp.zeros((*k.shape[:3], 1), keys.dtype)
        decay = None if got.runs is None else reset(got.runs, still)
        before = exchange.state_before(layout, added, keys, values)
        _, sums = scan(queries, keys, values, decay, start=before)
    else:
        sums = read(exchange.total(layout, added(keys, values)[1]), queries)
    return finalize(got, _mean(sums), q.dtype)


def _extend_by_features(
    of: _Features,
    params: Params,
    state: LinearState,
    q: Array,
    k: Array,
    v: Array,
    visible: Array | None = None,
) -> tuple[LinearState, Float[Array, "b t h e"]]:
    del params
    got = taken(q, k, v, visible, dtype=state.sums.dtype)
    at = _positions_after(state, q.shape[1])
    sums, out = scan(*of.taken_in(got, at, at), start=state.sums)
    return _moved(state, got, sums), finalize(got, _mean(out), q.dtype)


def _step_by_features(
    of: _Features, params: Params, state: LinearState, q: Array, k: Array, v: Array
) -> tuple[LinearState, Float[Array, "b h e"]]:
    del params
    at, dtype = state.position[:, None], state.sums.dtype
    queries = of.of_query(q[:, None].astype(dtype), at)[:, 0]
    keys = of.of_key(k[:, None].astype(dtype), at)[:, 0]
    sums, out = step(state.sums, queries, keys, _counted(v.astype(dtype)))
    return LinearState(sums, state.position + 1), _mean(out).astype(q.dtype)


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
    of = _Decay(name, fade, normalize if callable(normalize) else _NORMS[normalize])
    return Variant(
        init,
        compiled(partial(_attend_by_decay, of)),
        _decay_start,
        partial(_step_by_decay, of),
        roles=("causal",),
        mask_kind="keywise",
        divides=True,
        extend=compiled_extension(partial(_extend_by_decay, of)),
    )


class _Decay(NamedTuple):
    """The arguments of `from_decay`."""

    name: str
    fade: Fade
    finish: Callable[[Array], Array]

    def taken_in(self, params: Params, got: Prepared, at: Array) -> tuple[Array, ...]:
        """Queries, keys, values and log-decays of these positions, for each query head."""
        k, v = (spread(x, got.q.shape[2]) for x in (got.k, got.v))
        queries, keys, log_decay = self.fade(params, got.q, k, at, got.visible)
        return queries, keys, v, reset(got.runs, log_decay)


def _attend_by_decay(
    of: _Decay, params: Params, q: Array, k: Array, v: Array, options: Options = Options()
) -> Float[Array, "b t h e"]:
    got, options, layout = exchange.prepared(of.name, q, k, v, options)
    only_causal(of.name, got.causal)
    arrays = of.taken_in(params, got, positions_from(options.key_offset, k.shape[1]))
    _, out = scan(*arrays, start=exchange.state_before(layout, added, *arrays[1:]))
    return finalize(got, of.finish(out), q.dtype)


def _extend_by_decay(
    of: _Decay,
    params: Params,
    state: LinearState,
    q: Array,
    k: Array,
    v: Array,
    visible: Array | None = None,
) -> tuple[LinearState, Float[Array, "b t h e"]]:
    got = taken(q, k, v, visible, dtype=state.sums.dtype)
    arrays = of.taken_in(params, got, _positions_after(state, q.shape[1]))
    sums, out = scan(*arrays, start=state.sums)
    return _moved(state, got, sums), finalize(got, of.finish(out), q.dtype)


def _decay_start(params: Params, batch: int, length: int, **sizes: Any) -> LinearState:
    del params, length
    dtype = wide_dtype(jnp.zeros((), sizes["dtype"]))
    widths = sizes["head_width"], sizes["value_width"]
    return empty_state(batch, sizes["heads"], *widths, dtype)


def _step_by_decay(
    of: _Decay, params: Params, state: LinearState, q: Array, k: Array, v: Array
) -> tuple[LinearState, Float[Array, "b h e"]]:
    at, dtype = state.position[:, None], state.sums.dtype
    k, v = (spread(x[:, None].astype(dtype), q.shape[1]) for x in (k, v))
    faded = of.fade(params, q[:, None].astype(dtype), k, at, jnp.ones((1, 1), bool))
    queries, keys, log_decay = (x[:, 0] for x in faded)
    sums, out = step(state.sums, queries, keys, v[:, 0], log_decay)
    return LinearState(sums, state.position + 1), of.finish(out).astype(q.dtype)


def _positions_after(state: LinearState, length: int) -> Int[Array, "b t"]:
    """The next positions of each sequence."""
    return state.position[:, None] + jnp.arange(length, dtype=jnp.int32)[None]


def _moved(state: LinearState, got: Prepared, sums: Array) -> LinearState:
    """The state after the positions of a request."""
    return LinearState(marked(got, sums), state.position + got.q.shape[1])


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


_NORMS = {True: layer_norm, False: _as_it_is}
