import pytest

from attention_jax.analysis import call_times as module
from attention_jax.analysis.call_times import call_times


def test_the_first_call_does_not_count(monkeypatch):
    clock, calls = iter([0.0, 5.0, 5.0, 6.0, 6.0, 8.0]), []
    monkeypatch.setattr(module.time, "perf_counter", lambda: next(clock))
    assert call_times(lambda: calls.append(1), 2) == [1.0, 2.0]
    assert len(calls) == 3


def test_no_calls_are_refused():
    with pytest.raises(ValueError, match="`repeats` must be"):
        call_times(lambda: None, 0)
