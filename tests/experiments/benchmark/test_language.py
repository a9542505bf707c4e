"""The language model's benchmark: both sides learn from the same windows, block by block."""

import pytest

from experiments.benchmark import language
from experiments.benchmark.language import LanguageBenchmark
from experiments.common import timing


@pytest.fixture
def clock(monkeypatch):
    """A clock that only calls move."""

    class Clock:
        now = 0.0

    clock = Clock()
    monkeypatch.setattr(timing.time, "perf_counter", lambda: clock.now)
    return clock


def side(clock, seconds, seen):
    """An update that takes so long, and whose loss is the window."""

    def step(window):
        clock.now += seconds
        seen.append(window)
        return float(window)

    return step


def test_both_sides_see_the_same_windows_and_times_are_of_an_update(clock):
    ours, theirs = [], []
    found = language.measure(
        side(clock, 0.5, ours), side(clock, 2.0, theirs), range(100), LanguageBenchmark(3, 2)
    )
    assert ours == theirs == [0, 1, 2, 3, 4, 5, 6]
    assert found["ours_seconds_an_update"] == 0.5 and found["torch_seconds_an_update"] == 2.0
    assert found["ratio"] == 4.0 and found["ratio_range"] == [4.0, 4.0]
    assert found["ours_first_update_seconds"] == 0.5 and found["updates"] == 6
    # The first update is in no block.
    assert [row["ours_loss"] for row in found["blocks"]] == [2.0, 5.0]
    assert found["ours_last_loss"] == found["torch_last_loss"] == 5.0


def test_windows_are_drawn_before_anything_is_timed(clock):
    class Slow:
        def __getitem__(self, index):
            clock.now += 100.0
            return index

    sides = (side(clock, 1.0, []), side(clock, 1.0, []))
    found = language.measure(*sides, Slow(), LanguageBenchmark(2, 2))
    assert found["ours_seconds_an_update"] == found["torch_seconds_an_update"] == 1.0
