"""Ten thousand lines through a trained run: as a file and as a stream, alike and in flat memory."""

import json
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from experiments.common.ensembles import load_runs
from experiments.common.experiment import PredictFlags
from experiments.predict import PredictConfig
from tests.experiments.soak import held
from tests.support.paths import ROOT
from tests.support.scripts import ENVIRONMENT, TINY, script

LINES, EARLY = 10_000, 2000
MARGIN = 2**23  # bytes: what an allocator keeps or gives back by itself

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "reverse"
    own = [x for x in TINY if "steps" not in x and "cost" not in x and "_every" not in x]
    done = script("translation", *own, "--steps=200", f"--run={folder}")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def lines():
    """Sentences of 1 to 20 tokens; a hundredth are empty."""
    draw = np.random.default_rng(0)
    lengths = draw.integers(1, 21, LINES) * (draw.random(LINES) > 0.01)
    return [" ".join(map(str, draw.integers(1, 9, n))) for n in lengths]


def started(run, *arguments):
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "experiments.predict", f"--run={run}", *arguments],
        env=ENVIRONMENT | {"PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


@pytest.fixture(scope="module")
def streamed(run, lines):
    """The answers to a stream, and what was held after some of them and at the end."""
    process = started(run)
    # More than a pipe holds: they are written as they are read.
    writer = threading.Thread(target=lambda: process.stdin.write("\n".join(lines) + "\n"))
    start = time.monotonic()
    writer.start()
    answers, at = [], {}
    for answer in process.stdout:
        answers.append(answer.rstrip("\n"))
        if len(answers) in (1, EARLY, LINES):
            at[len(answers)] = held(process.pid) | {"seconds": time.monotonic() - start}
        if len(answers) == LINES:
            break
    writer.join()
    process.stdin.close()
    assert process.wait(60) == 0
    return answers, at


def test_a_stream_is_answered_in_flat_memory(streamed):
    answers, at = streamed
    print(json.dumps(at))
    assert len(answers) == LINES
    assert at[LINES]["memory"] < 1.01 * at[EARLY]["memory"] + MARGIN
    assert at[LINES]["files"] <= at[EARLY]["files"]
    assert at[LINES]["threads"] <= at[EARLY]["threads"] + 1


def test_a_file_is_answered_as_a_stream_in_flat_memory(run, lines, streamed, tmp_path):
    given, output = tmp_path / "in.txt", tmp_path / "out.txt"
    given.write_text("\n".join(lines) + "\n")
    process, at, count = started(run, f"--file={given}", f"--output={output}"), {}, 0
    while process.poll() is None:
        growing = next(tmp_path.glob("out.txt.*.unfinished"), None)
        count = growing.read_bytes().count(b"\n") if growing else count
        now = held(process.pid)
        if count >= EARLY and now["memory"]:  # of a process that has just ended there is none
            at.setdefault("early", now)
            at["late"] = now
        time.sleep(0.1)
    assert process.returncode == 0
    print(json.dumps(at))
    assert output.read_text().splitlines() == streamed[0]
    assert at["late"]["memory"] < 1.01 * at["early"]["memory"] + MARGIN


def test_the_first_answer_comes_within_a_second_of_loading(run):
    """Once its program has been compiled, which the compile cache keeps; of computation, whatever
    else the machine does."""
    seconds = []
    for _ in range(3):
        loaded = load_runs(str(run), [f"--run={run}"], beside=(PredictConfig(),))
        start = time.process_time()
        next(iter(loaded.experiment.predict(loaded, PredictFlags(text="1 2 3"))))
        seconds.append(time.process_time() - start)
    print(seconds)
    assert min(seconds[1:]) < 1
