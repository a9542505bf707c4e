"""A release: a source archive and a wheel, which work where nothing else is installed."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from functools import partial

import pytest

from attention_jax import __version__
from tests.support.paths import ROOT

pytest.importorskip("build", reason="needs the package build")

# Computes with a mechanism, finds the files that pages are made of, and knows its version.
PROGRAM = """
import importlib.resources
import jax.numpy as jnp
import attention_jax as aj

x = jnp.ones((1, 3, 2, 4))
assert aj.attention(x, x, x, mask=aj.masks.causal).shape == x.shape
assert "additive" in aj.variants.names()
pages = importlib.resources.files("attention_jax") / "analysis" / "pages"
assert (pages / "page.html").is_file() and (pages / "live" / "jax_js" / "LICENSE").is_file()
print(aj.__version__)
"""


def interpreter(version):
    """A Python of that version that makes environments, or None; asks as the scripts do."""
    asked = f". '{ROOT}/scripts/_setup'; (PYTHON=python{version} find_python)"
    if shutil.which("pyenv"):
        place = f'"$(pyenv root)/versions/$(pyenv latest {version})/bin/python"'
        asked += f" 2>/dev/null || PYTHON={place} find_python"
    found = subprocess.run(["bash", "-c", asked], capture_output=True, text=True)
    return found.stdout.strip() or None


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """The source archive and the wheel, built from the files that git knows."""
    folder = tmp_path_factory.mktemp("release")
    names = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    for name in names:
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    subprocess.run([sys.executable, "-m", "build", "--outdir=dist", "."], cwd=folder, check=True)
    return next((folder / "dist").glob("*.tar.gz")), next((folder / "dist").glob("*.whl"))


@pytest.mark.slow
def test_the_wheel_holds_the_library_alone(archives):
    _, wheel = archives
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0] for name in names} == {
        "attention_jax",
        f"attention_jax-{__version__}.dist-info",
    }
    ours = ROOT / "attention_jax"
    code = {f"attention_jax/{path.relative_to(ours)}" for path in ours.rglob("*.py")}
    assert code <= set(names)


@pytest.mark.slow
def test_the_source_archive_builds_the_same_wheel(archives):
    source, wheel = archives
    with tarfile.open(source) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {name for name in zipfile.ZipFile(wheel).namelist() if "dist-info" not in name}
    assert wanted <= held


@pytest.mark.slow
@pytest.mark.parametrize("version", ("3.11", "3.12", "3.13"))
def test_it_works_where_nothing_else_is(archives, version, tmp_path):
    python = interpreter(version)
    if python is None:
        pytest.skip(f"needs Python {version}")
    subprocess.run([python, "-m", "venv", tmp_path / "new"], check=True)
    new = tmp_path / "new" / "bin"
    # Elsewhere, for pip takes what it finds in the working folder as installed.
    alone = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    call = partial(subprocess.run, cwd=tmp_path, env=alone, capture_output=True, text=True)
    installed = call([new / "python", "-m", "pip", "install", "--quiet", archives[1]])
    assert installed.returncode == 0, installed.stderr
    said = call([new / "python", "-c", PROGRAM])
    assert said.stdout.strip() == __version__, said.stderr
    shown = call([new / "attention-jax", "show", "additive"])
    assert "additive" in shown.stdout, shown.stderr
