"""Tiny runs with large random weights, so that answers depend on what is read."""

import pytest

from experiments.common.load_run import load_run
from tests.support.flag_world import untrained
from tests.support.served_runs import SIZES


@pytest.fixture(scope="session")
def run_folders(tmp_path_factory):
    """Folders of runs by experiment."""
    folder = tmp_path_factory.mktemp("served")
    (folder / "text.txt").write_text("the cat sees the dog. " * 40)
    for name, sizes in SIZES.items():
        own = [argument.replace("TEXT", str(folder / "text.txt")) for argument in sizes]
        untrained(name, [*own, f"--run={folder / name}"], scale=3.0)
    return {name: folder / name for name in SIZES}


@pytest.fixture(scope="session")
def runs(run_folders):
    """The same, loaded."""
    return {name: load_run(folder) for name, folder in run_folders.items()}
