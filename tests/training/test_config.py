"""A configuration makes the schedule and the optimizer that it names."""

import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax.training import optimizers
from attention_jax.training.config import TrainConfig

CONFIG = TrainConfig(
    steps=50, learning_rate=0.02, schedule="cosine", final_rate=0.005, warmup_steps=5
)


@pytest.mark.slow
def test_the_rate_is_that_of_the_schedule():
    want = optimizers.schedule("cosine", peak=0.02, warmup_steps=5, steps=50, final=0.005)
    rates = [float(CONFIG.rate()(n)) for n in range(50)]
    assert rates == [float(want(n)) for n in range(50)]
    assert rates[4] == pytest.approx(0.02) and rates[-1] == pytest.approx(0.005)


@pytest.mark.slow
def test_the_optimizer_has_the_rate_the_clipping_and_the_decays():
    config = CONFIG._replace(
        optimizer="adamw", weight_decay=0.1, clip_norm=0.5, adam_b1=0.7, adam_b2=0.8
    )
    want = optimizers.optimizer(
        "adamw", learning_rate=CONFIG.rate(), weight_decay=0.1, clip_norm=0.5, b1=0.7, b2=0.8
    )
    params, results = {"w": jnp.full((2, 2), 3.0)}, []
    for transform in (config.transform(), want):
        state, change = transform.init(params), []
        for step in range(3):
            updates, state = transform.update({"w": params["w"] * step - 1}, state, params)
            change.append(updates["w"])
        results.append(np.array(change))
    np.testing.assert_array_equal(*results)


def test_the_defaults_are_in_range():
    TrainConfig(steps=0).check()


@pytest.mark.parametrize(
    "name", ["accumulate", "log_every", "evaluate_every", "checkpoint_every", "keep_last"]
)
def test_intervals_are_at_least_one(name):
    CONFIG._replace(**{name: 1}).check()
    with pytest.raises(ValueError, match=f"`{name}` must be at least 1; got 0"):
        CONFIG._replace(**{name: 0}).check()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"steps": -1}, "`steps` must not be negative; got -1"),
        ({"patience": 0}, "`patience` must be at least 1 or None; got 0"),
        ({"max_seconds": 0.0}, "`max_seconds` must be above 0 or None; got 0.0"),
        ({"max_seconds": float("nan")}, "`max_seconds` must be finite.*got nan"),
        ({"label_smoothing": -0.1}, r"`label_smoothing` must be in \[0, 1\); got -0.1"),
        ({"label_smoothing": 1.0}, r"`label_smoothing` must be in \[0, 1\); got 1.0"),
    ],
)
def test_numbers_out_of_range_are_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        CONFIG._replace(**wrong).check()
