"""The plan of a call, from shapes alone."""

import jax
import jax.numpy as jnp

import attention_jax as aj

shape = jax.ShapeDtypeStruct((1, 4096, 8, 64), jnp.float32)
found = aj.plan(shape, shape, shape, mask=aj.masks.causal)
megabytes: float = found.temporary_bytes / 2**20
reason: str = found.reason
assert megabytes > 0 and reason
if found.block_sizes is not None:
    rows, columns = found.block_sizes
    assert rows * columns > 0 and 0.0 <= found.skipped < 1.0
