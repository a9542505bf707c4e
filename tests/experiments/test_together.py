"""Meshes and other processes as flags ask for them: bad ones end in one line, before a folder."""

import os
import subprocess
import sys

import jax
import pytest

from attention_jax.parallel.mesh import MeshShape
from experiments.common import config, together
from tests.support.paths import ROOT
from tests.support.scripts import TINY, script

REFUSED = [
    (["--mesh=rows=2"], "`mesh` must be axes with sizes, of data, fsdp, tensor, context; got"),
    (["--mesh=data=7"], "`mesh` must use all of the 1 devices that are here; data=7 uses 7"),
    (["--mesh=data=-1,tensor=3"], "`mesh` must divide the 1 devices that are here"),
    (["--distributed"], "`--distributed` needs an environment that names the processes"),
    (["--distributed_timeout=0"], "distributed_timeout"),
]


@pytest.mark.parametrize(("arguments", "said"), REFUSED)
def test_what_cannot_be_is_refused_in_one_line(arguments, said, tmp_path):
    folder = tmp_path / "run"
    own = [x for x in TINY if not x.startswith("--cost_lengths")]
    done = script("translation", *own, f"--run={folder}", *arguments)
    assert done.returncode == 1 and not folder.exists()
    assert said in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr


@pytest.mark.parametrize(
    ("model", "has_positions", "why"),
    [("rnn", True, "an RNN reads one after another"), ("transformer", False, "are read whole")],
)
def test_positions_are_shared_where_there_are_some(model, has_positions, why, monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 2)
    with pytest.raises(ValueError, match=why):
        together.check_mesh("context=2", model=model, has_positions=has_positions)
    found = together.check_mesh("context=2", model="transformer", has_positions=True)
    assert found == MeshShape(context=2)


def test_without_a_mesh_nothing_is_asked():
    assert together.check_mesh(None, model="rnn", has_positions=True) is None
    assert config.MeshFlags().text is None
    assert config.MeshFlags(distributed=True).text == "data=-1"
    assert config.MeshFlags(mesh="data=2", distributed=True).text == "data=2"


@pytest.mark.slow
def test_a_plan_is_printed_before_training(tmp_path):
    own = [x for x in TINY if not x.startswith("--cost_lengths")]
    mesh = ["--mesh=data=2,fsdp=2,tensor=2", "--dry_run", f"--run={tmp_path / 'run'}"]
    done = subprocess.run(
        [sys.executable, "-P", "-m", "experiments.translation", *own, *mesh, "--platform=cpu"],
        env=os.environ
        | {
            "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
            "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
        },
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "mesh: data=2,fsdp=2,tensor=2 on 8 devices" in done.stdout
    assert "a device holds" in done.stdout and "a step:" in done.stdout
