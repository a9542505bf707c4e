"""Updates: what is counted as what, whatever the number of batches an update."""

import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax.training.feed import Feed
from attention_jax.training.step import Steps, Totals, TrainState
from attention_jax.training.time_shares import Clock
from attention_jax.training.updates import Updates

ZERO = jnp.zeros(())


class Batch:
    """Weights alone."""

    def __init__(self, weights):
        self.weights = weights


jax.tree_util.register_pytree_node(
    Batch, lambda own: ((own.weights,), None), lambda _, x: Batch(*x)
)


class Slow:
    """Batches that take a while, whose lengths repeat after three."""

    batches_per_epoch, seconds = 3, 0.05

    def __len__(self):
        return 300

    def epoch(self, number=0):
        return (self[3 * number + i] for i in range(3))

    def __getitem__(self, index):
        time.sleep(self.seconds)
        return Batch(np.ones((2, 1 + index % 3), np.float32))


class Running:
    """A result that is there once it is said so."""

    def __init__(self, is_there):
        self.is_ready = lambda: is_there


def state():
    return TrainState(ZERO, {"w": ZERO}, (), ZERO, Totals.zero())


def steps(result):
    totals = Totals(result, *[ZERO] * 3)
    return Steps(
        lambda state, batch: (state, totals),
        lambda state, batch, index, gradient, sums: (gradient, sums),
        lambda state, gradient, sums: (state, totals),
        lambda params: params,
    )


@pytest.mark.parametrize("is_there", [True, False])
def test_a_batch_is_waited_for_only_where_nothing_runs(is_there):
    clock = Clock()
    update = Updates(steps(Running(is_there)), Feed(Slow(), None), accumulate=1, clock=clock)
    counted = [update(state())[1] for _ in range(4)]
    assert counted == [2, 4, 6, 2]  # tokens
    waited = 4 if is_there else 1  # before the first one nothing was sent
    assert waited * Slow.seconds <= clock.seconds["input"] < (waited + 0.9) * Slow.seconds
    assert clock.seconds["updates"] >= (4 - waited) * Slow.seconds


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_first_batch_of_a_shape_is_compilation(accumulate, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    clock, own = Clock(), steps(ZERO)

    def passing(function):
        def call(*arguments):
            now[0] += 1.0
            return function(*arguments)

        return call

    made = own._replace(whole=passing(own.whole), gather=passing(own.gather))
    batches = Slow()
    batches.seconds = 0.0
    update = Updates(made, Feed(batches, None), accumulate=accumulate, clock=clock)
    for _ in range(6 // accumulate):
        update(state())
    assert (clock.seconds["compilation"], clock.seconds["updates"]) == (3.0, 3.0)


def test_waiting_is_of_updates(monkeypatch):
    def wait(result):
        waited_for.append(result)
        time.sleep(0.05)

    waited_for: list = []
    monkeypatch.setattr(jax, "block_until_ready", wait)
    clock, result = Clock(), Running(True)
    update = Updates(steps(result), Feed(Slow(), None), accumulate=1, clock=clock)
    update(state())
    update.wait()
    assert waited_for == [result] and clock.seconds["updates"] >= 0.05
