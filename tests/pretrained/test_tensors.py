"""Tensors by name: parts, damaged and missing files, pickles."""

import json

import numpy as np
import pytest

from attention_jax.pretrained import tensors

ARRAYS = {"a.weight": np.arange(6.0).reshape(2, 3), "b": np.ones(4, np.float32)}


@pytest.fixture
def safetensors():
    return pytest.importorskip("safetensors.numpy", reason="safetensors is not installed")


def in_parts(safetensors, folder):
    where = {}
    for number, (name, array) in enumerate(ARRAYS.items()):
        part = f"model-{number}.safetensors"
        safetensors.save_file({name: array}, folder / part)
        where[name] = part
    (folder / tensors.INDEX).write_text(json.dumps({"weight_map": where}))


def read(path):
    found = tensors.opened(path)
    return {name: found.read(name) for name in found.names}


def test_a_file_of_parts_a_folder_and_npz_are_read_alike(safetensors, tmp_path):
    for name in ("parts", "whole"):
        (tmp_path / name).mkdir()
    in_parts(safetensors, tmp_path / "parts")
    safetensors.save_file(ARRAYS, tmp_path / "whole" / tensors.WHOLE)
    np.savez(tmp_path / "x.npz", **ARRAYS)
    for path in ("parts", "whole", f"whole/{tensors.WHOLE}", "x.npz"):
        found = read(tmp_path / path)
        assert set(found) == set(ARRAYS)
        for name, array in ARRAYS.items():
            np.testing.assert_allclose(found[name], array)


def test_names_lose_a_prefix_where_they_have_it():
    whole = tensors.from_mapping({"model.a": np.ones(1), "b": np.zeros(2)})
    found = tensors.without(whole, "model.")
    assert {name: found.read(name).size for name in found.names} == {"a": 1, "b": 2}


def test_what_is_missing_or_damaged_is_told_in_one_line(safetensors, tmp_path):
    in_parts(safetensors, tmp_path)
    (tmp_path / "model-1.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="model-1.safetensors"):
        tensors.opened(tmp_path)
    whole = tmp_path / "model-0.safetensors"
    whole.write_bytes(whole.read_bytes()[:-9])
    with pytest.raises(ValueError, match="must be a whole safetensors file"):
        tensors.opened(whole)
    (tmp_path / tensors.INDEX).write_text("{")
    with pytest.raises(ValueError, match="must say which part holds each tensor"):
        tensors.opened(tmp_path)
    (tmp_path / "x.npz").write_bytes(b"PK\3\4")
    with pytest.raises(ValueError, match="must be a .npz file"):
        tensors.opened(tmp_path / "x.npz")


def test_a_pickle_is_refused_with_how_to_convert_it(tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    for path in (tmp_path, tmp_path / "pytorch_model.bin"):
        with pytest.raises(ValueError, match=r"is a pickle.*save_file"):
            tensors.opened(path)


def test_nothing_to_read_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"must hold model\.safetensors"):
        tensors.opened(tmp_path)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        tensors.opened(tmp_path / "x.safetensors")
    (tmp_path / "x.txt").write_text("")
    with pytest.raises(ValueError, match=r"\.safetensors, \.npz"):
        tensors.opened(tmp_path / "x.txt")
