"""Reasons why a fused kernel cannot honor a request, shared by the kernels of several libraries.

Each returns the reason, or None where there is nothing to refuse.
"""

from attention_jax.core import masks, normalizers
from attention_jax.engine.request import Request


def other_score(request: Request) -> str | None:
    """Reason against a score that is no dot product times a number."""
    if request.analysis.score.dot_scale is not None:
        return None
    return "it computes dot products times a number, and `score` is another function."


def mixed_dtypes(request: Request, taken: tuple[str, ...], suffix: str = "") -> str | None:
    """Reason against arrays that are not all of one of the dtypes `taken`.

    Args:
      suffix: ends the rule, as in " for cuDNN".
    """
    dtypes = {str(x.dtype) for x in (request.query, request.key, request.value)}
    if len(dtypes) == 1 and not dtypes.isdisjoint(taken):
        return None
    *others, last = taken
    listed = f"{', '.join(others)} or {last}"
    return (
        f"`query`, `key` and `value` must be all {listed}{suffix}; got {', '.join(sorted(dtypes))}."
    )


def empty_arrays(request: Request, name: str) -> str | None:
    """Reason against empty arrays."""
    query, value = request.query.shape, request.value.shape
    if all((*query, *value)):
        return None
    return f"{name} takes no empty arrays; got {query} and {value}."


def is_softmax(request: Request) -> bool:
    """True for the plain softmax."""
    return request.normalizer == normalizers.softmax


def beyond_softmax(request: Request, name: str, *, sums: str) -> str | None:
    """Reason against anything beyond the softmax of the scores.

    Args:
      sums: why the kernel returns no log-sum-exp, for the error.
    """
    if not is_softmax(request):
        return f"`normalizer` must be the softmax for {name}."
    if request.score_mod is not None:
        return f"`score_mod` must be None for {name}."
    if request.dropout is not None:
        return f"`dropout_rate` must be 0 for {name}; got {request.dropout.rate}."
    if request.return_lse:
        return f"`return_lse` must be False for {name}, {sums}."
    return None


def beyond_causal(request: Request, name: str) -> str | None:
    """Reason against masks but `masks.causal` between positions that are known to agree."""
    mask, offsets, (_, _, _, t, s) = request.mask, request.offsets, request.shape
    if mask is None:
        return None
    if mask != masks.causal:
        return f"`mask` must be None or `masks.causal` for {name}."
    known = all(isinstance(x, int) for x in offsets)
    if t == s and known and len(set(offsets)) == 1:
        return None
    return (
        f"With `masks.causal`, {name} needs as many queries as keys, which begin at the same "
        f"known position; got {t} and {s}, at {offsets.query} and {offsets.key}."
    )
