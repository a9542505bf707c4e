"""A sequence-to-sequence model forward and backward by one program, for tests of its promises."""

import jax
import jax.numpy as jnp
from flax import nnx


def forward_and_backward(model):
    """`(source, mask, target) -> gradient, (logits, memory)`; the gradient is of `Σ sin(logits)`.

    Compiling is what tests of models wait for: a program of the gradient holds the pass forward,
    and so there is none of that alone.
    """
    graphdef, state = nnx.split(model)
    params = nnx.as_pure(state)

    def loss(params, source, mask, target):
        model = nnx.merge(graphdef, params)
        memory = model.encode(source, mask)
        logits = model.decode(target, memory)
        return jnp.sum(jnp.sin(logits)), (logits, memory)

    run = jax.jit(jax.grad(loss, has_aux=True))
    return lambda source, mask, target: run(params, source, mask, target)
