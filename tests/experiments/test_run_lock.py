"""One process a run: who holds a lock, and what becomes of one that nobody holds."""

import json
import os
import socket
import subprocess
import sys
import time

import pytest

from experiments.common import run_lock
from tests.support.paths import ROOT

HOLD = """
import sys, time
from pathlib import Path
from experiments.common import run_lock
with run_lock.held(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def left_behind(folder, *, host, age=0.0):
    path = folder / run_lock.NAME
    path.write_text(json.dumps({"host": host, "process": 7, "since": "2026-01-01 00:00:00"}))
    os.utime(path, (time.time() - age,) * 2)


def test_a_lock_says_who_holds_it_and_goes_with_him(tmp_path):
    with run_lock.held(tmp_path):
        found = json.loads((tmp_path / run_lock.NAME).read_text())
        assert (found["host"], found["process"]) == (socket.gethostname(), os.getpid())
    assert not any(tmp_path.iterdir())


def test_a_second_process_is_told_who_holds_it_until_that_one_is_killed(tmp_path, holder, capsys):
    with (
        pytest.raises(run_lock.RunInUse, match=f"process {holder.pid} on .* trains {tmp_path}"),
        run_lock.held(tmp_path),
    ):
        pass
    assert (tmp_path / run_lock.NAME).exists()
    holder.kill()
    holder.wait()
    with run_lock.held(tmp_path):
        assert json.loads((tmp_path / run_lock.NAME).read_text())["process"] == os.getpid()
    assert f"process {holder.pid} on {socket.gethostname()} left" in capsys.readouterr().err


def test_another_machine_is_believed_as_long_as_it_renews(tmp_path, capsys):
    left_behind(tmp_path, host="elsewhere", age=10)
    message = "process 7 on elsewhere .* Its lock was renewed 1[0-9] s ago; .* delete"
    with pytest.raises(run_lock.RunInUse, match=message), run_lock.held(tmp_path):
        pass
    left_behind(tmp_path, host="elsewhere", age=run_lock.STALE_AFTER + 1)
    with run_lock.held(tmp_path):
        pass
    assert "process 7 on elsewhere left" in capsys.readouterr().err


def test_a_lock_is_renewed(tmp_path, monkeypatch):
    monkeypatch.setattr(run_lock, "RENEWED_EVERY", 0.01)
    with run_lock.held(tmp_path):
        os.utime(tmp_path / run_lock.NAME, (0, 0))
        deadline = time.time() + 20
        while (tmp_path / run_lock.NAME).stat().st_mtime == 0 and time.time() < deadline:
            time.sleep(0.01)
        assert (tmp_path / run_lock.NAME).stat().st_mtime > 0
