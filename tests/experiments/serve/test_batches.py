"""Batches of what waits: who shares one, in which order, and what is dropped."""

import threading
import time

import pytest

from experiments.serve.batches import Batcher, Closed, Full


class Model:
    """Doubles numbers once it is let, and remembers its batches."""

    def __init__(self):
        self.gate, self.batches, self.threads = threading.Event(), [], set()
        self.entered = threading.Event()

    def __call__(self, kind, values):
        self.batches.append((kind, values))
        self.threads.add(threading.current_thread())
        self.entered.set()
        assert self.gate.wait(20)
        if 13 in values:
            raise RuntimeError("13")
        return [2 * value for value in values]


def batcher(model, **changes):
    return Batcher(model, **{"rows": 3, "wait_seconds": 0.0, "most_waiting": 10} | changes)


@pytest.fixture
def busy():
    """A model at work on a first value, and its batcher: what comes now waits."""
    model = Model()
    own = batcher(model)
    own.submit(["first"], [0])
    assert model.entered.wait(20)
    yield model, own
    model.gate.set()
    assert own.close(20)


def test_what_waits_is_answered_by_kind_in_order_by_one_thread(busy):
    model, own = busy
    kinds = ["a", "b", "a", "a", "a", "b"]
    futures = own.submit(kinds, [1, 2, 3, 4, 5, 6])
    model.gate.set()
    assert [future.result(20) for future in futures] == [2, 4, 6, 8, 10, 12]
    assert model.batches[1:] == [("a", [1, 3, 4]), ("b", [2, 6]), ("a", [5])]
    assert len(model.threads) == 1 and threading.current_thread() not in model.threads


def test_a_value_waits_for_others_until_there_are_enough():
    model = Model()
    model.gate.set()
    own = batcher(model, wait_seconds=20.0)
    futures = own.submit(["a"], [1])
    time.sleep(0.05)
    assert not model.batches and own.waiting == 1
    futures += own.submit(["a", "a"], [2, 3])
    assert [future.result(10) for future in futures] == [2, 4, 6]
    assert model.batches == [("a", [1, 2, 3])]
    assert own.close(20)


def test_a_value_waits_no_longer_than_it_is_to():
    model = Model()
    model.gate.set()
    own = batcher(model, wait_seconds=0.2)
    start = time.monotonic()
    (future,) = own.submit(["a"], [1])
    assert future.result(10) == 2 and 0.15 < time.monotonic() - start < 5
    assert own.close(20)


def test_what_is_canceled_before_it_begins_is_dropped(busy):
    model, own = busy
    futures = own.submit(["a"] * 3, [1, 2, 3])
    assert futures[1].cancel() and own.waiting == 3
    model.gate.set()
    assert futures[2].result(20) == 6
    assert model.batches[1:] == [("a", [1, 3])]


def test_what_is_in_work_is_not_canceled():
    model = Model()
    own = batcher(model)
    (future,) = own.submit(["a"], [1])
    assert model.entered.wait(20) and not future.cancel()
    model.gate.set()
    assert future.result(20) == 2 and own.close(20)


def test_more_than_may_wait_are_refused_whole(busy):
    model, own = busy
    own.submit(["a"] * 8, range(8))
    with pytest.raises(Full, match="as many texts in work as it takes, 10"):
        own.submit(["a", "a"], [8, 9])
    own.submit(["a"], [8])
    model.gate.set()
    assert own.close(20)
    assert [value for _, values in model.batches for value in values] == [0, *range(9)]


def test_an_end_answers_what_waits_and_takes_nothing_new(busy):
    model, own = busy
    (future,) = own.submit(["a"], [1])
    assert not own.close(0.05)  # the model is still at work
    with pytest.raises(Closed, match="the server is ending"):
        own.submit(["a"], [2])
    model.gate.set()
    assert own.close(20) and future.result(0) == 2 and own.waiting == 0


def test_a_value_that_fails_takes_no_other_with_it(busy, capsys):
    model, own = busy
    futures = own.submit(["a"] * 3, [1, 13, 3])
    model.gate.set()
    assert [futures[0].result(20), futures[2].result(20)] == [2, 6]
    with pytest.raises(RuntimeError, match="13"):
        futures[1].result(20)
    (later,) = own.submit(["a"], [4])
    assert later.result(20) == 8
    assert "RuntimeError: 13" in capsys.readouterr().err


def test_who_has_an_answer_can_send_as_much_again():
    """What is answered is not in work any more when its answer is known, right or wrong."""
    model, seen = Model(), []
    model.gate.set()
    own = batcher(model, wait_seconds=0.2, most_waiting=3)
    futures = own.submit(["a"] * 3, [1, 13, 2])
    for future in futures:
        future.add_done_callback(lambda _: seen.append(own.waiting))
    assert futures[2].result(20) == 4
    assert own.submit(["a"] * 3, [3, 4, 5])[2].result(20) == 10
    assert seen == [2, 1, 0] and own.close(20)
