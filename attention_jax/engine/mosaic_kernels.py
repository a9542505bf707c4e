"""A Mosaic GPU kernel of softmax attention for Hopper, forward.

Two groups of warps compute 64 queries each, over the blocks of keys that the mask leaves to both. A
third group copies keys and values ahead, so that tensor cores need not wait for memory.

Reference: Shah et al. 2024, arXiv:2407.08608, section 3.1. How the back end is called follows JAX's
own kernel, jax/experimental/pallas/ops/gpu/attention_mgpu.py.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import mosaic_gpu
from jaxtyping import Array, PyTree

from attention_jax.core import online_normalizers
from attention_jax.engine import mosaic_parts
from attention_jax.engine.mosaic_parts import (
    GROUP,
    GROUPS,
    STAGES,
    THREADS,
    Functions,
    Tile,
)
from attention_jax.engine.pallas_kernels import (
    LN_2,
    Constants,
    Differentiable,
    KernelConfig,
    Ref,
    Refs,
)


class Scratch(NamedTuple):
    """Memory of a block, and signals that vectors have come and that a stage is free.

    Attributes:
      q: of each group; takes the output at the end.
      weights: room for the interpreter; see `mosaic_parts.add_product`.
    """

    q: Ref
    k: Ref
    v: Ref
    lse: Ref
    q_came: Ref
    k_came: Ref
    v_came: Ref
    k_free: Ref
    v_free: Ref
    weights: Ref = None


class Kernel(NamedTuple):
    """One block of queries over its blocks of keys."""

    functions: Functions
    inputs: Refs
    scratch: Scratch

    @property
    def g(self) -> Array:
        return lax.div(lax.axis_index("h"), jnp.int32(self.functions.config.shape.r))

    def copy(self) -> None:
        """Copies the blocks of keys and values, each to the stage that is free next."""
        inputs, to, b, g = self.inputs, self.scratch, lax.axis_index("b"), self.g
        size = self.functions.config.sizes[1]

        def one(block: Callable, n: Array, step: Array) -> Array:
            stage = lax.rem(step, jnp.int32(STAGES))
            at = (b, pl.ds(block(n) * size, size), g)
            for ref, room, came, free in (
                (inputs.k, to.k, to.k_came, to.k_free),
                (inputs.v, to.v, to.v_came, to.v_free),
            ):
                pl.when(step >= STAGES)(partial(mosaic_gpu.barrier_wait, free.at[stage]))
                mosaic_gpu.copy_gmem_to_smem(ref.at[at], room.at[stage], came.at[stage])
            return step + 1

        step = jnp.int32(0)
        for _, first, last, block in self.functions.visits(inputs, g):
            step = lax.fori_loop(first, last, partial(one, block), step)

    def compute(self, out_ref: Ref, lse_ref: Ref) -> None:
        """The output of the queries of one group."""
        group, (b, h, line) = lax.axis_index(THREADS), (lax.axis_index(x) for x in "bhl")
        first = (line * GROUPS + group) * GROUP
        q, of_lse, rows = self.scratch.q.at[group], self.scratch.lse.at[group], pl.ds(first, GROUP)
        came = self.scratch.q_came.at[group]
        mosaic_gpu.copy_gmem_to_smem(self.inputs.q.at[b, rows, h], q, came)
        mosaic_gpu.barrier_wait(came)
        state = (
            mosaic_parts.start((GROUP, self.functions.config.widths[1]), 0.0),
            mosaic_parts.start((GROUP,), online_normalizers.lowest(jnp.float32)),
            mosaic_parts.start((GROUP,), 0.0),
            jnp.int32(0),
        )
        for masked, start, last, block in self.functions.visits(self.inputs, self.g):
            look = partial(self.look, q, first, masked, block)
            state = lax.fori_loop(start, last, look, state)
        out, lse = _normalized(*state[:3])
        q[...] = out.astype(q.dtype)
        of_lse[...] = lse
        mosaic_gpu.commit_smem()
        mosaic_gpu.copy_smem_to_gmem(q, out_ref.at[b, rows, h])
        mosaic_gpu.copy_smem_to_gmem(of_lse, lse_ref.at[b, h, rows])
        mosaic_gpu.wait_smem_to_gmem(0)

    def look(
        self, q: Ref, first: Array, masked: bool, block: Callable, n: Array, state: PyTree
    ) -> PyTree:
        """One block of keys."""
        out, high, total, step = state
        stage, own = lax.rem(step, jnp.int32(STAGES)), self.scratch
        at = Tile(*map(lax.axis_index, "bh"), first, block(n) * self.functions.config.sizes[1])
        mosaic_gpu.barrier_wait(own.k_came.at[stage])
        dots = mosaic_parts.product(q, own.k.at[stage].transpose((1, 0)))
        mosaic_gpu.barrier_arrive(own.k_free.at[stage])
        x, _ = self.functions.scores(self.inputs, at, dots, masked)
        new = jnp.maximum(high, x.max(1))
        p, shrink = jnp.exp2(x - _across(new, x)), jnp.exp2(high - new)
        total = total * shrink + p.sum(1)
        mosaic_gpu.barrier_wait(own.v_came.at[stage])
        room = None if own.weights is None else own.weights.at[lax.axis_index(THREADS)]
        out = mosaic_parts.add_product(out * _across(shrink, out), p, own.v.at[stage], room)
        mosaic_gpu.barrier_arrive(own.v_free.at[stage])
        return out, new, total, step + 1


def _across(x: Array, like: Array) -> Array:
    return lax.broadcast_in_dim(x, like.shape, [0])


def _normalized(out: Array, high: Array, total: Array) -> tuple[Array, Array]:
    """Output and log-sum-exp; 0 and -inf for rows that see nothing."""
    some = jnp.where(total == 0, 1.0, total)
    lse = jnp.where(total == 0, -jnp.inf, high * LN_2 + jnp.log(some))
    return out / _across(some, out), lse


def forward(
    config: KernelConfig, arrays: Differentiable, constants: Constants
) -> tuple[Array, Array]:
    """Output and log-sum-exp."""
    functions, inputs = mosaic_parts.functions(config, arrays, constants, slopes=False)
    (b, g, r, t, _), width, dtype = config.shape, config.widths[1], arrays.q.dtype

    def kernel(inputs: Refs, out_ref: Ref, lse_ref: Ref, scratch: Scratch) -> None:
        own = Kernel(functions, inputs, scratch)
        mosaic_parts.split(partial(own.compute, out_ref, lse_ref), own.copy)

    results = (
        jax.ShapeDtypeStruct((b, t, g * r, width), dtype),
        jax.ShapeDtypeStruct((b, g * r, t), jnp.float32),
    )
    scratch = (_scratch(config, dtype),)
    out, lse = mosaic_parts.run(kernel, config, inputs, results, scratch, by_keys=False)
    return out, lse.transpose(0, 2, 1)


def _scratch(config: KernelConfig, dtype: jnp.dtype) -> Scratch:
    width, size = config.widths[1], config.sizes[1]
    keys, came = (
        mosaic_parts.tiles((STAGES, size, width), dtype),
        mosaic_gpu.Barrier(num_barriers=STAGES),
    )
    free = mosaic_gpu.Barrier(num_arrivals=GROUPS, num_barriers=STAGES)
    return Scratch(
        q=mosaic_parts.tiles((GROUPS, GROUP, width), dtype),
        k=keys,
        v=keys,
        lse=mosaic_parts.numbers((GROUPS, GROUP)),
        q_came=mosaic_gpu.Barrier(num_barriers=GROUPS),
        k_came=came,
        v_came=came,
        k_free=free,
        v_free=free,
        weights=mosaic_parts.tiles((GROUPS, GROUP, size), dtype) if config.interpret else None,
    )
