"""What the user can mend ends in one line; faults of the program show where they are."""

import jax
import numpy as np
import pytest

from attention_jax import variants
from experiments.common import endings


def caught(call):
    try:
        call()
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


def raising(error):
    def call():
        raise error

    return call


def test_a_message_is_one_line_whatever_it_quotes():
    error = caught(raising(ValueError("`--run` must be new; got a\nb\r\nc.")))
    assert endings.line(error) == "`--run` must be new; got a b c."
    assert endings.line(caught(raising(KeyError("x")))) is None
    assert endings.line(caught(raising(jax.errors.JaxRuntimeError("INTERNAL: x")))) is None


def test_the_systems_own_errors_name_the_file_and_a_remedy(tmp_path):
    long = tmp_path / ("x" * 300)
    said = endings.line(caught(long.read_bytes))
    assert said.startswith(f"{tmp_path}"[:20]) and "..." in said and "Errno" not in said
    assert said.endswith(" cannot be used: file name too long. Name another place, or mend it.")
    missing = tmp_path / "none" / "a.txt"
    said = endings.line(caught(missing.read_bytes))
    assert said == (
        f"{missing} cannot be used: no such file or directory. Name another place, or mend it."
    )
    assert endings.line(OSError("The disk is full.")) == "The disk is full."


@pytest.mark.parametrize(
    "call",
    [
        raising(MemoryError()),
        lambda: np.zeros((2**40, 2**20), np.int64),
        lambda: np.zeros((2**45,), np.int64),
        raising(jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory\nallocating 9")),
    ],
)
def test_arrays_too_large_for_the_memory_are_named_as_such(call):
    said = endings.line(caught(call))
    assert said.startswith("arrays must fit into memory") and "smaller." in said
    assert "\n" not in said


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("raise RuntimeError('no\\nway')", "could not be read: RuntimeError: no way."),
        ("import sys\nsys.exit(3)", "could not be read: SystemExit: 3."),
        ("1 / 0", "could not be read: ZeroDivisionError"),
        ("raise ValueError('mine')", "line 1: ValueError: mine."),
    ],
)
def test_a_file_of_ones_own_that_fails_is_named(tmp_path, text, message):
    path = tmp_path / "own.py"
    path.write_text(text)
    error = caught(lambda: variants.get(str(path)))
    said = endings.line(error)
    assert said.startswith(str(path)) and message in said, said


def test_a_function_of_ones_own_that_fails_is_named_with_its_line(tmp_path):
    path = tmp_path / "own.py"
    path.write_text("def own():\n    return undefined\n")
    said = endings.line(caught(lambda: variants.get(str(path))))
    assert said.startswith(f"{path}, line 2: NameError: name 'undefined' is not defined")
