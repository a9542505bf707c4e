"""Text of meshes: what is read, and what is refused in one line."""

import math

import pytest

from attention_jax import parallel
from attention_jax.parallel import mesh
from attention_jax.training.config import TrainConfig

REFUSED = {
    "data": "axes with sizes, of data, fsdp, tensor, context; got 'data' in 'data'",
    "model=2": "got 'model=2' in 'model=2'",
    "data=2,data=4": "name an axis once; got data twice",
    "data=0": "sizes from 1, or -1 for all devices that are left; got data=0",
    "data=-2": "got data=-2",
    "data=two": "got data=two",
    "data=1.5": "got data=1.5",
    "data=": "got data=",
    "data=-1,fsdp=-1": "may leave one axis open by -1",
    "": "got '' in ''",
}


@pytest.mark.parametrize("text", REFUSED)
def test_text_that_is_no_mesh_is_refused(text):
    with pytest.raises(ValueError) as error:
        parallel.parse(text)
    assert REFUSED[text] in str(error.value) and "`mesh`" in str(error.value)
    assert "\n" not in str(error.value)


def test_axes_that_are_left_out_have_one_device():
    assert parallel.parse(" fsdp = 4, data=2 ") == (2, 4, 1, 1)


@pytest.mark.parametrize(
    ("text", "devices", "whole"),
    [
        ("data=-1", 8, (8, 1, 1, 1)),
        ("fsdp=2,tensor=-1", 8, (1, 2, 4, 1)),
        ("data=8", 8, (8, 1, 1, 1)),
    ],
)
def test_an_open_axis_takes_the_rest(text, devices, whole):
    found = mesh.completed(parallel.parse(text), devices)
    assert found == whole and math.prod(found) == devices


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "data=3",
            r"must use all of the 8 devices that are here; data=3 uses 3. Leave an axis open",
        ),
        ("data=4,tensor=4", "data=4,tensor=4 uses 16"),
        (
            "data=-1,tensor=3",
            "must divide the 8 devices that are here; with data=-1 the other axes",
        ),
        ("data=1", "data=1 uses 1"),
    ],
)
def test_a_mesh_of_other_devices_is_refused(text, said):
    with pytest.raises(ValueError, match=said):
        mesh.completed(parallel.parse(text), 8)


def test_a_training_refuses_text_that_is_no_mesh():
    with pytest.raises(ValueError, match="`mesh` must be axes with sizes"):
        TrainConfig(steps=1, mesh="rows=2").check()


def test_rows_are_shared_by_two_axes():
    assert parallel.MeshShape(data=2, fsdp=3, tensor=5).rows == 6
