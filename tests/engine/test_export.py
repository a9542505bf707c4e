"""Exported programs whose sizes are symbols: one program for every batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from attention_jax import attention, plan
from attention_jax.core import masks, normalizers


def exported(function, sizes, count=3):
    x = jax.ShapeDtypeStruct(export.symbolic_shape(sizes), jnp.float32)
    return export.export(jax.jit(function))(*[x] * count)


def close(program, function, arrays):
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5),
        program.call(*arrays),
        jax.jit(function)(*arrays),
    )


@pytest.mark.sampled(1)
@pytest.mark.parametrize(
    "length, options",
    [
        (260, {"mask": masks.causal}),
        (8, {"mask": masks.causal & masks.sliding_window(3)}),
        pytest.param(260, {"normalizer": normalizers.sparsemax}, marks=pytest.mark.slow),
        pytest.param(8, {"implementation": "reference"}, marks=pytest.mark.slow),
        pytest.param(260, {"mask": lambda b, h, i, j: (i >= j) | (b == 1)}, marks=pytest.mark.slow),
        pytest.param(
            260,
            {"dropout_rate": 0.5, "dropout_key": jax.random.key(0), "return_lse": True},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_batch_of_any_size(length, options, draw):
    def attend(q, k, v):
        return attention(q, k, v, **options)

    program = exported(attend, f"b, {length}, 2, 4")
    for batch in (1, 3):
        close(program, attend, [draw(batch, length, 2, 4) for _ in range(3)])


@pytest.mark.slow
@pytest.mark.parametrize("length", [8, pytest.param(260, marks=pytest.mark.slow)])
def test_gradients_of_a_batch_of_any_size(length, draw):
    gradient = jax.grad(
        lambda *x: jnp.sin(attention(*x, mask=masks.causal)).sum(), argnums=(0, 1, 2)
    )
    program = exported(gradient, f"b, {length}, 2, 4")
    close(program, gradient, [draw(3, length, 2, 4) for _ in range(3)])


@pytest.mark.slow
def test_lengths_of_any_size_are_told_by_the_plan(draw):
    planned = []

    def attend(q, k, v):
        planned.append(plan(q, k, v, mask=masks.causal))
        return attention(q, k, v, mask=masks.causal)

    program = exported(attend, "b, t, 2, 4")
    assert planned[0].implementation == "reference"
    assert planned[0].reason == "lengths that are not known before the run (t, s) have no blocks"
    close(program, attend, [draw(2, 5, 2, 4) for _ in range(3)])
    with pytest.raises(ValueError, match="it needs lengths that are known; got t=t, s=t"):
        exported(lambda *x: attention(*x, implementation="blockwise"), "b, t, 2, 4")
