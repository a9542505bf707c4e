"""The front door: `attention` checks a request, chooses an implementation, and runs it."""

from typing import Any, NamedTuple

import jax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from attention_jax.core import checks, normalizers, numerics, scores
from attention_jax.core.types import Like, MaskFunction, Score, ScoreMod
from attention_jax.engine import blockwise, pallas, reference
from attention_jax.engine.block_map import Shape

KERNELS = ("cudnn", "splash", "pallas")  # the fastest first
NAMED = ("tokamax",)  # runs where it is named
IMPLEMENTATIONS = ("reference", "dense", "blockwise", *KERNELS, *NAMED)

# On a CPU blocks are slower than one tile up to this length, and up to so many numbers.
SHORT = 128
FEW_SCORES = 2**24


class Plan(NamedTuple):
    """What `attention` would run.

    Attributes:
      implementation: one of `IMPLEMENTATIONS`.
      reason: why this one.
      block_sizes: queries and keys in a block; None where there are no blocks.
      skipped: the share of the blocks that the mask empties, as far as it is known before a run.
      temporary_bytes: an estimate of the working memory of the forward pass.
    """

    implementation: str
    reason: str
    block_sizes: tuple[int, int] | None
    skipped: float
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

    >>> x = jax.numpy.ones((1, 3, 2, 4))
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
    chosen, _ = _choose(query, key, value, implementation=implementation, **request)
    if chosen == "reference":
        return reference.attention(query, key, value, **request)
    if chosen in KERNELS + NAMED:
        return pallas.attention(chosen, query, key, value, **request)
    return blockwise.attention(query, key, value, dense=chosen == "dense", **request)


def plan(
    query: Like,
    key: Like,
    value: Like,
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

    Args:
      query, key, value: arrays, or their `jax.ShapeDtypeStruct`.

    Raises:
      ValueError: as `attention`.
    """
    chosen, reason = _choose(
        query,
        key,
        value,
        score=score,
        score_mod=score_mod,
        mask=mask,
        normalizer=normalizer,
        dropout_rate=dropout_rate,
        dropout_key=dropout_key,
        query_offset=query_offset,
        key_offset=key_offset,
        return_lse=return_lse,
        implementation=implementation,
    )
    (b, t, h, d), (_, s, g, e) = query.shape, value.shape
    size = numerics.wide_dtype(query, key, value).itemsize
    pair = blockwise.split(score, query, key).width
    rows, folded = b * t * h, b * t * h * (d + e) + b * s * g * (key.shape[-1] + e)
    if chosen in ("reference", "dense"):
        return Plan(chosen, reason, None, 0.0, ((1 + pair) * rows * s + folded) * size)
    if chosen in ("cudnn", "splash", *NAMED):
        return Plan(chosen, reason, None, 0.0, rows * 4)
    offsets = query_offset, key_offset
    if chosen == "pallas":
        tiling = pallas.plan(query, key, value, mask, offsets)
    else:
        tiling = blockwise.plan(Shape(b, g, h // g, t, s), mask, offsets, width=pair)
    heads, queries, keys = tiling.sizes
    held = 0 if chosen == "pallas" else folded + (2 + pair) * heads * (h // g) * queries * keys
    return Plan(chosen, reason, (queries, keys), tiling.skipped, (held + 2 * rows) * size)


def _choose(
    query: Like, key: Like, value: Like, *, implementation: str | None, **request: Any
) -> tuple[str, str]:
    """The implementation and why, once the arguments have passed."""
    _check(query, key, value, **request)
    checks.one_of("implementation", implementation, (None, *IMPLEMENTATIONS))
    if implementation is not None:
        refusal = _refusal(implementation, query, key, value, **request)
        if refusal:
            able = [x for x in IMPLEMENTATIONS if not _refusal(x, query, key, value, **request)]
            raise ValueError(
                f"`implementation` {implementation!r} cannot honour this request: {refusal} "
                f"These can: {', '.join(able)}; None picks the fastest of them."
            )
        return implementation, "named by `implementation`"
    (b, t, h, _), s = query.shape, key.shape[1]
    if jax.default_backend() != "cpu":
        for name in KERNELS:
            if not _refusal(name, query, key, value, **request):
                return name, "the fastest on this device that honours the request"
    normalizer = request["normalizer"]
    if normalizer.online is None:
        return "reference", f"{normalizer.name} needs whole rows of logits"
    # Asked in this order, since to look at the score takes the most time.
    short = max(t, s) <= SHORT and not _refusal("dense", query, key, value, **request)
    if short and b * h * t * s * blockwise.split(request["score"], query, key).width <= FEW_SCORES:
        return "dense", f"up to {SHORT} positions one tile is faster than blocks"
    return "blockwise", "linear memory, and blocks that the mask empties are skipped"


def _refusal(name: str, query: Like, key: Like, value: Like, **request: Any) -> str | None:
    """Why an implementation cannot honour a request; None where it can."""
    normalizer = request["normalizer"]
    if name in KERNELS + NAMED:
        return pallas.refusal(name, query, key, value, **request)
    if name == "blockwise" and normalizer.online is None:
        return f"{normalizer.name} needs whole rows of logits."
    if name == "dense" and not blockwise.is_softmax(normalizer):
        return f"it computes the softmax, not {normalizer.name}."
    return None


def _check(query: Like, key: Like, value: Like, **request: Any) -> None:
    checks.attention_arrays(query, key, value)
    wide = numerics.wide_dtype(query, key, value)
    checks.score_function(request["score"], query, key, wide)
    if request["score_mod"] is not None:
        checks.score_mod_function(request["score_mod"], wide)
    if request["mask"] is not None:
        checks.mask_function(request["mask"])
    checks.dropout(request["dropout_rate"], request["dropout_key"])
    checks.position("query_offset", request["query_offset"])
    checks.position("key_offset", request["key_offset"])
    normalizer = request["normalizer"]
    if request["return_lse"] and normalizer.lse is None:
        raise ValueError(
            "`return_lse` needs a normalizer that divides by a sum of exponentials; got "
            f"{normalizer.name}. Use `normalizers.softmax`."
        )
