"""Budgets: what is asked to be alike is alike."""

import pytest

from experiments.common import flags
from experiments.compare.candidates import candidates
from experiments.compare.plan import Program, configured, count_parameters, make_plan
from tests.support.comparisons import comparison
from tests.support.scripts import TINY


@pytest.fixture(scope="module")
def program():
    """The training of a tiny task."""
    asked = comparison(*TINY)
    data = asked.experiment.load(asked.shared)
    known = asked.experiment.learn(asked.shared, data, None)
    return Program(asked.experiment, known, asked.experiment.batches(asked.shared, data, known))


def planned(program, *arguments):
    """The plans of a Transformer and of a GRU."""
    wide = [x for x in TINY if not x.startswith(("--width", "--feed_forward"))]
    wide += ["--width=64", "--feed_forward=128", "--rnn_option=width=40"]
    asked = comparison(*wide, "--models=transformer,gru:additive", *arguments)
    first, second = candidates(asked)[0]
    plan = make_plan(asked, first, None, program)
    return asked, plan, make_plan(asked, second, plan, program)


@pytest.mark.slow
@pytest.mark.parametrize("match", ["parameters", "flops", "time", "steps"])
def test_candidates_are_matched(match, program):
    limit = ["--max_seconds=9"] if match == "time" else []
    asked, first, second = planned(program, f"--match={match}", *limit)
    if match == "parameters":
        assert second["parameters"] == pytest.approx(first["parameters"], rel=0.05)
        assert second["width"] != 40 and second["steps"] == first["steps"]
    if match == "flops":
        # To half a step.
        assert abs(second["flops"] - first["flops"]) <= second["flops_of_step"] / 2
    if match == "time":
        spent = [plan["steps"] * plan["seconds_of_step"] for plan in (first, second)]
        assert spent == pytest.approx([9, 9], rel=0.1)
    if match == "steps":
        assert first["steps"] == second["steps"] == 2 and second["width"] == 40
    for plan in (first, second):
        config = configured(asked.shared, plan["flags"])
        assert count_parameters(config, program) == plan["parameters"]
        assert flags.values(config)["steps"] == plan["steps"]


def test_a_plan_changes_a_value_and_nothing_else():
    """Lists, which JSON makes of tuples, are tuples again; the shared configuration stays."""
    shared = comparison(*TINY).shared
    changed = configured(shared, {"width": 24, "task_option": ["vocabulary=9"], "cell": "lstm"})
    assert changed.model.width == 24 and changed.data.task_option == ("vocabulary=9",)
    assert shared == comparison(*TINY).shared
    assert configured(changed, flags.values(shared)) == shared
