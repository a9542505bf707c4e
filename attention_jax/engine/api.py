"""The public entry: `attention` checks a request, chooses an implementation, and runs it."""

from functools import partial
from typing import Literal, Unpack, overload

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from attention_jax.core import checks, normalizers, scores
from attention_jax.core.calls import clear_calls
from attention_jax.core.types import AnyArray, Context, Like, MaskFunction, Score, ScoreMod
from attention_jax.engine import context_plan, partition, prepared
from attention_jax.engine.context import attend as divided
from attention_jax.engine.implementation import Implementation, Output, Plan, implementations
from attention_jax.engine.prepared import Call
from attention_jax.engine.request import Functions, Keywords, Request, make_request


@overload
def attention(
    query: Float[AnyArray, "b t h d"],
    key: Float[AnyArray, "b s g d"],
    value: Float[AnyArray, "b s g e"],
    *,
    score: Score = ...,
    score_mod: ScoreMod | None = ...,
    mask: MaskFunction | None = ...,
    normalizer: normalizers.Normalizer = ...,
    dropout_rate: float = ...,
    dropout_key: PRNGKeyArray | None = ...,
    query_offset: int | Int[Array, ""] = ...,
    key_offset: int | Int[Array, ""] = ...,
    return_lse: Literal[False] = ...,
    implementation: str | None = ...,
    context: Context | str | None = ...,
) -> Array: ...
@overload
def attention(
    query: Float[AnyArray, "b t h d"],
    key: Float[AnyArray, "b s g d"],
    value: Float[AnyArray, "b s g e"],
    *,
    score: Score = ...,
    score_mod: ScoreMod | None = ...,
    mask: MaskFunction | None = ...,
    normalizer: normalizers.Normalizer = ...,
    dropout_rate: float = ...,
    dropout_key: PRNGKeyArray | None = ...,
    query_offset: int | Int[Array, ""] = ...,
    key_offset: int | Int[Array, ""] = ...,
    return_lse: Literal[True],
    implementation: str | None = ...,
    context: Context | str | None = ...,
) -> tuple[Array, Array]: ...
@overload
def attention(
    query: Float[AnyArray, "b t h d"],
    key: Float[AnyArray, "b s g d"],
    value: Float[AnyArray, "b s g e"],
    *,
    score: Score = ...,
    score_mod: ScoreMod | None = ...,
    mask: MaskFunction | None = ...,
    normalizer: normalizers.Normalizer = ...,
    dropout_rate: float = ...,
    dropout_key: PRNGKeyArray | None = ...,
    query_offset: int | Int[Array, ""] = ...,
    key_offset: int | Int[Array, ""] = ...,
    return_lse: bool,
    implementation: str | None = ...,
    context: Context | str | None = ...,
) -> Array | tuple[Array, Array]: ...


@clear_calls
def attention(
    query: Float[AnyArray, "b t h d"],
    key: Float[AnyArray, "b s g d"],
    value: Float[AnyArray, "b s g e"],
    *,
    score: Score = scores.scaled_dot,
    score_mod: ScoreMod | None = None,
    mask: MaskFunction | None = None,
    normalizer: normalizers.Normalizer = normalizers.softmax,
    dropout_rate: float = 0.0,
    dropout_key: PRNGKeyArray | None = None,
    query_offset: int | Int[Array, ""] = 0,
    key_offset: int | Int[Array, ""] = 0,
    return_lse: bool = False,
    implementation: str | None = None,
    context: Context | str | None = None,
) -> Float[Array, "b t h e"] | tuple[Float[Array, "b t h e"], Float[Array, "b t h"]]:
    """Attention with any score, score modifier, mask and normalizer.

        weight[i, j] = normalize over visible j of score_mod(score(q_i, k_j), b, h, i, j)
        out_i = sum_j dropout(weight[i, j]) v_j

    A score that needs positions beside vectors takes them too: Shaw's relative keys are
    `lambda q, k, b, h, i, j: q @ (k + table[jnp.clip(i - j, -n, n) + n])`.

    Accumulates in float32 (float64 for float64) and returns the query's dtype. A query that
    may see no key gives 0 and a zero gradient. Hidden keys and values reach nothing, even
    where they are not finite; a visible one that is not finite makes NaN of the row.

    Args:
      query, key, value: `g` must divide `h`; query head n reads key head n // (h / g).
      score: of one query `[d]` and one key `[d]`, or of these and `b, h, i, j`, where it takes six
        arguments; may capture arrays, learned ones too.
      score_mod: changes a score, given its batch, head and global positions.
      mask: True where query i may see key j; see `attention_jax.masks`.
      normalizer: makes weights of logits; see `attention_jax.normalizers`.
      dropout_rate: share of the weights that is set to 0; the others grow by 1 / (1 - rate).
      dropout_key: needed where `dropout_rate` is above 0.
      query_offset, key_offset: global positions of the first query and the first key.
      return_lse: returns also the log-sum-exp of each row's logits, -inf where a row sees
        nothing.
      implementation: None for the fastest that honors the request.
      context: the axis of the mesh over which the sequence is divided, or a `Context`; None where
        each device has whole sequences.

    Returns:
      The output, or `(output, lse)`.

    Raises:
      ValueError: an argument breaks its rule; or the implementation cannot honor it.

    Reference: Vaswani et al. 2017, arXiv:1706.03762, section 3.2.

    >>> from jax import numpy as jnp
    >>> x = jnp.ones((1, 3, 2, 4))
    >>> attention(x, x, x).shape
    (1, 3, 2, 4)
    """
    query, key, value = (
        jnp.asarray(x) if isinstance(x, np.ndarray) else x for x in (query, key, value)
    )
    call = Call(query, key, value, dropout_key, query_offset, key_offset)
    functions = Functions(score, score_mod, mask, normalizer)
    if context is not None:
        request = _request(call, functions, dropout_rate, return_lse)
        return divided(request, context, partial(_computed, implementation))
    rest = return_lse, implementation
    typed = partition.is_typed(call[:3])
    known_by = None if typed else prepared.key_of(call, functions, dropout_rate, rest)
    found = prepared.kept(known_by)
    if found is not None:
        return found.run(call)
    request = _request(call, functions, dropout_rate, return_lse)
    with partition.unchecked():
        chosen, _ = _choose(request, implementation)
    if typed or request.is_typed:
        return request.apart(chosen.run, call.query)
    made = prepared.prepare(request, chosen, call)
    if made is None:
        return chosen.run(request)
    prepared.keep(known_by, made)
    return made.run(call)


@clear_calls
def plan(
    query: Like | np.ndarray,
    key: Like | np.ndarray,
    value: Like | np.ndarray,
    *,
    return_lse: bool = False,
    implementation: str | None = None,
    context: Context | str | None = None,
    **keywords: Unpack[Keywords],
) -> Plan:
    """How `attention` would run with the same arguments, and why; computes nothing.

    Args:
      query, key, value: arrays, or their `jax.ShapeDtypeStruct`.

    Raises:
      ValueError: as `attention`.
    """
    request = make_request(query, key, value, return_lse=return_lse, **keywords)
    if context is not None:
        return context_plan.plan(request, context, partial(_planned, implementation))
    return _planned(implementation, request)


def _planned(implementation: str | None, request: Request) -> Plan:
    with partition.unchecked():
        chosen, reason = _choose(request, implementation)
        return chosen.plan(request)._replace(reason=reason)


def _computed(implementation: str | None, request: Request) -> Output:
    """A request that is traced already, on the device that has its arrays."""
    with partition.unchecked():
        chosen, _ = _choose(request, implementation)
    return request.apart(chosen.run, request.arrays[0]) if request.is_typed else chosen.run(request)


def _request(call: Call, functions: Functions, dropout_rate: float, return_lse: bool) -> Request:
    return make_request(
        call.query,
        call.key,
        call.value,
        **functions._asdict(),
        dropout_rate=dropout_rate,
        dropout_key=call.dropout_key,
        query_offset=call.query_offset,
        key_offset=call.key_offset,
        return_lse=return_lse,
    )


def _choose(request: Request, name: str | None) -> tuple[Implementation, str]:
    """The implementation named, or the fastest that honors the request; and the reason."""
    found = {x.name: x for x in implementations()}
    checks.one_of("implementation", name, (None, *found))
    if name is None:
        for implementation in found.values():
            if not set(request.symbolic) <= set(implementation.symbolic):
                continue
            reason = implementation.prefer(request)
            if reason is not None and implementation.refuse(request) is None:
                return implementation, reason
        raise AssertionError("`reference` honors every request")
    refusal = found[name].refusal(request)
    if refusal is not None:
        able = ", ".join(x.name for x in found.values() if x.refusal(request) is None)
        raise ValueError(
            f"`implementation` {name!r} cannot honor this request: {refusal} "
            f"These can, the fastest first: {able}; None picks the fastest of them."
        )
    return found[name], "named by `implementation`"
