"""Our Pallas kernels as one differentiable function: which kernel gives which derivative."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from attention_jax.core import jaxprs
from attention_jax.core.jaxprs import Hoisted
from attention_jax.engine import blockwise, custom_transpose, pallas_blocks, pallas_kernels
from attention_jax.engine.block_map import BlockMap
from attention_jax.engine.implementation import named_output, named_rows
from attention_jax.engine.pallas_kernels import Constants, Differentiable, KernelConfig
from attention_jax.engine.request import Request, make_request

# (arrays, constants) -> (out, lse)
Attend = Callable[[Differentiable, Constants], tuple[Array, Array]]


class Passes(NamedTuple):
    """Kernels of both passes; see `_forward` and `_backward`."""

    forward: Callable[..., tuple[Array, Array]]
    backward: Callable[..., tuple[Array, ...]]


def attend(
    request: Request, tiling: BlockMap, *, interpret: bool, passes: Passes | None = None
) -> tuple[Array, Array]:
    """Output and log-sum-exp of a request that `pallas` does not refuse, none of it empty.

    Args:
      passes: other kernels than those of `pallas_kernels`.
    """
    (query, key, value), analysis = request.arrays, request.analysis
    score_mod = None if analysis.score_mod is None else jaxprs.hoist(analysis.score_mod)
    mask = None if analysis.mask is None else jaxprs.hoist(analysis.mask.program)
    scale: Any = analysis.score.dot_scale
    config = KernelConfig(
        request.shape,
        (key.shape[-1], value.shape[-1]),
        tiling.sizes[1:],
        scale,
        score_mod,
        mask,
        tiling,
        _exact(request, score_mod, mask),
        interpret,
    )
    constants = Constants(
        score_mod.others if score_mod else (),
        (mask.floats, mask.others) if mask else ((), ()),
        jnp.stack([jnp.asarray(x, jnp.int32) for x in request.offsets]),
    )
    floats = score_mod.floats if score_mod else ()
    return rule(config, passes or Passes(_forward, _backward))(
        Differentiable(floats, query, key, value), constants
    )


def _exact(request: Request, score_mod: Hoisted | None, mask: Hoisted | None) -> Attend:
    """`attend` by `engine.blockwise`, for the derivatives that the kernels do not give."""
    traced, offsets, dtype = request.analysis.mask, request.offsets, request.query.dtype
    known = not any(isinstance(x, jax.core.Tracer) for x in offsets)
    known = known and (traced is None or traced.is_known(offsets))
    scale: Any = request.analysis.score.dot_scale

    def exact(arrays: Differentiable, constants: Constants) -> tuple[Array, Array]:
        starts = offsets if known else tuple(constants.offsets)
        bound = mask and partial(mask.function, *constants.mask)
        again = make_request(
            *(x.astype(jnp.float32) for x in arrays[1:]),
            score=lambda q, k: (q * scale) @ k,
            score_mod=score_mod and partial(score_mod.function, arrays.floats, constants.score_mod),
            mask=request.mask if known else bound,
            query_offset=starts[0],
            key_offset=starts[1],
            return_lse=True,
        )
        out, lse = blockwise.run(again)
        return out.astype(dtype), lse

    return exact


def rule(config: KernelConfig, passes: Passes) -> Attend:
    """`(arrays, constants) -> (out, lse)` with its derivatives."""
    exact, backward = config.exact, _backward_rule(config, passes)

    @jax.custom_jvp
    def attend(arrays: Differentiable, constants: Constants) -> tuple[Array, Array]:
        return passes.forward(config, arrays, constants)

    def tangent(given: Any, moved: Differentiable) -> Any:
        arrays, constants, _ = given
        return jax.jvp(lambda arrays: exact(arrays, constants), (arrays,), (moved,))[1]

    def transposed(needed: tuple[bool, ...], given: Any, cts: Any) -> Differentiable:
        arrays, constants, results = given
        if any(needed[:-3]):
            return _exact_backward(exact, arrays, constants, cts)
        nothing: Any = (None,) * len(arrays.floats)
        return Differentiable(nothing, *backward(arrays, constants, results, cts))

    @attend.defjvp
    def attend_jvp(primals: Any, tangents: Any) -> Any:
        out, lse = attend(*primals)
        results = named_output(out), named_rows(lse)
        return results, custom_transpose.apply(
            tangent, transposed, (*primals, results), tangents[0]
        )

    return attend


def _backward_rule(config: KernelConfig, passes: Passes) -> Callable[..., tuple[Array, ...]]:
    """`(arrays, constants, results, cotangents) -> those of q, k and v`, with derivatives."""

    @jax.custom_jvp
    def backward(
        arrays: Differentiable, constants: Constants, results: Any, cts: Any
    ) -> tuple[Array, ...]:
        return passes.backward(config, arrays, constants, results, cts)

    @backward.defjvp
    def backward_jvp(primals: Any, tangents: Any) -> Any:
        (arrays, constants, _, cts), (d_arrays, _, _, d_cts) = primals, tangents

        def again(arrays: Differentiable, cts: Any) -> tuple[Array, ...]:
            return tuple(_exact_backward(config.exact, arrays, constants, cts)[1:])

        _, moved = jax.jvp(again, (arrays, cts), (d_arrays, d_cts))
        return backward(*primals), moved

    return backward


def _forward(
    config: KernelConfig, arrays: Differentiable, constants: Constants
) -> tuple[Array, Array]:
    """Output and log-sum-exp by the kernel."""
    config = config._replace(parts=pallas_blocks.parts(config.tiling, config.shape))
    kernel, refs = pallas_kernels.programs(config, arrays, constants)
    (b, g, r, t, _), e = config.shape, config.widths[1]
    n = config.parts
    like = [
        jax.ShapeDtypeStruct((n * b, t, g * r, e), arrays.q.dtype if n == 1 else jnp.float32),
        jax.ShapeDtypeStruct((n * b, g * r, t), jnp.float32),
    ]
    warps = _launch(pallas_blocks.FORWARD, arrays).warps
    out, lse = pallas_kernels.call(config, kernel.forward, refs, like, warps=warps, by_keys=False)
    lse = lse.transpose(0, 2, 1)
    if n == 1:
        return out, lse
    out, lse = _combined(out.reshape(n, b, *out.shape[1:]), lse.reshape(n, b, *lse.shape[1:]))
    return out.astype(arrays.q.dtype), lse


def _combined(
    out: Float[Array, "n b t h e"], lse: Float[Array, "n b t h"]
) -> tuple[Float[Array, "b t h e"], Float[Array, "b t h"]]:
    """Output and log-sum-exp over all keys from those over each part of the keys."""
    high = lse.max(0)
    high = jnp.where(high == -jnp.inf, 0.0, high)
    share = jnp.exp(lse - high[None])
    total = share.sum(0)
    out = (share[..., None] * out).sum(0) / jnp.where(total == 0, 1.0, total)[..., None]
    return out, high + jnp.log(total)


def _launch(table: Any, arrays: Differentiable) -> pallas_blocks.Launch:
    return pallas_blocks.launch(table, *arrays[1:], longest=True)


def _backward(
    config: KernelConfig, arrays: Differentiable, constants: Constants, results: Any, cts: Any
) -> tuple[Array, ...]:
    """Cotangents of queries, keys and values by the kernels, from those of `results`."""
    queries, keys, warps = _launch(pallas_blocks.BACKWARD, arrays)
    tiling = pallas_blocks.refined(config.tiling, config.shape, (queries, keys))
    config = config._replace(tiling=tiling, sizes=tiling.sizes[1:])
    kernel, refs = pallas_kernels.programs(config, arrays, constants)
    (out, lse), (ct, ct_lse) = results, cts
    shift = (out.astype(jnp.float32) * ct.astype(jnp.float32)).sum(-1) - ct_lse
    lse = jnp.where(lse == -jnp.inf, 0.0, lse * pallas_kernels.LOG2_E)
    shift, lse = shift.transpose(0, 2, 1), lse.transpose(0, 2, 1)
    refs = refs._replace(ct=ct, lse=lse, shift=shift)
    run = partial(pallas_kernels.call, config, warps=warps)
    dq = run(kernel.backward_query, refs, [arrays.q], by_keys=False)
    return *dq, *run(kernel.backward_key, refs, [arrays.k, arrays.v], by_keys=True)


def _exact_backward(
    exact: Attend, arrays: Differentiable, constants: Constants, cts: Any
) -> Differentiable:
    return jax.vjp(lambda arrays: exact(arrays, constants), arrays)[1](cts)[0]
