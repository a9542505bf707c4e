"""A plan of a training elsewhere: what is counted, and what is extended from two programs."""

import math

import pytest

from attention_jax.parallel.mesh import MeshShape
from experiments import plan
from tests.support import shared_programs


def test_a_mesh_keeps_all_axes_but_data():
    assert plan.on_virtual_devices(MeshShape(64, 1, 8, 4)) == MeshShape(2, 1, 8, 4)
    assert plan.on_virtual_devices(MeshShape(1, 8, 8, 1)) == MeshShape(1, 8, 8, 1)
    assert plan.on_virtual_devices(MeshShape(512)) == MeshShape(64)


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        (MeshShape(data=-1), "with -1"),
        (MeshShape(2, 8, 8), "at most 64"),
        (MeshShape(1, 16, 8), "64"),
    ],
)
def test_what_cannot_be_compiled_here_is_refused(shape, said):
    with pytest.raises(ValueError, match=said):
        plan.on_virtual_devices(shape)


@pytest.mark.parametrize(
    ("line", "moved"),
    [
        ("x = f32[8]{0} all-reduce(y), replica_groups=[2,4]<=[8]", {"all-reduce": 2 * 32 * 3 / 4}),
        ("x = f32[8]{0} all-gather(y), replica_groups={{0,1}}", {"all-gather": 32 / 2}),
        (
            "x = bf16[2,4]{1,0} reduce-scatter(y), replica_groups=[1,8]<=[8]",
            {"reduce-scatter": 112},
        ),
        ("x = (f32[2], pred[3]) all-reduce(y, z), replica_groups={{0,1}}", {"all-reduce": 11}),
        ("x = s32[] collective-permute(y), source_target_pairs={{0,1}}", {"collective-permute": 4}),
        ("x = f32[8]{0} add(y, z)", {}),
    ],
)
def test_bytes_of_collectives_are_those_of_rings(line, moved):
    assert plan.bytes_moved(line) == moved


def test_layers_are_extended_by_a_line():
    one, two = plan.Cost(10.0, 100.0, {"a": 1.0}), plan.Cost(12.0, 150.0, {"a": 1.5, "b": 2.0})
    assert one.extended(two, 1) == plan.Cost(10.0, 100.0, {"a": 1.0, "b": 0.0})
    assert one.extended(two, 5) == plan.Cost(18.0, 300.0, {"a": 3.0, "b": 8.0})


@pytest.mark.slow
def test_five_layers_cost_what_one_and_two_foretell():
    (found,) = shared_programs.measured("plan_cases", ["data=2,fsdp=2,tensor=2"])
    one, two, five = (plan.Cost(*own) for own in found)
    foretold = one.extended(two, 5)
    assert foretold.flops == pytest.approx(five.flops, rel=0.01)
    assert foretold.moved.keys() == five.moved.keys()
    for kind, size in five.moved.items():
        assert foretold.moved[kind] == pytest.approx(size, rel=0.05), kind
    assert math.isfinite(foretold.temporary)
