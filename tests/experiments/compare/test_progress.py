"""How long a comparison still takes, and what it waits for."""

import json
import time

import pytest

from experiments.compare.progress import State, Watch, line, seconds_left
from experiments.compare.runs import Run


def state(name, *, step=0, seconds=None, done=False, works=False, steps=100):
    return State(Run(name, "0.1", 0, None), steps, step, seconds, done, works)


def test_nothing_known_is_said_to_be_unknown():
    states = [state("a", works=True, seconds=3.0), state("b")]
    assert seconds_left(states, 4) is None
    said = line(states, 4)
    assert said.startswith("0 of 4 runs are done; left: not known before the first steps")
    assert said.endswith("waiting for a rate 0.1 seed 0 (step 0 of 100)")


def test_the_rest_takes_as_long_as_its_own_candidates_did():
    states = [
        state("a", step=100, seconds=10.0, done=True),
        state("a", works=True, seconds=2.0),  # 8 left
        state("b", step=50, seconds=20.0, works=True),  # of 40, 20 left
        state("c"),  # the mean of 10 or 2 of a, and 40
    ]
    a, b = 10.0, 40.0
    want = (a - 2 + b - 20 + (a + b) / 2 + 2 * (a + b) / 2) / 2  # two more runs; two at once
    assert seconds_left(states, 6) == pytest.approx(want)
    assert f"left: about {want:.0f} s; waiting for a rate" in line(states, 6)


def test_long_waits_are_told_in_minutes_and_hours():
    slow = [state("a", step=1, seconds=60.0, works=True)]
    assert "about 99 min" not in line(slow, 1) and "about 1.6 h" in line(slow, 1)
    assert "about 10 min" in line([state("a", step=10, seconds=66.0, works=True)], 1)
    assert line([state("a", step=1, seconds=1.0, done=True)], 1) == "1 of 1 runs are done."


def test_a_page_stands_in_place_of_the_report_while_runs_go_on(tmp_path, capsys):
    done, working, waiting = (Run("a", "0.1", seed, tmp_path / "runs") for seed in range(3))
    watch = Watch(tmp_path, {"a": 100}, 4)
    done.folder.mkdir(parents=True)
    (done.folder / "result.json").write_text(json.dumps({"seconds": 50.0}))
    working.folder.mkdir()
    working.log.with_suffix(".lock").touch()
    rows = [{"step": 40, "split": "train"}, {"step": 60, "split": "train"}]
    (working.folder / "metrics.jsonl").write_text("".join(json.dumps(x) + "\n" for x in rows))
    with watch.during([done, working, waiting]):
        end = time.monotonic() + 10
        while not (tmp_path / "report.html").exists():
            assert time.monotonic() < end
            time.sleep(0.02)
    page = (tmp_path / "report.html").read_text()
    assert "a rate 0.1 seed 1" in page and "step 60 of 100" in page and "waits" in page
    assert "1 of 4 runs are done; left: about" in page
    assert "left: about" in capsys.readouterr().out
