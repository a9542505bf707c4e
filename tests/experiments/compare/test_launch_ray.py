"""Jobs on Ray: they end as they do here, and a lost worker costs nothing but time."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
import types

import pytest

from experiments.compare import launch_ray
from tests.support.scripts import ENVIRONMENT, ROOT, TINY, holders, run, scores_of

# It is found rather than imported, which takes seconds: the driver imports it.
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None,
    reason="Ray is not installed: pip install 'attention_jax[ray]'",
)

# Carries out the jobs that a file describes, and prints how each ended.
DRIVER = """
import json, sys
from pathlib import Path
from experiments.compare import launch_local, launch_ray
jobs = [launch_local.Job(**(x | {"command": tuple(x["command"]), "log": Path(x["log"]),
        "go_on": tuple(x["go_on"]), "begun": Path(x["begun"])})) for x in json.load(sys.stdin)]
try:
    for done in launch_ray.on_ray(jobs, **json.loads(sys.argv[1])):
        print(json.dumps([done.job.name, done.reason]), flush=True)
except launch_local.Stopped as stop:
    print(json.dumps(str(stop)))
    sys.exit(stop.exit_code)
except ValueError as error:
    print(json.dumps(str(error)))
"""
# Each takes the folder as its first argument and, where it goes on, a second one.
SAY = "print('hello')"
THREADS = "import os; print(os.environ['NPROC'], os.environ.get('CUDA_VISIBLE_DEVICES'))"
REFUSE = "import sys; sys.exit('error: no such data')"
LOST = """
import os, signal, sys
folder = sys.argv[1]
if sys.argv[2:] == ['--resume']:
    print('went on')
else:
    open(folder + '/begun', 'w').close()
    os.kill(os.getppid(), signal.SIGKILL)  # the worker, and itself with it
    os.kill(os.getpid(), signal.SIGKILL)
"""
LEFT_BEHIND = """
import os, signal, sys, time
folder = sys.argv[1]
if not os.path.exists(folder + '/began_once'):
    open(folder + '/began_once', 'w').close()
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(2)  # it lives on without its worker
    open(folder + '/ended', 'w').close()
print('after' if os.path.exists(folder + '/ended') else 'beside')
"""
ALWAYS_LOST = "import os, signal; print('step 3', flush=True); os.kill(os.getppid(), 9)"
SLEEP = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (print('saved', flush=True), sys.exit(3)))
print('ready', flush=True)
time.sleep(120)
"""


def job(name, code, folder):
    own = folder / name
    own.mkdir()
    return {
        "name": name,
        "command": [sys.executable, "-c", code, str(own)],
        "log": str(own / "job.log"),
        "go_on": ["--resume"],
        "begun": str(own / "begun"),
    }


def start(jobs, **options):
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVER, json.dumps(options)],
        cwd=ROOT,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": "0"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    process.stdin.write(json.dumps(jobs))
    process.stdin.close()
    process.stdin = None
    return process


def lines(process):
    out, error = process.communicate(timeout=180)
    print(error)  # shown where the test fails
    assert out, error
    # Ray itself says that a worker died.
    return [json.loads(line) for line in out.splitlines() if line.startswith(("[", '"'))]


@pytest.mark.slow
def test_jobs_end_as_they_do_here_and_a_lost_one_goes_on(tmp_path):
    codes = {
        "say": SAY,
        "threads": THREADS,
        "refuse": REFUSE,
        "lost": LOST,
        "left": LEFT_BEHIND,
        "always": ALWAYS_LOST,
    }
    process = start([job(name, code, tmp_path) for name, code in codes.items()], cores=1)
    ended = dict(lines(process))
    assert (process.returncode, set(ended)) == (0, set(codes)), ended
    said = {name: (tmp_path / name / "job.log").read_text() for name in codes}
    assert ended["say"] is None and said["say"] == "hello\n"
    assert ended["threads"] is None and said["threads"].split() == ["1"]
    assert ended["refuse"] == "no such data"
    assert ended["lost"] is None and said["lost"] == "went on\n"
    assert ended["left"] is None and said["left"] == "after\n"
    assert ended["always"].startswith("its worker was lost 4 times; ")
    assert ended["always"].endswith("its last line: step 3")


@pytest.mark.slow
@pytest.mark.parametrize("group", [False, True])
def test_a_signal_reaches_every_job(group, tmp_path):
    """A process that is told, and a key that tells the whole group."""
    process = start([job(name, SLEEP, tmp_path) for name in ("one", "two")], cores=1)
    logs = [tmp_path / name / "job.log" for name in ("one", "two")]
    if os.cpu_count() == 1:
        logs.pop()
    limit = time.monotonic() + 120
    while not all(log.exists() and "ready" in log.read_text() for log in logs):
        assert time.monotonic() < limit and process.poll() is None
        time.sleep(0.05)
    (os.killpg if group else os.kill)(process.pid, signal.SIGINT)
    assert lines(process) == ["Stopped during 2 jobs. Repeat the command to go on."]
    assert process.returncode == 128 + signal.SIGINT
    assert all(log.read_text() == "ready\nsaved\n" for log in logs)


@pytest.mark.slow
def test_more_than_the_machine_has_is_refused(tmp_path):
    process = start([job("say", SAY, tmp_path)], cores=1, gpus=1000)
    (message,) = lines(process)
    assert message.startswith("`--gpus_per_run` must be at most what this machine has, ")
    assert "got 1000" in message and "--ray_address" in message


@pytest.mark.slow
def test_a_comparison_survives_its_workers_and_its_own_end(tmp_path):
    """Killed: a worker with its training, then the whole call; the numbers are those of no kill."""
    command = [*TINY, "--models=transformer,gru:none", "--seeds=2", "--steps=6", "--cost_lengths="]
    undisturbed = run(*command, f"--folder={tmp_path / 'local'}")
    assert undisturbed.returncode == 0, undisturbed.stderr

    folder = tmp_path / "ray"
    command += [f"--folder={folder}", "--launcher=ray"]
    process = subprocess.Popen(
        [sys.executable, "-m", "experiments.compare", *command],
        cwd=ROOT,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        text=True,
    )
    lost = trainings(folder, process, than=())
    for training in lost[:1]:
        os.kill(parent(training), signal.SIGKILL)  # the worker
        os.kill(training, signal.SIGKILL)
    trainings(folder, process, than=lost)  # it was begun again
    process.kill()
    process.communicate(timeout=60)
    done = run(*command)
    assert done.returncode == 0, done.stderr
    assert scores_of(folder) == scores_of(tmp_path / "local")


def trainings(folder, process, *, than):
    """Processes that train, once one of them has written its flags; others than those given."""
    limit = time.monotonic() + 300
    while True:
        locks = [
            x for x in folder.glob("runs/*/*.lock") if (x.with_suffix("") / "run.flags").exists()
        ]
        found = [x for lock in locks for x in holders(lock) if is_training(x) and x not in than]
        if found:
            return found
        assert time.monotonic() < limit and process.poll() is None
        time.sleep(0.05)


def is_training(process):
    command = open(f"/proc/{process}/cmdline").read().split("\0")
    return "experiments.translation" in command


def parent(process):
    return int(open(f"/proc/{process}/stat").read().rpartition(")")[2].split()[1])


@pytest.mark.parametrize(
    ("address", "line"),
    [
        (None, "Ray did not start: it timed out. Try again when the machine is less busy, or use "),
        ("a:1", "no Ray cluster answered at `--ray_address` a:1: it timed out. Start it by `ray "),
    ],
)
def test_a_ray_that_does_not_start_is_one_line(address, line, monkeypatch):
    def init(**given):
        raise Exception("it timed\n  out.")

    absent = types.SimpleNamespace(is_initialized=lambda: False, init=init)
    monkeypatch.setitem(sys.modules, "ray", absent)
    with pytest.raises(ConnectionError) as error:
        next(launch_ray.on_ray([], cores=1, gpus=0, address=address))
    assert str(error.value).startswith(line) and "\n" not in str(error.value)
