"""The front door: `attention` checks a request, chooses an implementation, and runs it."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from attention_jax import checks, normalizers, reference, scores
from attention_jax.types import (
    MaskFunction,
    Params,
    Score,
    ScoreMod,
    Variant,
    no_parameters,
)

IMPLEMENTATIONS = ("reference",)


class Plan(NamedTuple):
    """What `attention` would run.

    Attributes:
      implementation: one of `IMPLEMENTATIONS`.
      reason: why this one.
      temporary_bytes: an estimate of the working memory of the forward pass.
    """

    implementation: str
    reason: str
    temporary_bytes: int


def attention(
    query: Float[Array, "b t h d"],
    key: Float[Array, "b s g d"],
    value: Float[Array, "b s g e"],
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
) -> Float[Array, "b t h e"] | tuple[Float[Array, "b t h e"], Float[Array, "b t h"]]:
    """Gives every query the weighted mean of the values whose keys it scores highly.

        weight[i, j] = normalize over visible j of score_mod(score(q_i, k_j), b, h, i, j)
        out_i = sum_j dropout(weight[i, j]) v_j

    Accumulates in float32 (float64 for float64) and returns the query's dtype. A query that
    may see no key gives 0 and a zero gradient. Hidden keys and values reach nothing, even
    where they are not finite; a visible one that is not finite makes NaN of the row.

    Args:
      query, key, value: `g` must divide `h`; query head n reads key head n // (h / g).
      score: of one query `[d]` and one key `[d]`; may capture arrays, learned ones too.
      score_mod: changes a score, given its batch, head and global positions.
      mask: True where query i may see key j; see `attention_jax.masks`.
      normalizer: makes weights of logits; see `attention_jax.normalizers`.
      dropout_rate: share of the weights that is set to 0; the others grow by 1 / (1 - rate).
      dropout_key: needed where `dropout_rate` is above 0.
      query_offset, key_offset: global positions of the first query and the first key.
      return_lse: returns also the log-sum-exp of each row's logits, -inf where a row sees
        nothing.
      implementation: None for the fastest that honours the request.

    Returns:
      The output, or `(output, lse)`.

    Raises:
      ValueError: an argument breaks its rule; or the implementation cannot honour it.

    Reference: Vaswani et al. 2017, arXiv:1706.03762, section 3.2.

    >>> x = jnp.ones((1, 3, 2, 4))
    >>> attention(x, x, x).shape
    (1, 3, 2, 4)
    """
    request: dict[str, Any] = dict(
        score=score,
        score_mod=score_mod,
        mask=mask,
        normalizer=normalizer,
        dropout_rate=dropout_rate,
        dropout_key=dropout_key,
        query_offset=query_offset,
        key_offset=key_offset,
        return_lse=return_lse,
    )
    plan(query, key, value, **request, implementation=implementation)
    return reference.attention(query, key, value, **request)


def plan(
    query: Array,
    key: Array,
    value: Array,
    *,
    score: Score = scores.scaled_dot,
    score_mod: ScoreMod | None = None,
    mask: MaskFunction | None = None,
    normalizer: normalizers.Normalizer = normalizers.softmax,
    dropout_rate: float = 0.0,
    dropout_key: PRNGKeyArray | None = None,
    query_offset: int | Array = 0,
    key_offset: int | Array = 0,
    return_lse: bool = False,
    implementation: str | None = None,
) -> Plan:
    """What `attention` would run with the same arguments, and why; computes nothing.

    Raises:
      ValueError: as `attention`.
    """
    checks.attention_arrays(query, key, value)
    wide = jnp.float64 if jnp.float64 in (query.dtype, key.dtype, value.dtype) else jnp.float32
    checks.score_function(score, query, key, wide)
    if score_mod is not None:
        checks.score_mod_function(score_mod, wide)
    if mask is not None:
        checks.mask_function(mask)
    checks.dropout(dropout_rate, dropout_key)
    checks.position("query_offset", query_offset)
    checks.position("key_offset", key_offset)
    if return_lse and normalizer.lse is None:
        raise ValueError(
            "`return_lse` needs a normalizer that divides by a sum of exponentials; got "
            f"{normalizer.name}. Use `normalizers.softmax`."
        )
    checks.one_of("implementation", implementation, (None, *IMPLEMENTATIONS))
    (b, t, h, _), s = query.shape, key.shape[1]
    # Logits and weights.
    size = 2 * math.prod((b, h, t, s)) * jnp.dtype(wide).itemsize
    reason = "the only one" if implementation is None else "named by `implementation`"
    return Plan("reference", reason, size)


def from_score(
    score: Callable[[Params], Score], init: Callable[..., Params] = no_parameters
) -> Variant:
    """A variant that is nothing but the score of a pair.

    Args:
      score: `params -> score`; the score captures its parameters.
      init: `(key, *, heads, kv_heads, head_width) -> params`.

    Returns:
      A variant for transformers and for RNN decoders; `attend` takes the keywords of
      `attention` but `score`.
    """

    def attend(params: Params, q: Array, k: Array, v: Array, **request: Any) -> Any:
        return attention(q, k, v, score=score(params), **request)

    return Variant(init=init, attend=attend, score=score)
