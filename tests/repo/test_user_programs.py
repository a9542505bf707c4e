"""Programs as users write them: a type checker has no complaint, and each runs."""

import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from tests.support.paths import ROOT

PROGRAMS = sorted((ROOT / "tests" / "repo" / "user_programs").glob("*.py"))
TY = shutil.which("ty", path=str(Path(sys.executable).parent)) or shutil.which("ty")


def test_there_are_ten_of_them():
    assert len(PROGRAMS) >= 10


@pytest.mark.skipif(TY is None, reason="ty is not installed: pip install 'attention_jax[dev]'")
def test_a_type_checker_has_no_complaint():
    environment = str(Path(sys.executable).parents[1])
    done = subprocess.run(
        [TY, "check", "--python", environment, "--output-format", "concise", *PROGRAMS],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_it_runs(program, users_errors):
    # As users run it, without the strictness of the other tests.
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        runpy.run_path(str(program))
