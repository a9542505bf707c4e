"""Which kernel honours which request: softmax attention of dot products, in one kernel.

Our own in Pallas and cuDNN run on GPUs, Splash attention of JAX on TPUs, those of the tokamax
library, where it is installed, on both. What a kernel cannot do, `refusal` says. All but ours
have first derivatives in reverse mode only, and within a block a hidden number that is not finite
may reach what does not see it; ours does not let it.

First derivatives of queries, keys and values are kernels too. Those of captured arrays, forward
mode and second derivatives are those of `engine.blockwise`: exact, and in linear memory.

Products of float32 follow `jax.default_matmul_precision`, as all of JAX; on a GPU that is TF32
unless it is set to "highest".
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from attention_jax.core import jaxprs, normalizers, numerics
from attention_jax.core.numerics import Offset
from attention_jax.core.types import Like, MaskFunction, Score, ScoreMod
from attention_jax.engine import block_map, blockwise, custom_transpose, external, pallas_kernels
from attention_jax.engine.block_map import BlockMap, Shape
from attention_jax.engine.pallas_kernels import LEAST, Arrays, Fixed, Static
from attention_jax.engine.pallas_lowering import Machine, Refused, program

# Keys and values: what fits a core.
WIDEST = 256


def attention(name: str, query: Array, key: Array, value: Array, **request: Any) -> Any:
    """A kernel by name, with the arguments of `attention_jax.attention`.

    Only where `refusal` is None.
    """
    scale: Any = _dot_scale(request["score"], query, key)
    if name in ("cudnn", "tokamax"):
        run = external.cudnn if name == "cudnn" else external.tokamax
        return run(query, key, value, scale=scale, causal=request["mask"] is not None)
    taken = ("mask", "query_offset", "key_offset")
    if name == "splash":
        from attention_jax.engine.splash import splash

        return splash(query, key, value, scale=scale, **{x: request[x] for x in taken})
    taken += ("score_mod", "return_lse")
    return pallas(query, key, value, scale=scale, **{x: request[x] for x in taken})


def refusal(name: str, query: Like, key: Like, value: Like, **request: Any) -> str | None:
    """Why `attention` cannot honour a request on this device; None where it can."""
    if _dot_scale(request["score"], query, key) is None:
        return "it computes dot products times a number, and `score` is another function."
    common: dict[str, Any] = dict(
        score_mod=request["score_mod"],
        mask=request["mask"],
        normalizer_is_softmax=request["normalizer"] is normalizers.softmax,
        dropout_rate=request["dropout_rate"],
        platform=jax.default_backend(),
    )
    if name == "pallas":
        return pallas_refusal(query, key, value, **common)
    also: dict[str, Any] = {x: request[x] for x in ("query_offset", "key_offset", "return_lse")}
    if name in ("cudnn", "tokamax"):
        cudnn = name == "cudnn"
        refuse = external.cudnn_refusal if cudnn else external.tokamax_refusal
        return refuse(query, key, value, **common, **also)
    # Imported where it may run: it depends on an experimental part of JAX.
    from attention_jax.engine.splash import splash_refusal

    return splash_refusal(query, key, value, **common, **also)


def pallas(
    query: Float[Array, "b t h d"],
    key: Float[Array, "b s g d"],
    value: Float[Array, "b s g e"],
    *,
    scale: float,
    score_mod: ScoreMod | None,
    mask: MaskFunction | None,
    query_offset: Offset,
    key_offset: Offset,
    return_lse: bool,
    interpret: bool = False,
    block_sizes: tuple[int, int] | None = None,
) -> Float[Array, "b t h e"] | tuple[Float[Array, "b t h e"], Float[Array, "b t h"]]:
    """Computes what `attention_jax.attention` promises, for the softmax of `scale * q . k`.

    Args:
      interpret: runs the kernels on any device, slowly, to test them.
      block_sizes: queries and keys in a block, powers of 2 from 16; None for a choice by width.

    Reference: Dao 2023, arXiv:2307.08691, algorithms 1 and 2.
    """
    (b, t, h, d), (_, s, g, e) = query.shape, value.shape
    if not (b and t and h and s):
        out, lse = jnp.zeros((b, t, h, e), query.dtype), jnp.full((b, t, h), -jnp.inf, jnp.float32)
        return (out, lse) if return_lse else out
    at, offsets = (jax.ShapeDtypeStruct((), jnp.int32),) * 4, (query_offset, key_offset)
    wide = jax.ShapeDtypeStruct((), jnp.float32)
    change = None if score_mod is None else jaxprs.hoist(score_mod, wide, *at)
    show: Any = None if mask is None else jaxprs.hoist(mask, *at)

    def exact(arrays: Arrays, fixed: Fixed) -> tuple[Array, Array]:
        known = mask is None or block_map.is_known(mask, offsets)
        starts = offsets if known else tuple(fixed.offsets)
        out, lse = blockwise.attention(
            *(x.astype(jnp.float32) for x in arrays[1:]),
            score=lambda q, k: (q * scale) @ k,
            score_mod=change and partial(change.function, arrays.floats, fixed.score_mod),
            mask=mask if known else partial(show.function, *fixed.mask),
            normalizer=normalizers.softmax,
            dropout_rate=0.0,
            dropout_key=None,
            query_offset=starts[0],
            key_offset=starts[1],
            return_lse=True,
        )
        return out.astype(query.dtype), lse

    shape = Shape(b, g, h // g, t, s)
    tiling = plan(query, key, value, mask, offsets, block_sizes=block_sizes)
    static = Static(shape, (d, e), tiling.sizes[1:], scale, change, show, tiling, exact, interpret)
    fixed = Fixed(
        change.others if change else (),
        (show.floats, show.others) if show else ((), ()),
        jnp.stack([jnp.asarray(x, jnp.int32) for x in offsets]),
    )
    floats = change.floats if change else ()
    out, lse = _rule(static)(Arrays(floats, query, key, value), fixed)
    return (out, lse) if return_lse else out


def plan(
    query: Like,
    key: Like,
    value: Like,
    mask: MaskFunction | None,
    offsets: tuple[Any, Any],
    *,
    block_sizes: tuple[int, int] | None = None,
) -> BlockMap:
    """The blocks that `pallas` visits.

    Args:
      offsets: positions of the first query and of the first key.
      block_sizes: as for `pallas`.
    """
    (b, t, h, _), (_, s, g, _) = query.shape, key.shape
    sizes = block_sizes or pallas_kernels.choose_sizes(query, key, value)
    return pallas_kernels.tiling(Shape(b, g, h // g, t, s), mask, offsets, sizes)


def _rule(static: Static) -> Callable[[Arrays, Fixed], tuple[Array, Array]]:
    """`(arrays, fixed) -> (out, lse)` with its derivatives."""
    exact = static.exact

    @jax.custom_jvp
    def attend(arrays: Arrays, fixed: Fixed) -> tuple[Array, Array]:
        kernel, refs = pallas_kernels.programs(static, arrays, fixed)
        (b, g, r, t, _), e = static.shape, static.widths[1]
        out = jax.ShapeDtypeStruct((b, t, g * r, e), arrays.q.dtype)
        out, lse = pallas_kernels.call(
            static, kernel.forward, refs, [out, refs.bad_q], by_keys=False
        )
        return out, lse.transpose(0, 2, 1)

    @jax.custom_jvp
    def backward(arrays: Arrays, fixed: Fixed, results: Any, cts: Any) -> tuple[Array, ...]:
        kernel, refs = pallas_kernels.programs(static, arrays, fixed)
        (out, lse), (ct, ct_lse) = results, cts
        shift = (out.astype(jnp.float32) * ct.astype(jnp.float32)).sum(-1) - ct_lse
        lse = jnp.where(lse == -jnp.inf, 0.0, lse)
        shift, lse = shift.transpose(0, 2, 1), lse.transpose(0, 2, 1)
        refs = refs._replace(ct=ct, lse=lse, shift=shift)
        dq = pallas_kernels.call(static, kernel.backward_query, refs, [refs.q], by_keys=False)
        return *dq, *pallas_kernels.call(
            static, kernel.backward_key, refs, [refs.k, refs.v], by_keys=True
        )

    def exact_backward(arrays: Arrays, fixed: Fixed, cts: Any) -> Arrays:
        return jax.vjp(lambda arrays: exact(arrays, fixed), arrays)[1](cts)[0]

    @backward.defjvp
    def backward_jvp(primals: Any, tangents: Any) -> Any:
        (arrays, fixed, _, cts), (d_arrays, _, _, d_cts) = primals, tangents
        again = lambda arrays, cts: tuple(exact_backward(arrays, fixed, cts)[1:])  # noqa: E731
        _, moved = jax.jvp(again, (arrays, cts), (d_arrays, d_cts))
        return backward(*primals), moved

    def tangent(given: Any, moved: Arrays) -> Any:
        arrays, fixed, _ = given
        return jax.jvp(lambda arrays: exact(arrays, fixed), (arrays,), (moved,))[1]

    def transposed(needed: tuple[bool, ...], given: Any, cts: Any) -> Arrays:
        arrays, fixed, results = given
        if any(needed[:-3]):
            return exact_backward(arrays, fixed, cts)
        nothing: Any = (None,) * len(arrays.floats)
        return Arrays(nothing, *backward(arrays, fixed, results, cts))

    @attend.defjvp
    def attend_jvp(primals: Any, tangents: Any) -> Any:
        results = attend(*primals)
        return results, custom_transpose.apply(
            tangent, transposed, (*primals, results), tangents[0]
        )

    return attend


def pallas_refusal(
    query: Like,
    key: Like,
    value: Like,
    *,
    score_mod: ScoreMod | None,
    mask: MaskFunction | None,
    normalizer_is_softmax: bool,
    dropout_rate: float,
    platform: str,
    block_sizes: tuple[int, int] | None = None,
) -> str | None:
    """Why `pallas` cannot honour a request; None where it can.

    Args:
      platform: as `jax.default_backend()` names it; "interpret" for any.
    """
    dtypes = {str(x.dtype) for x in (query, key, value)}
    widest = max(key.shape[-1], value.shape[-1])
    if platform not in ("gpu", "cuda", "rocm", "interpret"):
        return f"The kernels read memory as a GPU does; this is a {platform}."
    if len(dtypes) > 1 or dtypes.isdisjoint(("float32", "bfloat16", "float16")):
        return (
            "`query`, `key` and `value` must be all float32, bfloat16 or float16; "
            f"got {', '.join(sorted(dtypes))}."
        )
    if widest > WIDEST:
        return f"Keys and values must be at most {WIDEST} wide, to fit a core; got {widest}."
    if not normalizer_is_softmax:
        return "`normalizer` must be the softmax."
    if dropout_rate:
        return f"`dropout_rate` must be 0; got {dropout_rate}."
    if block_sizes and any(n < LEAST or n & (n - 1) for n in block_sizes):
        return f"`block_sizes` must be powers of 2 from {LEAST}; got {block_sizes}."
    score, at = jax.ShapeDtypeStruct((), jnp.float32), (jax.ShapeDtypeStruct((), jnp.int32),) * 4
    functions = (
        ("score_mod", score_mod and pallas_kernels.with_slope(score_mod), (score, *at)),
        ("mask", mask, at),
    )
    for name, function, examples in functions:
        reason = None if function is None else _reason(function, examples)
        if reason:
            return f"`{name}` {reason}."
    return None


def _reason(function: Callable[..., Any], examples: tuple[Any, ...]) -> str | None:
    """What of a function cannot run on tiles."""

    def run(*arguments: Array) -> list[Array]:
        steps, operands = program(function, *arguments)
        dtypes = [x.dtype for x in operands]
        read = lambda number, place, *_: jnp.zeros(place.shape, dtypes[number])  # noqa: E731
        return Machine(read).run(steps, *arguments)

    try:
        jax.eval_shape(run, *examples)
    except Refused as error:
        return str(error)
    return None


def _dot_scale(score: Score, query: Like, key: Like) -> float | None:
    """What multiplies the dot products of the vectors as they are; None for other scores."""
    wide = numerics.wide_dtype(query, key)
    parts = jaxprs.split_pair(
        score, *(jax.ShapeDtypeStruct(x.shape[-1:], wide) for x in (query, key))
    )
    whole = parts.of_query is None and parts.of_key is None and parts.pair is None
    return parts.scale if whole else None
