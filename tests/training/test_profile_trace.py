"""Profiles as read here hold the operations that JAX itself prints of the program."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax.training import profile_trace

_LINE = re.compile(r"^\s*(?:ROOT )?%?([\w.\-]+) = .*?[\])}] ([a-z][a-z\-]*)\(", re.MULTILINE)
_SCOPE = re.compile(r'op_name="([^"]*)"')


@pytest.fixture(scope="module")
def profiled(tmp_path_factory):
    """A folder with a profile of three runs of a program, and the program's text."""

    def scored(x):
        with jax.named_scope("attention"):
            y = jnp.tanh(x @ x) @ x
        return jnp.sort(y.sum(axis=0))

    folder, x = tmp_path_factory.mktemp("profile"), np.ones((64, 64), np.float32)
    program = jax.jit(scored)
    jax.block_until_ready(program(x))
    with jax.profiler.trace(str(folder)):
        for _ in range(3):
            jax.block_until_ready(program(x))
    return folder, program.lower(x).compile().as_text()


@pytest.mark.slow
def test_operations_are_those_of_the_programs_text(profiled):
    folder, text = profiled
    content = profile_trace.newest(folder).read_bytes()
    programs = profile_trace._programs(content)  # those of other tests too
    found = next(own for name, _, own in programs if name.startswith("jit_scored"))
    printed = [
        (*match.groups(), line) for line in text.splitlines() if (match := _LINE.match(line))
    ]
    assert len(printed) > 5
    for name, opcode, line in printed:
        assert found[name].opcode == opcode
        scope = _SCOPE.search(line)
        assert found[name].scope == (scope.group(1) if scope else "")
        assert bool(found[name].inside) == (opcode == "fusion")


@pytest.mark.slow
def test_spans_are_runs_of_operations(profiled):
    spans = profile_trace.read(profile_trace.newest(profiled[0]))
    own = [span for span in spans if span.module == "jit_scored"]
    assert own and all(span.operation and 0 <= span.start <= span.end for span in own)
    products = [s for s in own if "dot" in {s.operation.opcode, *dict(s.operation.inside)}]
    # XLA may fuse both.
    assert len(products) in (1 * 3, 2 * 3)
    for _, _, _, _, (_, scope, inside) in products:
        assert any("attention" in own for own in (scope, *dict(inside).values()))


def test_a_program_is_found_by_its_operations_whatever_its_number():
    made = [
        profile_trace._Program("jit_f", number, {name: profile_trace.Operation(name, "")})
        for number, name in ((1, "add.1"), (2, "add.2"), (3, "add.2"))
    ]
    best = profile_trace._best(made, "jit_f", 1, {"add.2"})
    assert best == made[1].operations
    assert profile_trace._best(made, "jit_f", 3, {"add.2"}) is made[2].operations
    assert profile_trace._best(made, "jit_g", 1, {"add.1"}) == {}


def test_no_profile_is_none(tmp_path):
    assert profile_trace.newest(tmp_path) is None
    assert profile_trace.newest(tmp_path / "nothing") is None


def test_numbers_of_any_length_are_read():
    # A message with field 1 = 300, field 3 of eight bytes, field 2 of text, field 5 of four bytes.
    message = b"\x08\xac\x02" + b"\x19" + bytes(8) + b"\x12\x03abc" + b"\x2d" + bytes(4)
    view = memoryview(message)
    assert list(profile_trace._each(view, 1)) == [300]
    assert [bytes(own) for own in profile_trace._each(view, 2)] == [b"abc"]
    assert [len(own) for own in profile_trace._each(view, 3)] == [8]
    assert [len(own) for own in profile_trace._each(view, 5)] == [4]
    assert profile_trace._numbers(memoryview(b"\x01\xac\x02")) == [1, 300]
