"""Shares of a run's time: nothing is counted twice, and all that is shown sums to 100 percent."""

import time

import numpy as np
import pytest

from attention_jax.training import time_shares
from attention_jax.training.time_shares import PARTS, REST, Clock


@pytest.fixture
def now(monkeypatch):
    """A clock that stands still until it is moved."""
    at = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: at[0])
    return at


def test_parts_and_the_rest_are_all_of_the_time(now):
    clock = Clock()
    now[0] += 1  # of the rest
    with clock.of("evaluation"):
        now[0] += 2
    now[0] += 3
    clock.add("input", 3.0)
    with clock.of("updates"):
        now[0] += 4
    shares = clock.shares()
    want = {"evaluation": 0.2, "input": 0.3, "updates": 0.4, REST: 0.1}
    assert shares == pytest.approx(dict.fromkeys(PARTS, 0.0) | want)
    assert sum(shares.values()) == pytest.approx(1.0)
    assert time_shares.outside(shares) == pytest.approx(0.5)


def test_what_is_counted_inside_of_a_part_is_counted_once(now):
    clock = Clock()
    with clock.of("checkpoints"):
        now[0] += 1
        with clock.of("updates"):
            now[0] += 2
        clock.add("input", 0.0)
        now[0] += 4
    assert (clock.seconds["checkpoints"], clock.seconds["updates"]) == (5.0, 2.0)


def test_a_part_that_fails_is_counted(now):
    clock = Clock()
    with pytest.raises(KeyError), clock.of("logging"):
        now[0] += 2
        raise KeyError
    assert clock.seconds["logging"] == 2.0


def test_no_time_is_all_of_the_rest(now):
    assert Clock().shares() == dict.fromkeys(PARTS, 0.0) | {REST: 1.0}


def test_percents_sum_to_100_and_are_within_a_tenth():
    generator = np.random.default_rng(0)
    for count in (1, 2, 3, 7, 11):
        for _ in range(50):
            own = generator.dirichlet(np.full(count, 0.3))
            shown = time_shares.percents({str(i): float(x) for i, x in enumerate(own)})
            numbers = [float(text) for text in shown.values()]
            assert round(10 * sum(numbers)) == 1000
            np.testing.assert_array_less(np.abs(numbers - 100 * own), 0.1 + 1e-9)


def test_a_line_names_the_largest_first_and_no_zeros():
    line = time_shares.in_one_line({"updates": 0.25, "input": 0.0001, "evaluation": 0.7499})
    assert line == "time: evaluation 75.0 %, updates 25.0 %"
