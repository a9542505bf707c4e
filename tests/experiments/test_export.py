"""The script that exports a run, as a user runs it."""

import json
import os

import jax
import numpy as np
import pytest

from attention_jax import decoding
from attention_jax.models import exported
from attention_jax.models.exported import load_exported
from experiments.common.load_run import load_run
from experiments.export import FORMATS, ExportConfig, export
from tests.support.scripts import TINY
from tests.support.scripts import script as run

OWN = [x for x in TINY if "cost" not in x]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "reverse"
    done = run("translation", *OWN, f"--run={folder}")
    assert done.returncode == 0, done.stderr
    return folder


def test_each_format_has_a_writer():
    assert set(FORMATS) - {"safetensors"} == {"stablehlo", "onnx"} == set(exported.reading.READERS)


def test_what_cannot_be_written_is_refused_first(tmp_path):
    full = tmp_path / "full"
    full.mkdir()
    (full / "a").write_text("1")
    for changes, said in (
        ({}, "`--run` must name the folder of a run; got none"),
        ({"run": str(tmp_path)}, "holds no run.flags"),
        ({"length": 5, "longest": 4}, "`length` must be at most `longest`"),
    ):
        with pytest.raises(ValueError, match=said):
            export(ExportConfig(**changes))
    assert os.listdir(tmp_path) == ["full"] and os.listdir(full) == ["a"]


@pytest.mark.slow
def test_a_run_leaves_as_programs(trained, tmp_path):
    pytest.importorskip("flatbuffers", reason="JAX serializes programs by it")
    output = tmp_path / "new" / "programs"
    done = run("export", f"--run={trained}", f"--output={output}")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"{output}: stablehlo, ")
    assert lines[1:] == [
        "encode.stablehlo: source, source_mask -> memory",
        "start.stablehlo: memory, room -> state",
        "step.stablehlo: state, token -> logits, state",
    ]
    assert set(os.listdir(output)) == {
        *(f"{name}.stablehlo" for name in ("encode", "start", "step")),
        *("manifest.json", "run.flags", "vocabulary.json", "weights.npz"),
    }
    about = json.loads((output / "manifest.json").read_text())["about"]
    assert about["experiment"] == "translation" and "--width=16" in about["flags"]
    assert about["tokenizer"]["special_ids"] == {"pad": 0, "bos": 1, "eos": 2, "unknown": 3}
    check_tokens(load_run(trained), load_exported(output))
    again = run("export", f"--run={trained}", f"--output={output}")
    assert again.returncode == 1 and "`--output` must be a new or an empty folder" in again.stderr


def check_tokens(own, other):
    source = np.array([own.tokenizer.encode("1 2 3"), own.tokenizer.encode("4 5 6")], np.int32)
    found = []
    for model in (own.model, other):
        memory = jax.jit(model.encode)(source, source > 0)
        found.append(decoding.greedy(model.step, model.start(memory, 6), max_length=6).tokens)
    assert (found[0] == found[1]).all()


@pytest.mark.slow
def test_a_package_that_is_missing_is_named(trained, tmp_path):
    done = run("export", f"--run={trained}", f"--output={tmp_path / 'own'}", "--format=onnx")
    if done.returncode:
        assert "pip install --no-deps jax2onnx" in done.stderr
        assert os.listdir(tmp_path) == []
    else:
        assert {"encode.onnx", "manifest.json"} <= set(os.listdir(tmp_path / "own"))
