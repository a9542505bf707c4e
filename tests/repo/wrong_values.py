"""Wrong values of settings: what a good argument is replaced by, and how each is refused."""

import math
from typing import NamedTuple

import pytest

# By the type of the good argument; what a setting takes beyond that stands in its row.
WRONG = {
    int: (0, -1, 2.5, math.nan, None, "x", True, [1]),
    float: (-1, 2.5, math.nan, None, "x", True, [1]),
    bool: (0, 2, 2.5, None, "x", [1]),
    str: (0, 2.5, None, "x", True, [1]),
    type(None): ("x", True, [1]),
}
ANYTHING_ELSE = (0, None, "x")


class Row(NamedTuple):
    """A call, good arguments, values that an argument takes beside its good one, other names."""

    call: object
    good: dict
    takes: dict = {}
    names: dict = {}


def wrong(row):
    """Each argument of a row with each value that it must refuse."""
    for name, good in row.good.items():
        for value in WRONG.get(type(good), ANYTHING_ELSE):
            fine = (good, *row.takes.get(name, ()))
            if not any(type(value) is type(x) and value == x for x in fine):
                yield name, value


def assert_each_is_named(row):
    """Each wrong value raises one line of ours that names the argument."""
    for argument, value in wrong(row):
        with pytest.raises((ValueError, TypeError)) as caught:
            row.call(**(row.good | {argument: value}))
        said, known = str(caught.value), (argument, row.names.get(argument, argument))
        assert any(f"`{word}`" in said for word in known), (argument, value, said)
        assert "\n" not in said and len(said) < 400, (argument, value, said)
        # The last frame is ours, so the words are too.
        assert "attention_jax" in str(caught.traceback[-1].path), (argument, value, said)


def assert_one_too_many_is_named(row):
    """An argument that there is not raises a line of ours that names it."""
    if getattr(row.call, "__name__", "") == "<lambda>":
        return
    with pytest.raises(TypeError, match="takes no `no_such`") as caught:
        row.call(**row.good, no_such=1)
    assert "attention_jax" in str(caught.traceback[-1].path)
