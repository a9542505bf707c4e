"""The timer: turns, rounds, ratios; on a clock that calls move."""

import mmap

import jax
import numpy as np
import pytest

from experiments.common import timing


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still but for what calls add to it, and the calls that were made."""

    class Clock:
        now, made = 0.0, []

        def call(self, name, *seconds):
            """A call that takes so long: each number once, the last one from then on."""
            left = list(seconds)

            def run():
                self.now += left.pop(0) if len(left) > 1 else left[0]
                self.made.append(name)

            return run

    clock = Clock()
    clock.made = []
    monkeypatch.setattr(timing.time, "perf_counter", lambda: clock.now)
    return clock


def test_calls_take_turns_and_who_begins_changes(clock):
    times = timing.interleaved({"a": clock.call("a", 5, 1), "b": clock.call("b", 7, 2)}, 3)
    assert "".join(clock.made) == "ab" + "ab" + "ba" + "ab"
    assert {name: own[:2] for name, own in times.items()} == {
        "a": (5, (1, 1, 1)),
        "b": (7, (2, 2, 2)),
    }


def test_a_warm_call_comes_right_before_each_counted_one(clock):
    times = timing.interleaved(
        {"a": clock.call("a", 9, 8, 1, 8, 3), "b": clock.call("b", 1)}, 2, warm=True
    )
    assert "".join(clock.made) == "ab" + "aabb" + "bbaa"
    assert times["a"][:2] == (9, (1, 3))


def test_where_one_is_slow_all_have_fewer_rounds(clock):
    calls = {"a": clock.call("a", 1), "b": clock.call("b", 4, 2)}
    few = timing.interleaved(calls, 5, slow_seconds=3, slow_repeats=2)
    assert [len(own.seconds) for own in few.values()] == [2, 2]
    # The first call decides; one that only compiles slowly beside others is slow too.
    assert len(timing.repeated(clock.call("c", 3), 5, slow_seconds=3).seconds) == 5
    assert len(timing.repeated(clock.call("c", 3.1), 5, slow_seconds=3).seconds) == 1
    assert len(timing.interleaved(calls, 1, slow_seconds=0.5, slow_repeats=3)["a"].seconds) == 1


def test_ratios_are_those_of_a_round():
    """A machine that is ten times as slow in one round changes no ratio."""
    ours, theirs = timing.Times(0, (1.0, 10.0, 2.0)), timing.Times(0, (2.0, 30.0, 3.0))
    assert ours.median == 2.0
    assert theirs.over(ours) == timing.Ratio(median=2.0, lowest=1.5, highest=3.0)


def test_a_result_is_waited_for(monkeypatch):
    waited = []
    monkeypatch.setattr(timing.jax, "block_until_ready", waited.append)
    timing.repeated(lambda: "result", 2)
    assert waited == ["result"] * 3


@pytest.mark.skipif(timing.resource is None, reason="the system counts no page faults")
def test_page_faults_are_those_of_each_counted_call():
    """A fresh mapping of 1,024 pages faults in once for each page that is written."""
    page = mmap.PAGESIZE

    def touch():
        with mmap.mmap(-1, 1024 * page) as memory:
            # Else the kernel may hand out many pages at one fault.
            memory.madvise(mmap.MADV_NOHUGEPAGE)
            for place in range(0, 1024 * page, page):
                memory[place] = 1

    times = timing.interleaved({"touch": touch, "none": lambda: None}, 3)
    assert 1024 <= times["touch"].median_faults < 1200
    assert times["none"].median_faults < 100
    assert timing.Times(0, (1.0,)).median_faults is None


def test_nothing_to_time_takes_no_time():
    assert timing.interleaved({}, 3) == {}


def test_real_calls_have_real_seconds():
    x = jax.numpy.ones((300, 300))
    product = jax.jit(lambda x: x @ x)
    times = timing.interleaved({"product": lambda: product(x), "none": lambda: None}, 3)
    assert all(second > 0 for own in times.values() for second in own.seconds)
    assert np.isfinite(times["product"].over(times["none"]).median)


def test_a_spread_is_the_median_between_the_lowest_and_the_highest():
    assert timing.spread("x", [3.0, 1.0, 9.0]) == {"x": 3.0, "x_range": [1.0, 9.0]}


def test_lengths_are_numbers_above_one():
    assert timing.lengths("at", ["2", "16"]) == (2, 16)
    for texts in (["1"], ["2", "x"], ["-3"]):
        with pytest.raises(ValueError, match="`--at` must be lengths above 1; got"):
            timing.lengths("at", texts)
