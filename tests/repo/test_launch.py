"""Processes that `scripts/launch` starts know of each other, and end together."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.support.paths import ROOT

LAUNCH = ROOT / "scripts" / "launch"
SAY = "import os; names = 'JAX_NUM_PROCESSES', 'JAX_PROCESS_ID', 'JAX_COORDINATOR_ADDRESS'; "
# In one piece, so that lines of several processes do not mix.
SAY += "os.write(1, (' '.join(os.environ[x] for x in names) + '\\n').encode())"
# Process 1 does something, the others wait.
WAIT = "import os, sys, time, signal\nif os.environ['JAX_PROCESS_ID'] == '1': {own}\ntime.sleep(60)"


def launched(code, *, count=2):
    return subprocess.Popen(
        [LAUNCH, "-n", str(count), "--", sys.executable, "-c", code],
        env=os.environ | {"PYTHON": sys.executable, "JAX_PLATFORMS": "cpu"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_each_has_its_number_and_one_address():
    out, _ = launched(SAY, count=3).communicate(timeout=60)
    found = sorted(line.split() for line in out.splitlines())
    assert [line[:2] for line in found] == [["3", "0"], ["3", "1"], ["3", "2"]]
    assert len({line[2] for line in found}) == 1


@pytest.mark.parametrize(
    ("own", "code"), [("sys.exit(7)", 7), ("os.kill(os.getpid(), signal.SIGKILL)", 137)]
)
def test_one_that_fails_ends_the_others(own, code):
    start = time.monotonic()
    process = launched(WAIT.format(own=own))
    _, said = process.communicate(timeout=60)
    assert process.returncode == code and "process 1 failed" in said
    assert time.monotonic() - start < 30


def test_signals_are_passed_on():
    told = "signal.signal(signal.SIGUSR1, lambda *_: sys.exit(3))"
    process = launched(
        f"import os, sys, time, signal\n{told}\nprint(1, flush=True)\ntime.sleep(60)"
    )
    for _ in range(2):
        process.stdout.readline()
    process.send_signal(signal.SIGUSR1)
    process.communicate(timeout=60)
    assert process.returncode == 3


@pytest.mark.parametrize(
    "arguments", [["-n", "0", "--", "true"], ["-n", "2", "--"], ["--", "true"]]
)
def test_half_a_call_is_refused(arguments):
    done = subprocess.run([LAUNCH, *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "usage: scripts/launch" in done.stderr


def test_a_lock_of_the_caller_is_held_by_those_that_work(tmp_path):
    with open(tmp_path / "lock", "w") as lock:
        code = f"import os; os.fstat({lock.fileno()})"
        done = subprocess.run(
            [LAUNCH, "-n", "2", "--", sys.executable, "-c", code],
            env=os.environ | {"PYTHON": sys.executable, "JAX_PLATFORMS": "cpu"},
            pass_fds=[lock.fileno()],
            timeout=60,
        )
    assert done.returncode == 0
