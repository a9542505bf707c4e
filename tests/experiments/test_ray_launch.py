"""A run over workers of Ray: what is asked, how processes end, and that losses cost only time."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from absl import flags

from experiments import ray_launch
from experiments.common import ray_worker
from experiments.common.ray_board import Board, News
from experiments.ray_launch import Workers, order
from tests.support.paths import ROOT

LAUNCH = ROOT / "scripts" / "launch"
TEXT = "to be or not to be, that is the question; " * 100
TINY = (
    "--context=16 --windows=12 --width=16 --heads=2 --layers=1 --feed_forward=16 --steps=60 "
    "--checkpoint_every=10 --log_every=1 --evaluate_every=60 --nosample --platform=cpu "
    "--mesh=data=2"
).split()
ENVIRONMENT = os.environ | {
    "JAX_PLATFORMS": "cpu",
    "XLA_FLAGS": "--xla_backend_optimization_level=0",
    "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
    "PYTHON": sys.executable,
    "NPROC": "1",  # threads of a process, as of a worker
}
# They are found rather than imported, which takes seconds.
has_ray = all(importlib.util.find_spec(name) for name in ("ray", "pandas", "pyarrow"))
needs_ray = pytest.mark.skipif(
    not has_ray, reason="Ray Train is not installed: pip install 'attention_jax[ray]'"
)
RUN = ("python", "-m", "experiments.language", "--mesh=data=2")


@pytest.mark.parametrize(
    ("command", "workers", "message"),
    [
        (RUN, Workers(0), "`-n` must be at least 1; got 0."),
        (RUN, Workers(2, cores=0), "`--cores` must be at least 1; got 0."),
        (RUN, Workers(2, gpus=-1), "`--gpus` must be at least 0; got -1."),
        (RUN, Workers(2, retries=-1), "`--retries` must be at least 0; got -1."),
        (RUN, Workers(2), "`--retries=3` needs a command with --run, so that it can go on where"),
        ((*RUN, "--run=x", "--resume=perhaps"), Workers(2), "'perhaps'"),
    ],
)
def test_what_cannot_be_honored_is_refused(command, workers, message):
    with pytest.raises((ValueError, flags.Error)) as error:
        order(command, workers)
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-n", "2", "--", "python"], "error: `--retries=3` needs a command with --run, so that"),
        (["-n", "2"], "a command must follow --."),
        (["--", "python"], "the following arguments are required: -n"),
    ],
)
def test_bad_command_lines_end_before_ray_starts(arguments, message, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["ray_launch", "--ray", *arguments])
    monkeypatch.setattr(ray_launch, "launch", None)
    try:
        code = ray_launch.main()
    except SystemExit as stop:
        code = stop.code
    assert code in (1, 2) and message in capsys.readouterr().err


def test_a_run_without_retries_needs_no_name():
    asked = order(RUN, Workers(2, retries=0))
    assert (asked.command, asked.run) == (RUN, None)
    assert asked.next(1) == asked.next(2) == RUN


@pytest.mark.parametrize("form", [("--run={}",), ("--run", "{}"), ("-run={}",)])
def test_a_run_that_has_begun_goes_on(form, tmp_path):
    folder = tmp_path / "mine"
    command = (*RUN, *(word.format(folder) for word in form))
    asked = order(command, Workers(2, cores=3))
    assert asked.next(1) == asked.next(2) == command  # it was lost before it began
    assert asked.variables["NPROC"] == "3" and asked.folder == str(Path.cwd())
    begin(folder, "new")
    assert asked.next(1) == command
    assert asked.next(2) == (*command, "--resume", "--nooverwrite")


def test_a_run_that_is_to_be_replaced_does_not_go_on(tmp_path):
    """An old run in the folder is none to go on with; but that which replaced it is."""
    begin(tmp_path / "mine", "old")
    command = (*RUN, f"--run={tmp_path / 'mine'}", "--overwrite")
    asked = order(command, Workers(2))
    assert asked.next(2) == command
    begin(tmp_path / "mine", "new")
    assert asked.next(2) == (*command, "--resume", "--nooverwrite")


def test_a_run_that_is_gone_on_with_stays_the_same_command(tmp_path):
    begin(tmp_path / "mine", "old")
    command = (*RUN, f"--run={tmp_path / 'mine'}", "--resume")
    assert order(command, Workers(2)).next(2) == command


def begin(folder, identity):
    folder.mkdir(exist_ok=True)
    (folder / "run.json").write_text(identity)
    (folder / "run.flags").touch()


KILL, ABORT, TERM = -signal.SIGKILL, -signal.SIGABRT, 128 + signal.SIGTERM


@pytest.mark.parametrize(
    ("codes", "signals", "is_lost", "failed"),
    [
        ({0: 0, 1: 0}, (), False, None),
        ({1: 1, 0: None}, (), False, 1),
        ({1: KILL, 0: None}, (), True, 1),
        ({0: ABORT, 1: KILL}, (), True, 1),  # JAX noticed before the system had told
        ({0: 1, 1: KILL}, (), True, 0),
        ({0: ABORT, 1: 1}, (), False, 1),
        ({0: ABORT, 1: ABORT}, (), False, 0),
        ({0: TERM, 1: TERM}, (), True, 0),  # by somebody else
        ({0: TERM, 1: TERM}, (signal.SIGTERM,), False, 0),
        ({0: KILL, 1: TERM}, (signal.SIGTERM,), False, 0),
        ({0: KILL, 1: None}, (signal.SIGUSR1,), True, 0),
    ],
)
def test_losses_are_told_from_failures(codes, signals, is_lost, failed):
    news = News(1, signals, codes, {})
    assert (news.is_lost, news.failed) == (is_lost, failed)


def test_a_new_start_knows_nothing_of_the_last_but_a_stop():
    board = Board()
    board.begin()
    board.pass_on(signal.SIGUSR1)
    board.end(1, KILL, "killed")
    assert board.begin() == News(2, (), {}, {})
    board.pass_on(signal.SIGTERM)
    assert board.begin().is_stopped and not board.news().is_lost


LISTEN = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))"
WAIT = "import signal, sys, time\n{}\nprint('ready', flush=True)\ntime.sleep(60)"


def begun(code):
    process = ray_worker._begun((sys.executable, "-c", code), os.getcwd(), os.environ)
    if "ready" in code:
        process.stdout.readline()
    return process


def watched(process, *news):
    def all_news():
        yield from news
        while True:
            time.sleep(0.05)
            yield news[-1]

    code = ray_worker._watched(process, all_news())
    process.communicate()
    return code


def test_a_signal_reaches_a_process_once():
    quiet, told = News(1, (), {}, {}), News(1, (signal.SIGTERM,), {}, {})
    assert watched(begun(WAIT.format(LISTEN)), quiet, told) == 7
    counting = "seen = []\nsignal.signal(signal.SIGUSR1, lambda *_: seen.append(1))\n"
    counting += "signal.signal(signal.SIGTERM, lambda *_: sys.exit(len(seen)))"
    save = News(1, (signal.SIGUSR1,), {}, {})
    stop = News(1, (signal.SIGUSR1, signal.SIGTERM), {}, {})
    assert watched(begun(WAIT.format(counting)), quiet, save, save, save, stop) == 1


@pytest.mark.parametrize("own", [LISTEN, "signal.signal(signal.SIGTERM, signal.SIG_IGN)"])
def test_a_process_is_ended_where_another_failed(own, monkeypatch):
    monkeypatch.setattr(ray_worker, "SETTLED_AFTER", 0.1)
    monkeypatch.setattr(ray_worker, "AFTER_FAILURE", 0.5)
    assert watched(begun(WAIT.format(own)), News(1, (), {1: 3}, {})) is None


def test_a_command_that_is_not_there_is_one_line():
    process = ray_worker._begun(("no_such_program",), os.getcwd(), os.environ)
    _, said = process.communicate(timeout=60)
    assert said == b"error: no_such_program cannot be run: No such file or directory\n"


def test_the_last_lines_of_other_processes_are_kept():
    code = "import sys\nfor i in range(100): print(i, file=sys.stderr)\nprint('out')"
    process = begun(code)
    assert ray_worker._Readers(process, None).ended() == "".join(f"{i}\n" for i in range(80, 100))
    process.wait()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell children")
def test_a_process_does_not_outlive_its_worker():
    code = "import os; from experiments.common import ray_worker\n"
    command = (sys.executable, "-c", WAIT.format(""))
    code += f"p = ray_worker._begun({command!r}, '.', os.environ)"
    code += "\np.stdout.readline(); print(p.pid, flush=True); p.wait()"
    worker = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE)
    number = int(worker.stdout.readline())
    worker.kill()
    worker.communicate()
    limit = time.monotonic() + 60
    while is_alive(number):
        assert time.monotonic() < limit
        time.sleep(0.01)


def is_alive(number):
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def training(folder, *flags):
    text = folder / "text.txt"
    text.write_text(TEXT)
    own = [f"--text_file={text}", f"--run={folder / 'run'}", *TINY, *flags]
    return [sys.executable, "-P", "-m", "experiments.language", *own]


def started(*command):
    return subprocess.Popen(
        [LAUNCH, *command],
        env=ENVIRONMENT,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process, code=0):
    out, said = process.communicate(timeout=280)
    assert process.returncode == code, said[-4000:]
    return out, said


def rows(folder):
    found = map(json.loads, (folder / "run" / "metrics.jsonl").read_text().splitlines())
    return [(row["split"], row["step"], row["loss"]) for row in found]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Losses of the same run by `scripts/launch` alone."""
    folder = tmp_path_factory.mktemp("undisturbed")
    ended(started("-n", "2", "--", *training(folder)))
    return rows(folder)


def process_of(folder, number, *, after, launcher, than=None):
    """The process of a run by its number, once a checkpoint stands."""
    limit = time.monotonic() + 240
    mark, name = f"JAX_PROCESS_ID={number}", f"--run={folder / 'run'}"
    while True:
        assert time.monotonic() < limit and launcher.poll() is None
        time.sleep(0.01)
        if not (folder / "run" / "checkpoints" / f"step_{after:09d}").exists():
            continue
        for path in Path("/proc").glob("[0-9]*"):
            try:
                asked, own = (path / "cmdline").read_text(), (path / "environ").read_text()
            except OSError:
                continue
            if name in asked.split("\0") and mark in own.split("\0") and int(path.name) != than:
                return int(path.name)


def parent(process):
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


@needs_ray
@pytest.mark.slow
def test_a_lost_process_and_a_lost_worker_change_no_number(undisturbed, tmp_path):
    launcher = started("--ray", "-n", "2", "--", *training(tmp_path))
    first = process_of(tmp_path, 1, after=10, launcher=launcher)
    os.kill(first, signal.SIGKILL)
    second = process_of(tmp_path, 1, after=30, launcher=launcher, than=first)
    os.kill(parent(second), signal.SIGKILL)
    out, said = ended(launcher)
    assert "mesh: data=2 on 2 devices" in out and "start 2 of 4" in said and "start 3 of 4" in said
    assert not is_alive(second)
    assert rows(tmp_path) == undisturbed


@needs_ray
@pytest.mark.slow
def test_a_signal_stops_all_after_a_checkpoint(undisturbed, tmp_path):
    launcher = started("--ray", "-n", "2", "--", *training(tmp_path))
    process_of(tmp_path, 0, after=10, launcher=launcher)
    launcher.send_signal(signal.SIGTERM)
    _, said = ended(launcher, code=128 + signal.SIGTERM)
    assert "Stopped by SIGTERM after step" in said
    ended(started("-n", "2", "--", *training(tmp_path, "--resume")))
    assert rows(tmp_path) == undisturbed


@needs_ray
@pytest.mark.slow
def test_what_a_command_refuses_is_not_repeated(tmp_path):
    launcher = started("--ray", "-n", "2", "--", *training(tmp_path, "--mesh=data=4"))
    _, said = ended(launcher, code=1)
    assert said.count("error: `mesh` must use all of the 2 devices that are here; data=4") == 1
    assert "start 2" not in said
