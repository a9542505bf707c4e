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

from experiments.compare import launch_local, launch_ray
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


ON_A_MESH = (
    "--experiment=language --context=16 --windows=12 --width=16 --heads=2 --layers=1 "
    "--feed_forward=16 --steps=6 --evaluate_every=6 --checkpoint_every=6 --log_every=1 --nosample "
    "--models=transformer --seeds=1 --mesh=data=-1 --cores_per_run=2"
).split()


def compared(folder, *flags, **variables):
    """The losses of a comparison's only run, and the mesh that its log names."""
    text = folder.with_suffix(".txt")
    text.write_text("to be or not to be, that is the question; " * 100)
    own = [*ON_A_MESH, f"--text_file={text}", f"--folder={folder}", *flags]
    done = subprocess.run(
        [sys.executable, "-m", "experiments.compare", *own],
        cwd=ROOT,
        env=ENVIRONMENT | variables,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    (found,) = folder.glob("runs/*/*/metrics.jsonl")
    rows = map(json.loads, found.read_text().splitlines())
    log = found.parent.with_name(f"{found.parent.name}.log").read_text()
    (mesh,) = [line for line in log.splitlines() if line.startswith("mesh: ")]
    return [row["loss"] for row in rows if row["split"] == "train"], mesh


needs_two_cores = pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs two cores")
needs_ray_train = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("pandas", "pyarrow"))),
    reason="Ray Train is not installed: pip install 'attention_jax[ray]'",
)


@pytest.mark.slow
@needs_two_cores
@needs_ray_train
def test_a_run_of_several_processes_has_its_own_mesh(tmp_path):
    """In workers of Ray, and by `scripts/launch` here: one mesh, the same numbers."""
    here = compared(tmp_path / "local", "--processes_per_run=2")
    there = compared(tmp_path / "ray", "--processes_per_run=2", "--launcher=ray")
    assert here == there and here[1] == "mesh: data=2 on 2 devices"


@pytest.mark.slow
@needs_two_cores
def test_a_run_of_one_process_has_a_mesh_of_its_devices(tmp_path):
    two = f"{ENVIRONMENT['XLA_FLAGS']} --xla_force_host_platform_device_count=2"
    _, mesh = compared(tmp_path / "ray", "--launcher=ray", XLA_FLAGS=two)
    assert mesh == "mesh: data=2 on 2 devices"


class FakeRay:
    """Ray with two cores and eight GPUs, whose tasks are done when they are waited for."""

    exceptions = types.SimpleNamespace(RayError=RuntimeError)

    def __init__(self):
        self.options_of, self.at_once, self._open = [], [], []

    def is_initialized(self):
        return True

    def cluster_resources(self):
        return {"CPU": 8.0, "GPU": 8.0}

    def get_runtime_context(self):
        return types.SimpleNamespace(gcs_address="head:1")

    def remote(self, function):
        def options(**own):
            self.options_of.append(own)
            return types.SimpleNamespace(remote=self._begin)

        return types.SimpleNamespace(options=options)

    def _begin(self, *arguments):
        self._open.append(arguments)
        return len(self._open) - 1

    def wait(self, tasks, timeout):
        self.at_once.append(len(tasks))
        return tasks[:1], tasks[1:]

    def get(self, task):
        return launch_local.Finished(self._open[task][0], None, 0.0)


@pytest.fixture
def fake_ray(monkeypatch):
    ray = FakeRay()
    monkeypatch.setitem(sys.modules, "ray", ray)
    return ray


def five_jobs(tmp_path):
    return [
        launch_local.Job(str(i), ("python", "--run=x"), tmp_path / f"{i}.log", ("--resume",))
        for i in range(5)
    ]


def test_several_processes_are_workers_of_the_same_ray(fake_ray, tmp_path):
    """As many jobs at once as there is room for, by what all their processes need."""
    jobs = five_jobs(tmp_path)
    asked = {"cores": 4, "gpus": 2, "processes": 2}
    done = list(launch_ray.on_ray(jobs, address="head:1", **asked))
    assert sorted(x.job.name for x in done) == list("01234")
    command = "-m experiments.ray_launch -n=2 --cores=2 --gpus=1 --address=head:1 --retries=3 -- "
    assert " ".join(done[0].job.command[1:]) == f"{command}python --run=x"
    assert fake_ray.at_once == [2, 2, 2, 2, 1]
    assert [x["num_cpus"] for x in fake_ray.options_of] == [0]


def test_one_process_is_a_task_with_all_that_it_needs(fake_ray, tmp_path):
    done = list(launch_ray.on_ray(five_jobs(tmp_path), address="head:1", cores=4, gpus=4))
    assert done[0].job.command == ("python", "--run=x") and fake_ray.at_once[0] == 5
    assert [(x["num_cpus"], x["num_gpus"]) for x in fake_ray.options_of] == [(4, 4)]


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
        ("auto", "no Ray cluster answered at `--ray_address` auto: it timed out. Start it by `ray"),
        ("localhost:1", "no Ray cluster answered at `--ray_address` localhost:1: [Errno"),
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
