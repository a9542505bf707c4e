"""The command: it reads flags and presets, goes on where it stopped, and refuses in one line."""

import json
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

from experiments.compare.__main__ import compare
from experiments.compare.candidates import candidates
from experiments.compare.config import check
from tests.support.comparisons import asked
from tests.support.scripts import ENVIRONMENT, ROOT, TINY, run, scores_of


@pytest.mark.parametrize("preset", sorted(ROOT.glob("experiments/presets/compare_*.flags")))
def test_presets_are_read(preset):
    comparison, given = asked(f"--flagfile={preset}")
    check(comparison, given)
    found, left = candidates(comparison)
    assert len(found) > 1 and not left


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--models=elman"], "`--models` must be among transformer, gru, lstm, gru_heads"),
        (["--experiment", "images", "--models=elman"], "among transformer, gru, lstm, cnn; got"),
        (["--flagfile=FILE"], "among transformer, gru, lstm, cnn; got 'elman'"),
        (["--experiment=images", "--task=reverse"], "Unknown command line flag 'task'"),
        (["--experiment=memory", "--cost_lengths=8"], "left out but for costs of translations"),
        (["--learning_rates=fast"], "`--learning_rates` must be numbers; got fast."),
        (["--width=wide"], "flag --width=wide: "),
        (["--notrain"], "`--notrain` only draws what is trained; of "),
    ],
)
def test_errors_take_one_line_and_leave_no_folder(arguments, message, tmp_path):
    (tmp_path / "own.flags").write_text("--experiment=images\n--models=elman\n")
    arguments = [x.replace("FILE", str(tmp_path / "own.flags")) for x in arguments]
    done = run(*arguments, f"--folder={tmp_path / 'new'}")
    assert done.returncode == 1 and message in done.stderr, done.stderr
    assert done.stderr.count("\n") == 1 and not (tmp_path / "new").exists()


@pytest.mark.slow
def test_a_comparison_from_end_to_end(tmp_path):
    models = "--models=transformer:sliding_window(size=4),gru:none"
    command = [*TINY, models, "--seeds=2", f"--folder={tmp_path / 'x'}"]
    done = run(*command)
    assert done.returncode == 0, done.stderr
    assert "transformer-sliding_window-size_4 rate 0.002 seed 1: done" in done.stdout
    page = (tmp_path / "x" / "report.html").read_bytes()
    tests = scores_of(tmp_path / "x")
    results = sorted((tmp_path / "x" / "runs").glob("*/*/result.json"))
    before = [path.stat().st_mtime_ns for path in results]
    assert len(results) == 4

    (tmp_path / "x" / "report.html").unlink()
    again = run(*command)
    assert again.returncode == 0 and "seed 0: done" not in again.stdout
    assert [path.stat().st_mtime_ns for path in results] == before
    assert (tmp_path / "x" / "report.html").read_bytes() == page

    other = run(*command, "--steps=3")
    assert other.returncode == 1 and "--steps=2, now --steps=3" in other.stderr

    # As after a kill between training and scoring: only that run goes on.
    results[0].unlink()
    drawn = run(*command, "--notrain")
    assert drawn.returncode == 1, drawn.stderr
    assert "error: 1 of 3 runs are not trained (first: gru-none " in drawn.stderr, drawn.stderr
    more = run(*command)
    assert more.returncode == 0 and more.stdout.count(": done") == 1
    assert scores_of(tmp_path / "x") == tests

    # Killed while it trains; what it leaves at work is waited for.
    killed = [*command[:-1], f"--folder={tmp_path / 'y'}", "--cost_lengths="]
    process = subprocess.Popen(
        [sys.executable, "-m", "experiments.compare", *killed],
        cwd=ROOT,
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
    )
    limit = time.monotonic() + 300
    while not list((tmp_path / "y").glob("runs/*/*/metrics.jsonl")):
        assert time.monotonic() < limit and process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.wait()
    done = run(*killed)
    assert done.returncode == 0, done.stderr
    assert scores_of(tmp_path / "y") == tests


# The command that the comparison in version_0.tar.xz was made by, two steps each.
VERSION_0 = [x for x in TINY if not x.startswith("--cost_lengths")] + [
    "--cost_lengths=8",
    "--models=transformer,gru:none",
    "--seeds=1",
    "--rnn_option=layers=1",
]


@pytest.mark.slow
def test_a_comparison_of_version_0_goes_on(tmp_path):
    """Its runs, one with a file of an attention, are found and scored as they were then."""
    with tarfile.open(Path(__file__).with_name("version_0.tar.xz")) as packed:
        packed.extractall(tmp_path, filter="data")
    then = json.loads((tmp_path / "scores.json").read_text())
    (file,) = tmp_path.glob("runs/*/*/own.py")
    given = [*VERSION_0, f"--attentions={file}", f"--folder={tmp_path}"]
    results = sorted(tmp_path.glob("runs/*/*/result.json"))
    before = [path.stat().st_mtime_ns for path in results]
    found = json.loads(json.dumps(compare(asked(*given)[0])))
    assert [run["status"] for run in found["runs"]] == ["done", "done"]
    assert [path.stat().st_mtime_ns for path in results] == before
    assert found["costs"] == then["costs"] and list(found["tests"]) == list(then["tests"])
    for name, test in then["tests"].items():
        # The runs' scores and the bootstrap over items are what they were; intervals are not.
        own = found["tests"][name]
        values = [{x: y["values"] for x, y in z["scores"].items()} for z in (own, test)]
        assert values[0] == values[1]
        assert [pair["p_value"] for pair in own["pairs"]] == [
            pair["p_value"] for pair in test["pairs"]
        ]
    with pytest.raises(ValueError, match="has other flags: --steps=2, now --steps=3"):
        compare(asked(*given, "--steps=3")[0])
    changed = tmp_path / "changed" / file.name
    changed.parent.mkdir()
    changed.write_text(file.read_text() + "\n")
    with pytest.raises(ValueError, match="`--attentions` must be as they were.* differs from"):
        compare(asked(*VERSION_0, f"--attentions={changed}", f"--folder={tmp_path}")[0])
