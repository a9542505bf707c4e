"""One flag varied, all else held, and all learn from as much."""

import pytest

from experiments.compare import plan_file
from experiments.compare.candidates import candidates
from experiments.compare.config import check
from experiments.compare.plan import Program, make_plan
from tests.support.comparisons import asked, comparison


def test_each_value_is_a_candidate_and_nothing_else_differs():
    own = comparison("--vary=dropout=0,0.1,0.3")
    found, left = candidates(own)
    names = [x.name for x in found]
    assert names == [f"transformer-scaled_dot-dropout_{x}" for x in ("0", "0.1", "0.3")]
    assert [x.flags.pop("dropout") for x in found] == [0.0, 0.1, 0.3] and not left
    assert found[0].flags == found[1].flags == found[2].flags and own.match == "steps"


def test_models_and_values_make_a_grid():
    found, _ = candidates(comparison("--models=transformer,gru:none", "--vary=tied=true,false"))
    assert [(x.name, x.flags["tied"]) for x in found] == [
        ("transformer-scaled_dot-tied_true", True),
        ("transformer-scaled_dot-tied_false", False),
        ("gru-none-tied_true", True),
        ("gru-none-tied_false", False),
    ]


def test_without_it_all_is_as_before():
    own = comparison()
    assert own.models == ["transformer", "gru"] and own.match == "parameters"
    assert plan_file.measure(own).first == "transformer"


def test_the_first_value_sets_the_measure_and_more_may_come():
    two, three = (plan_file.measure(comparison(f"--vary=layers={x}")) for x in ("1,2", "1,2,3"))
    assert two == three and two.first == "transformer --layers=1"
    assert plan_file.measure(comparison("--vary=layers=2,1")) != two
    assert not [line for line in two.flags if line.startswith("--layers")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--vary=dropout"], "must be a flag and two values of it or more"),
        (["--vary=dropout=0.1,0.1"], "two values of it or more"),
        (["--vary=depth=1,2"], "must name a flag of the runs; got 'depth'"),
        (["--vary=attention=dot,alibi"], "use --models and --attentions"),
        (["--vary=seed=1,2"], "use --seeds"),
        (["--vary=max_length=10,20"], "holds the data; --max_length is one of them"),
        (["--vary=width=32,64", "--match=parameters"], "contradict. Use --match=steps"),
        (["--vary=learning_rate=1,2", "--learning_rates=1,2"], "contradict. Give one"),
        (["--vary=dropout=0,much"], "`--vary=dropout=much` is no value of its flag"),
        (["--vary=layers=1,2", "--transformer_option=layers=3"], "is already --layers=3"),
    ],
)
def test_what_cannot_be_varied_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        own, given = asked(*arguments)
        check(own, given)
        candidates(own)


def test_a_flag_of_batches_changes_the_steps_so_that_all_learn_from_as_much(monkeypatch):
    own = comparison("--vary=tokens_per_batch=512,1024,2048", "--steps=400", "--warmup_steps=40")
    for name in ("count_parameters", "flops_of_step"):
        monkeypatch.setattr(f"experiments.compare.plan.{name}", lambda *given: 1)
    plans = []
    for candidate in candidates(own)[0]:
        first = plans[0] if plans else None
        plans.append(make_plan(own, candidate, first, Program(own.experiment, None, None)))
    assert [plan["steps"] for plan in plans] == [400, 200, 100]
    learned = [plan["steps"] * plan["flags"]["tokens_per_batch"] for plan in plans]
    assert len(set(learned)) == 1
    assert [plan["flags"].get("warmup_steps", 40) for plan in plans] == [40, 20, 10]
