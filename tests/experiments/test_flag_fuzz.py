"""Whatever flags say, a script goes on or ends in one line; `flag_fuzz.py` runs any number."""

import pytest
from jaxtyping import config as jaxtyping_config

from tests.experiments import flag_fuzz
from tests.support.flag_world import World


@pytest.fixture(scope="module", autouse=True)
def shapes_unchecked():
    """As users run scripts."""
    jaxtyping_config.update("jaxtyping_disable", True)
    yield
    jaxtyping_config.update("jaxtyping_disable", False)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Data without runs."""
    return World(tmp_path_factory.mktemp("data") / "world", runs=())


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("runs") / "world")


def endings(numbers, world, until):
    """How calls end; none is a fault."""
    found = []
    for number in numbers:
        call = flag_fuzz.draw_call(number, world, seed=2)
        with until():
            ending = flag_fuzz.check(call, world)
        assert ending.kind != "fault", (number, ending, call)
        found.append(ending.kind)
    return found


def test_calls_are_refused_in_one_line_before_they_train(data):
    kinds = endings(range(32), data, flag_fuzz.until_trained)
    assert kinds.count("went on") > 2 and kinds.count("refused") > 8


@pytest.mark.slow
def test_more_calls_are_refused_in_one_line_before_they_compile(world):
    kinds = endings(range(160), world, flag_fuzz.until_compiled)
    assert 20 < kinds.count("went on") < 110


@pytest.mark.slow
def test_calls_that_are_not_refused_train(world):
    kinds = endings(range(200, 216), world, flag_fuzz.until_updated)
    assert kinds.count("went on") > 1
