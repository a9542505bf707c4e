"""Shares of a profile: each moment is divided among what runs, and every operation has a row."""

import pytest

from attention_jax.training import profile_shares
from attention_jax.training.profile_shares import ROWS, row_of
from attention_jax.training.profile_trace import Operation, Span
from attention_jax.training.time_shares import REST

PROGRAMS = ("jit_whole",)
DOT = Operation("dot", "jit(whole)/jvp()/dot_general")
ADAM = Operation("fusion", "jit(whole)/optimizer/mul", (("multiply", "jit(whole)/optimizer/mul"),))


@pytest.mark.parametrize(
    ("operation", "row"),
    [
        (DOT, "matrix products"),
        (
            Operation("fusion", "jit(whole)/jvp(loss)/dot_general", (("dot", ""),)),
            "matrix products",
        ),
        (Operation("custom-call", "jit(whole)/jvp()/dot_general"), "matrix products"),
        (Operation("custom-call", "jit(whole)/jvp()/top_k"), "other element-wise work"),
        (Operation("dot", "jit(whole)/transpose(jvp(attention))/dot_general"), "attention"),
        (Operation("fusion", "jit(whole)/jvp(attention)/exp", (("exponential", ""),)), "attention"),
        (Operation("copy", "jit(whole)/jvp(attention)/transpose"), "attention"),
        (
            Operation("fusion", "jit(whole)/jvp(attention/dropout)/select_n"),
            "dropout, random numbers",
        ),
        (Operation("rng-bit-generator", ""), "dropout, random numbers"),
        (Operation("fusion", "jit(whole)/transpose(jvp(norm))/mul", (("add", ""),)), "norms"),
        (Operation("fusion", "jit(whole)/jvp(loss)/exp", (("exponential", ""),)), "loss"),
        (ADAM, "optimizer"),
        (Operation("fusion", "", (("multiply", "jit(whole)/optimizer/mul"),)), "optimizer"),
        (Operation("copy", ""), "copies"),
        (Operation("fusion", "jit(whole)/x", (("transpose", ""), ("parameter", ""))), "copies"),
        (
            Operation("fusion", "jit(whole)/x", (("add", ""), ("parameter", ""))),
            "other element-wise work",
        ),
        (Operation("fusion", "jit(whole)/reduce_sum", (("reduce", ""),)), "other sums"),
        # A primitive, or a part of a word, is no scope.
        (Operation("add", "jit(whole)/normal/norm"), "other element-wise work"),
        (None, "rest"),
    ],
)
def test_an_operation_has_a_row(operation, row):
    assert row_of(operation) == row
    assert row in ROWS


def span(lane, start, end, operation, module="jit_whole"):
    return Span(lane, float(start), float(end), module, operation)


def test_a_moment_is_divided_among_what_runs_at_once():
    spans = [
        span("a", 0, 4, DOT),
        span("b", 2, 6, ADAM),
        span("a", 8, 10, DOT),  # after two seconds of nothing
    ]
    found = profile_shares.shares(spans, programs=PROGRAMS)
    want = {"matrix products": 0.5, "optimizer": 0.3, REST: 0.2}
    assert found == pytest.approx(dict.fromkeys(ROWS, 0.0) | want)


def test_the_innermost_operation_of_a_lane_counts():
    loop = Operation("while", "jit(whole)/while")
    found = profile_shares.shares(
        [span("a", 0, 10, loop), span("a", 2, 5, DOT), span("a", 6, 8, ADAM)], programs=PROGRAMS
    )
    assert found["other element-wise work"] == pytest.approx(0.5)
    assert (found["matrix products"], found["optimizer"]) == pytest.approx((0.3, 0.2))


def test_operations_of_other_programs_and_unknown_ones_are_told_apart():
    spans = [
        span("a", 0, 1, DOT),
        span("a", 1, 4, DOT, module="jit_sums"),
        span("a", 4, 5, None),
    ]
    found = profile_shares.shares(spans, programs=PROGRAMS)
    want = {"matrix products": 0.2, "other programs": 0.6, REST: 0.2}
    assert found == pytest.approx(dict.fromkeys(ROWS, 0.0) | want)


def test_a_table_sums_to_100_percent():
    spans = [span("a", n, n + 0.9, DOT if n % 3 else ADAM) for n in range(7)]
    lines = profile_shares.table(spans, updates=7, programs=PROGRAMS).splitlines()
    assert lines[0] == "7 updates in 6.9 s, by what they were spent on:"
    assert [line.split("%")[1].split("  ")[1] for line in lines[1:-1]] == [
        "matrix products",
        "optimizer",
        "rest",
    ]
    assert round(sum(10 * float(line.split("%")[0]) for line in lines[1:-1])) == 1000
    assert lines[-1].split() == ["100.0", "%"]


def test_no_operations_have_no_shares():
    assert "no operation" in profile_shares.table([], updates=3, programs=PROGRAMS)
    assert sum(profile_shares.shares([], programs=PROGRAMS).values()) == 1.0
