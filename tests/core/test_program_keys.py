import jax
import jax.numpy as jnp
import numpy as np

from attention_jax.core import program_keys

INNER = jax.jit(lambda x, table: x * table)


def traced(table, number=2.0, function=INNER):
    """A new function at each call, with an array that it captures, a number and an inner call."""
    return jax.make_jaxpr(lambda x: function(jnp.sin(x) + number, table))(jnp.float32(0))


def test_programs_that_compute_the_same_have_one_key():
    table, other = np.float32([1, 2]), np.float32([1, 3])
    one, same = traced(jnp.asarray(table)), traced(jnp.asarray(table))
    assert one is not same
    assert program_keys.whole(one) == program_keys.whole(same)
    assert hash(program_keys.whole(one)) == hash(program_keys.whole(same))
    # Of what is captured outside of inner programs the structure knows only the type.
    assert program_keys.structure(one) == program_keys.structure(traced(jnp.asarray(other)))
    assert program_keys.whole(one) != program_keys.whole(traced(jnp.asarray(other)))
    assert program_keys.structure(one) != program_keys.structure(traced(jnp.asarray(table), 3.0))
    assert program_keys.structure(one) != program_keys.structure(traced(jnp.float32([1, 2, 3])))


def test_arrays_inside_of_inner_programs_count_by_their_numbers():
    """`closed_call` and its kind hold arrays of their own."""

    def keyed(numbers):
        table = jnp.asarray(np.float32(numbers))
        inner = jax.make_jaxpr(lambda x: x + table)(jnp.float32(0))
        assert inner.consts
        return program_keys._param(inner)

    assert keyed([1, 2]) == keyed([1, 2]) and hash(keyed([1, 2])) == hash(keyed([1, 2]))
    assert keyed([1, 2]) != keyed([1, 3])
