"""Jobs in processes of their own: their ends, their turns, their locks."""

import os
import signal
import subprocess
import sys
import time

import pytest

from experiments.compare import launch_local
from tests.support.scripts import ROOT, holders


def job(code, tmp_path, name="job"):
    return launch_local.Job(name, (sys.executable, "-c", code), tmp_path / f"{name}.log")


def test_jobs_end_well_or_with_their_last_words(tmp_path):
    jobs = [
        job("print('hello')", tmp_path, "a"),
        job("import sys; print('before'); sys.exit('error: no such data')", tmp_path, "b"),
        job("import sys; print('step 3'); sys.exit(7)", tmp_path, "c"),
    ]
    done = list(launch_local.local(jobs))
    assert [x.job.name for x in done] == ["a", "b", "c"]
    assert done[0].reason is None and done[1].reason == "no such data"
    assert done[2].reason == "it ended with code 7; its last line: step 3"


def test_a_job_of_several_processes_ends_with_the_words_of_the_one_that_failed(tmp_path):
    say = "import os, sys; n = os.environ['JAX_PROCESS_ID']; print('I am', n, flush=True)"
    fail = f"{say}; sys.exit('error: no such data' if n == '1' else 0)"
    (well,) = launch_local.local([job(say, tmp_path, "a")], processes=2)
    assert well.reason is None
    assert sorted(well.job.log.read_text().splitlines()) == ["I am 0", "I am 1"]
    (ill,) = launch_local.local([job(fail, tmp_path, "b")], processes=2)
    assert ill.reason == "no such data"


def test_an_error_is_the_last_word_even_if_another_process_writes_after_it(tmp_path):
    log = tmp_path / "log"
    log.write_text("error: too old\n" + "step\n" * 9 + "error: no such data\nI am 0\n")
    assert launch_local.last_words(log, 1) == "no such data"
    log.write_text("error: too old\n" + "step\n" * 9)
    assert launch_local.last_words(log, 1) == "it ended with code 1; its last line: step"


LAUNCH = """
import sys
from pathlib import Path
from experiments.compare import launch_local
folder = Path(sys.argv[1])
code = ("import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(3));"
        "print('ready', flush=True); time.sleep(60)")
jobs = [launch_local.Job(name, (sys.executable, "-c", code), folder / f"{name}.log")
        for name in sys.argv[2:]]
try:
    list(launch_local.local(jobs, at_once=2))
except launch_local.Stopped as stop:
    print(stop)
    sys.exit(stop.exit_code)
"""


def start_launcher(folder, *names):
    process = subprocess.Popen(
        [sys.executable, "-c", LAUNCH, str(folder), *names],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    limit = time.monotonic() + 60
    for log in (folder / f"{name}.log" for name in names[:2]):
        while "ready" not in (log.read_text() if log.exists() else ""):
            assert time.monotonic() < limit and process.poll() is None
            time.sleep(0.05)
    return process


MEET = """
import os, pathlib, sys, time
folder, own, other = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3]
(folder / own).touch()
limit = time.monotonic() + 60
while not (folder / other).exists():
    time.monotonic() < limit or sys.exit("error: nobody came")
    time.sleep(0.02)
print(os.environ["NPROC"])
"""


def test_jobs_run_beside_each_other_in_threads_of_their_own(tmp_path):
    """Each ends only once the other has begun; a third waits for its turn."""
    jobs = [
        launch_local.Job(
            own, (sys.executable, "-c", MEET, str(tmp_path), own, other), tmp_path / f"{own}.log"
        )
        for own, other in (("a", "b"), ("b", "a"), ("c", "c"))
    ]
    done = list(launch_local.local(jobs, at_once=2, environment=launch_local.threads(3)))
    assert {x.job.name for x in done[:2]} == {"a", "b"} and done[2].job.name == "c"
    assert all(x.reason is None for x in done), done
    assert all(x.job.log.read_text() == "3\n" for x in done)


@pytest.mark.sampled(1)
@pytest.mark.parametrize(
    ("names", "said"), [(["sleeper"], "sleeper"), (["one", "two", "three"], "3 jobs")]
)
def test_a_signal_is_handed_on_to_all_jobs(names, said, tmp_path):
    """Those at work end before the launcher does; the rest does not begin."""
    process = start_launcher(tmp_path, *names)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGTERM
    assert out == f"Stopped during {said}. Repeat the command to go on.\n"
    assert not any(holders(tmp_path / f"{name}.lock") for name in names[:2])
    assert not any((tmp_path / f"{name}.log").exists() for name in names[2:])


@pytest.mark.skipif(launch_local.fcntl is None, reason="needs locks of files")
def test_a_job_that_outlives_a_killed_call_keeps_its_lock(tmp_path):
    process = start_launcher(tmp_path, "sleeper")
    process.kill()
    process.communicate(timeout=30)
    with open(tmp_path / "sleeper.lock", "w") as lock:
        with pytest.raises(BlockingIOError):
            launch_local.fcntl.flock(lock, launch_local.fcntl.LOCK_EX | launch_local.fcntl.LOCK_NB)
        # End the one that was left behind: it is in a session of its own.
        (child,) = holders(tmp_path / "sleeper.lock")
        os.kill(child, signal.SIGTERM)
        launch_local.fcntl.flock(lock, launch_local.fcntl.LOCK_EX)
