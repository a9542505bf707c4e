"""Models whose parameters are all random, gains and biases too, and rounded as in a live page."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx


def drawn(build, seed=0):
    """The model of `build()` with other parameters."""
    graph, params, rest = nnx.split(nnx.eval_shape(build), nnx.Param, ...)
    draw = np.random.default_rng(seed)

    def values(path, x):
        is_gain = "scale" in str(path[-1]) or "scale" in str(path[-2:])
        fan = x.shape[0] if len(x.shape) > 1 else 4
        found = is_gain + draw.normal(size=x.shape) * 1.2 * fan**-0.5
        return jnp.asarray(found, jnp.float16).astype(jnp.float32)

    return nnx.merge(graph, jax.tree_util.tree_map_with_path(values, params), rest)
