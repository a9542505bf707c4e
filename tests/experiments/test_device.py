"""Devices and compile caches that are not there are named in one line."""

import jax
import pytest

from experiments.common import device


@pytest.fixture(autouse=True)
def unchanged(monkeypatch):
    """The configuration of JAX that calls ask for, which is not made."""
    asked = {}
    monkeypatch.setattr(jax.config, "update", asked.__setitem__)
    return asked


def test_a_platform_without_a_device_is_refused(unchanged):
    with pytest.raises(
        ValueError, match="`--platform` must be a device that is here; got tpu"
    ) as e:
        device.prepare("tpu", "")
    assert "\n" not in str(e.value)
    device.prepare("cpu", "")
    assert unchanged == {"jax_platforms": "cpu"}


def test_a_cache_is_made_where_it_can_be(unchanged, tmp_path, capsys):
    device.prepare(None, str(tmp_path / "a" / "b"))
    assert unchanged["jax_compilation_cache_dir"] == str(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir() and not capsys.readouterr().err


@pytest.mark.parametrize("name", ["file/x", "file", "a\0b"])
def test_a_cache_that_cannot_be_is_named_and_done_without(name, unchanged, tmp_path, capsys):
    (tmp_path / "file").touch()
    device.prepare(None, str(tmp_path / name))
    assert "is no folder that can be written" in capsys.readouterr().err and not unchanged
