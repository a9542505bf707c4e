"""Marian's binary files: numbers of 8 bits and of 32, what a model says of itself, and damage."""

import struct

import numpy as np
import pytest

from attention_jax import pretrained
from attention_jax.pretrained import marian_folder, tensors, tensors_marian
from tests.pretrained.test_seq2seq_families import made
from tests.support import marian_files

YAML = 'type: transformer\nenc-depth: 3\ndim-vocabs:\n  - 5\n  - 5\ntransformer-preprocess: ""\n'


@pytest.fixture
def arrays():
    random = np.random.default_rng(0)
    shapes = {"Wemb": (5, 4), "l1_W": (4, 6), "l1_b": (6,), "l1_W_QuantMultA": (1,)}
    return {name: random.normal(size=x).astype(np.float32) for name, x in shapes.items()}


@pytest.mark.parametrize("int8", [False, True])
def test_tensors_are_read_as_they_were_written(arrays, int8, tmp_path):
    path = tmp_path / "model.bin"
    marian_files.write(path, arrays, YAML, int8=int8)
    assert tensors_marian.is_marian(path)
    found, said = tensors_marian.read(path)
    assert found.names == tuple(arrays)
    assert said["enc-depth"] == "3" and said["transformer-preprocess"] == ""
    assert "dim-vocabs" not in said
    for name, wanted in arrays.items():
        # Half of the step between two of 255 numbers.
        step = np.abs(wanted).max() / 127 / 2 if int8 and wanted.ndim == 2 else 0
        assert found.read(name).shape == wanted.shape and found.read(name).dtype == np.float32
        np.testing.assert_allclose(found.read(name), wanted, rtol=1e-6, atol=step * 1.001)


def test_an_npz_of_training_is_read(arrays, tmp_path):
    path = tmp_path / "model.npz"
    rows = {name: x[None] if x.ndim == 1 else x for name, x in arrays.items()}
    yaml = np.frombuffer(YAML.encode() + b"\0", np.int8)
    np.savez(path, **rows, **{tensors_marian.SETTINGS: yaml})
    found, said = tensors_marian.read(path)
    assert said["type"] == "transformer" and set(found.names) == set(arrays)
    for name, wanted in arrays.items():
        assert np.array_equal(found.read(name), wanted)


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.99])
def test_a_damaged_file_is_refused(arrays, kept, tmp_path):
    path = tmp_path / "model.bin"
    marian_files.write(path, arrays, YAML, int8=True)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(ValueError, match="must be a whole binary file of Marian") as caught:
        tensors_marian.read(path)
    assert "\n" not in str(caught.value)


def test_packed_numbers_are_refused(arrays, tmp_path):
    path = tmp_path / "model.bin"
    marian_files.write(path, arrays, YAML, int8=False)
    whole = bytearray(path.read_bytes())
    whole[24:32] = struct.pack("<Q", 0x802)  # the first tensor's type: packed for one processor
    path.write_bytes(whole)
    with pytest.raises(ValueError, match="Wemb is of type 0x802"):
        tensors_marian.read(path)


def test_other_files_are_none_of_marian(tmp_path):
    (tmp_path / "lex.bin").write_bytes(struct.pack("<QQQ", 0xF11A48D5013417F5, 1, 0))
    (tmp_path / "short.bin").write_bytes(b"1")
    assert not any(tensors_marian.is_marian(x) for x in tmp_path.iterdir())


@pytest.mark.parametrize("int8", [False, True])
def test_a_folder_of_marian_is_the_model_that_was_written(int8, tmp_path):
    """Without a config.json: the file says what it holds."""
    made("bergamot, ssru", tmp_path / "ours")
    ours = pretrained.load(tmp_path / "ours")
    content = tensors.opened(tmp_path / "ours")
    arrays = {name: content.read(name) for name in content.names}
    yaml = "".join(
        f"{key}: {value if value else chr(34) * 2}\n"
        for key, value in ours.settings.items()
        if isinstance(value, str) and key not in ("model_type", "vocab_size")
    )
    (tmp_path / "theirs").mkdir()
    marian_files.write(tmp_path / "theirs" / "model.xx.bin", arrays, yaml, int8=int8)
    theirs = pretrained.load(tmp_path / "theirs")
    assert theirs.family.name == "bergamot" and theirs.config == ours.config
    assert theirs.order == ours.order
    kernel = theirs.model.decoder.layers[1].recurrence.ways[0].forget_gate.kernel[...]
    wanted = ours.model.decoder.layers[1].recurrence.ways[0].forget_gate.kernel[...]
    largest = np.abs(wanted).max()
    np.testing.assert_allclose(kernel, wanted, atol=largest / 127 * 0.51 if int8 else 0)


def test_an_npz_of_others_is_no_model_of_marian(arrays, tmp_path):
    np.savez(tmp_path / "model.npz", **arrays)
    assert marian_folder.opened(tmp_path) is None


def test_two_models_in_a_folder_are_refused(arrays, tmp_path):
    for name in ("a.bin", "b.bin"):
        marian_files.write(tmp_path / name, arrays, YAML, int8=False)
    with pytest.raises(ValueError, match="must hold one model of Marian"):
        pretrained.load(tmp_path)


def test_a_model_must_say_what_it_is(arrays, tmp_path):
    marian_files.write(tmp_path / "model.bin", arrays, "", int8=False)
    with pytest.raises(ValueError, match="must say what its model is, in special:model.yml"):
        pretrained.load(tmp_path)
