"""NumPy arrays are taken wherever a function captures them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import attention
from attention_jax.core import captured_arrays

TABLE = np.array([[0.5, 1.5, -1.0], [2.0, 0.25, 3.0]], np.float32)


def of_closure():
    table = TABLE
    return lambda i, j: table[i, j]


def of_global(i, j):
    return TABLE[i, j]


def of_inner_global(i, j):
    return (lambda: TABLE[i, j])()


def of_default(i, j, table=TABLE):
    return table[i, j]


def of_named_default(i, j, *, table=TABLE):
    return table[i, j]


def of_another_function(i, j):
    return of_global(i, j)


def of_argument(table, i, j):
    return table[i, j]


class Holder:
    def __init__(self, table):
        self.table = table

    def __call__(self, i, j):
        return self.table[i, j]

    def method(self, i, j):
        return self.table[i, j]


FUNCTIONS = {
    "closure": of_closure(),
    "global": of_global,
    "global of an inner function": of_inner_global,
    "default": of_default,
    "named default": of_named_default,
    "another function": of_another_function,
    "bound argument": functools.partial(of_argument, TABLE),
    "callable object": Holder(TABLE),
    "method": Holder(TABLE).method,
    "jitted": jax.jit(of_closure()),
    "list of arrays": lambda i, j, rows=list(TABLE): jnp.stack([x[j] for x in rows])[i],
    "list of numbers": functools.partial(lambda row, i, j: row[j + 0 * i], TABLE[0].tolist()),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_table_is_looked_up_by_traced_positions(name):
    function = FUNCTIONS[name]
    run = jax.jit(lambda i, j: captured_arrays.call(function, i, j))
    expected = TABLE[0, 2] if name == "list of numbers" else TABLE[1, 2]
    assert float(run(jnp.int32(1), jnp.int32(2))) == expected


def test_what_captures_none_stays_itself():
    for function in (lambda i, j: i + j, functools.partial(max, 1), jnp.add, Holder(3.0), len):
        assert captured_arrays.with_jax_arrays(function) is function
    assert isinstance(of_default.__defaults__[0], np.ndarray)
    assert isinstance(TABLE, np.ndarray)


def test_a_function_that_captures_itself_ends():
    def itself(i, j):
        return itself(i - 1, j) if isinstance(i, int) and i > 0 else TABLE[0] + j

    assert captured_arrays.with_jax_arrays(itself)(1, 2).tolist() == [2.5, 3.5, 1.0]


def test_what_numpy_cannot_compute_is_named(qkv, users_errors):
    with pytest.raises(
        ValueError, match="`score_mod` must compute with `jax.numpy`.*Got .*<lambda>"
    ):
        attention(*qkv, score_mod=lambda score, b, h, i, j: np.exp(score))
