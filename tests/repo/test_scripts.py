"""The scripts: they parse, explain themselves, and pick the right Python."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT

COMMANDS = [
    ROOT / "scripts" / name
    for name in ("bench", "check", "demo", "docs", "launch", "lesson", "mutants", "test", "torture")
]
SCRIPTS = [*COMMANDS, ROOT / "scripts" / "_setup", ROOT / ".ci" / "run"]

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")

# Answers as Python `version` would; `venv` and `ensurepip` are there.
FAKE = """#!{python}
import sys
sys.executable, sys.version_info = {path!r}, {version!r}
exec(sys.argv[2])
"""
SHIM = "#!/bin/sh\necho 'pyenv: python: command not found' >&2\nexit 127\n"


@pytest.fixture
def folder(tmp_path):
    """A folder of commands, with the few tools that the scripts need."""
    for tool in ("bash", "dirname", "cat", "cksum", "sed", "rm", "touch"):
        (tmp_path / tool).symlink_to(shutil.which(tool))
    return tmp_path


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def fake(path: Path, *version: int) -> Path:
    return write(path, FAKE.format(python=sys.executable, path=str(path), version=version))


def run(command: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", command],
        env={"PATH": str(folder), **variables},
        capture_output=True,
        text=True,
        timeout=60,
    )


def find(folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return run(f". '{ROOT}/scripts/_setup'; find_python", folder, **variables)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_parses(script):
    subprocess.run(["bash", "-n", script], check=True)


@pytest.mark.parametrize("script", [*COMMANDS, ROOT / ".ci" / "run"], ids=lambda path: path.name)
def test_can_be_run(script):
    assert os.access(script, os.X_OK)


@pytest.mark.parametrize("script", COMMANDS, ids=lambda path: path.name)
def test_help_explains_without_setting_up(script, tmp_path):
    got = subprocess.run(
        [script, "--help"], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert got.returncode == 0 and not got.stderr
    assert f"scripts/{script.name} " in got.stdout
    assert all(not line.startswith("#") for line in got.stdout.splitlines())


def test_the_newest_python_wins(folder):
    fake(folder / "python3.11", 3, 11, 7)
    newest = fake(folder / "python3.12", 3, 12, 1)
    fake(folder / "python3", 3, 11, 7)
    assert find(folder).stdout.strip() == str(newest)


def test_a_shim_that_fails_is_passed_over(folder):
    write(folder / "python3.13", SHIM)
    working = fake(folder / "python3.12", 3, 12, 1)
    got = find(folder)
    assert (got.stdout.strip(), got.stderr) == (str(working), "")


def test_pyenv_is_asked_where_its_shim_fails(folder):
    write(folder / "python3.13", SHIM)
    fake(folder / "python3.12", 3, 12, 1)
    hidden = fake(folder / "root" / "versions" / "3.13.0" / "bin" / "python", 3, 13, 0)
    answers = (
        f'#!/bin/sh\n[ "$1" = root ] && echo "{folder}/root"\n[ "$2" = 3.13 ] && echo 3.13.0\n'
    )
    write(folder / "pyenv", answers)
    assert find(folder).stdout.strip() == str(hidden)


def test_uv_is_asked_too(folder):
    fake(folder / "python3.12", 3, 12, 1)
    hidden = fake(folder / "managed" / "python", 3, 13, 0)
    write(folder / "uv", f'#!/bin/sh\n[ "$4" = 3.13 ] && echo "{hidden}"\n')
    assert find(folder).stdout.strip() == str(hidden)


def test_python3_is_the_last_resort(folder):
    last = fake(folder / "python3", 3, 14, 0)
    assert find(folder).stdout.strip() == str(last)


def test_the_named_python_wins(folder):
    fake(folder / "python3.13", 3, 13, 0)
    named = fake(folder / "mine", 3, 11, 0)
    assert find(folder, PYTHON="mine").stdout.strip() == str(named)


def test_an_old_python_is_refused_in_one_line(folder):
    fake(folder / "python3", 3, 10, 13)
    got = find(folder)
    assert got.returncode == 1 and got.stdout == ""
    assert got.stderr.count("\n") == 1
    assert "needs Python 3.11 or newer" in got.stderr


def test_a_named_python_that_is_old_is_refused(folder):
    fake(folder / "python3.13", 3, 13, 0)
    fake(folder / "old", 3, 10, 13)
    got = find(folder, PYTHON="old")
    assert got.returncode == 1
    assert "got PYTHON=old" in got.stderr


@pytest.fixture
def checkout(tmp_path):
    """A copy of the set-up whose environment and installer are stand-ins."""
    root = tmp_path / "a checkout"
    shutil.copytree(ROOT / "scripts", root / "scripts")
    (root / "setup.cfg").write_text("first\n")
    (root / "pyproject.toml").touch()
    return root


def set_up(checkout: Path, folder: Path, installer: str = "exit 0") -> str:
    """Sets up with an interpreter that makes itself an environment; returns what was printed."""
    # `-m venv DIR` copies the stand-in; `-m pip` runs `installer`; all else is Python's.
    write(
        folder / "python3.13",
        "#!/bin/sh\n"
        'if [ "$2" = venv ]; then\n'
        '  mkdir -p "$3/bin"; echo fake >"$3/pyvenv.cfg"; cp "$0" "$3/bin/python"\n'
        f'elif [ "$2" = pip ]; then {installer}\n'
        f'elif [ -n "$2" ]; then echo "{folder}/python3.13"\n'
        "fi\n",
    )
    for tool in ("mkdir", "cp"):
        (folder / tool).unlink(missing_ok=True)
        (folder / tool).symlink_to(shutil.which(tool))
    got = run(f". '{checkout}/scripts/_setup'; set_up test; echo \"$python\"", folder)
    return got.stdout + got.stderr


def test_a_second_call_installs_nothing(checkout, folder):
    first, second = set_up(checkout, folder), set_up(checkout, folder, "exit 1")
    assert "Making" in first and "Installing" in first
    assert second == f"{checkout}/.venv/bin/python\n"


def test_a_change_of_dependencies_installs_again(checkout, folder):
    set_up(checkout, folder)
    (checkout / "setup.cfg").write_text("second\n")
    again = set_up(checkout, folder)
    assert "Installing" in again and "Making" not in again


def test_an_installation_that_fails_is_tried_again(checkout, folder):
    assert "installation failed" in set_up(checkout, folder, "exit 1")
    again = set_up(checkout, folder)
    assert "Installing" in again and "Making" not in again


def test_an_installation_that_is_killed_starts_afresh(checkout, folder):
    assert not set_up(checkout, folder, "kill -KILL $PPID").endswith("python\n")
    assert "Making" in set_up(checkout, folder)


def test_a_broken_environment_is_made_again(checkout, folder):
    set_up(checkout, folder)
    (checkout / ".venv" / "bin" / "python").unlink()
    assert "Making" in set_up(checkout, folder)
