"""Every option of every variant refuses wrong values in one line that names it."""

import inspect
import math
import typing

import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import variants
from attention_jax.variants._registry import origin
from attention_jax.variants._text import Spec

# Values that are wrong for every option of a type, whatever the option means.
WRONG = {
    int: (-1, 2.5, 1.0, "x", True, [1], np.ones(3), jnp.ones(()), np.float32(2), print, 10**400),
    float: ("x", True, [1], np.ones(3), jnp.ones(()), print, math.nan, -math.inf, 10**400),
    bool: (0, 1, -1, 2.5, math.nan, "x", [1], np.ones(3), jnp.ones(()), np.int64(1), print),
    str: (0, -1, 2.5, True, "x", [1], np.ones(3), jnp.ones(()), print),
}
FREE = {"bias"}  # options that any number suits
FROM_ZERO = {"seed", "global_blocks", "random", "initial", "noise", "lower_bound", "rotary_width"}


def options():
    for name in variants.names():
        factory = origin(Spec(name, name, {})).factory
        for parameter in inspect.signature(factory).parameters.values():
            yield name, parameter


def wrong_values(option):
    """Values that an option must refuse, by its annotation and default."""
    kinds = typing.get_args(option.annotation) or (option.annotation,)
    kind = next(x for x in kinds if x in WRONG or x is not type(None))
    values = list(WRONG.get(kind, WRONG[int]))
    if type(None) not in kinds:
        values.append(None)
    if kind is int and option.name not in FROM_ZERO:
        values.append(0)
    if kind is float and option.name not in FREE:
        values += [-1, -0.5] + ([] if option.name in FROM_ZERO else [0])
    return values


def test_every_wrong_value_is_refused_by_name(users_errors):
    count = 0
    for name, option in options():
        for value in wrong_values(option):
            with pytest.raises(ValueError, match=f"`{option.name}`") as caught:
                variants.get(name, **{option.name: value})
            said = str(caught.value)
            assert "\n" not in said and len(said) < 300, (name, option.name)
            assert "attention_jax" in str(caught.traceback[-1].path), (name, option.name, value)
            count += 1
    assert count >= 800


def test_numbers_of_numpy_are_numbers():
    assert variants.get("top_k", k=np.int64(3)) == variants.get("top_k", k=3)
    assert variants.get("cosine", temperature=np.float32(0.5)) == variants.get(
        "cosine", temperature=0.5
    )
    assert variants.get("relative", values=np.bool_(False)) == variants.get(
        "relative", values=False
    )
