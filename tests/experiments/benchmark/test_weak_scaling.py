"""Weak scaling: the work of a device stays, and what is sent is what theory says."""

import pytest
from jax.sharding import PartitionSpec

from attention_jax.parallel.mesh import AXES, MeshShape
from attention_jax.parallel.plans import Part, Plan
from experiments.benchmark import ring_theory, rows, virtual, weak_scaling
from experiments.benchmark.rows import Results, Row
from experiments.benchmark.weak_scaling import DEVICES, as_row, config_of
from tests.support.paths import ROOT

COMMITTED = ROOT / "experiments/results/weak_scaling.json"
FOUND = {
    "temporary": 4_000_000,
    "flops": 3e9,
    "moved": {"all-reduce": 1.5e6},
    "pairs": 1e9,
    "open_loops": 0,
    "state_bytes": 2_000_000,
    "theory": {"all-reduce": 1e6, "all-gather": 5e5},
    "sizes": {},
}


def part(numbers, *spec):
    return Part("path", (numbers,), PartitionSpec(*spec), 1, numbers, "")


def products(config):
    """Numbers of the matrices by which each token is multiplied."""
    own = config.model
    layer = 4 * own.width**2 + 2 * own.width * own.feed_forward
    return own.layers * layer + config.vocabulary_size * own.width


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("devices", DEVICES)
def test_the_work_of_a_device_stays(axis, devices):
    one, config = config_of(axis, 1), config_of(axis, devices)
    tokens = config.context / (devices if axis == "context" else 1)
    shares = devices if axis == "tensor" else 1
    work = tokens * config.rows * products(config) / shares
    expected = one.context * one.rows * products(one)
    # 3/2 in place of sqrt(2) is 9/8 of the square.
    uneven = axis == "tensor" and devices in (2, 8, 32)
    assert work == expected * (9 / 8 if uneven else 1)
    assert config.model.heads % shares == 0 and config.vocabulary_size % shares == 0


@pytest.mark.parametrize("devices", [1, 2, 64])
def test_theory_counts_parameters_and_activations(devices):
    """By loops over what is sent, array by array, in rings of n steps."""

    def ring(size):
        """Bytes of n - 1 steps, in each of which an n-th goes to the neighbor."""
        return sum(size / devices for _ in range(devices - 1))

    parts = (part(640, "fsdp"), part(1920, None, "fsdp", "tensor"), part(100), part(60, "tensor"))
    for axis in AXES:
        config, held = config_of(axis, devices), Plan(MeshShape(**{axis: devices}), parts, 0, 0)
        row = 4 * config.context * config.model.width
        layers = range(config.model.layers)
        divided = [4 * x.numbers for x in parts if axis in x.spec]
        whole = [4 * x.numbers for x in parts if axis not in x.spec]
        expected = {
            "data": {"all-reduce": sum(2 * ring(size) for size in whole)},
            "fsdp": {
                "all-gather": sum(map(ring, divided)),
                "all-reduce": sum(2 * ring(size) for size in whole),
                "reduce-scatter": sum(map(ring, divided)),
            },
            "tensor": {"all-reduce": sum(4 * 2 * ring(row) for _ in layers) + 2 * 2 * ring(row)},
            "context": {
                "all-gather": sum(2 * ring(row) for _ in layers),
                "all-reduce": sum(2 * ring(size) for size in whole),
                "reduce-scatter": sum(2 * ring(row) for _ in layers),
            },
        }[axis]
        assert ring_theory.moved(axis, config, held) == pytest.approx(expected)


@pytest.mark.parametrize("axis", AXES)
def test_committed_points_are_there_and_compute_what_their_sizes_say(axis):
    own = [row for row in rows.read(COMMITTED).rows if row.case["axis"] == axis]
    assert [row.case["devices"] for row in own] == list(DEVICES)
    for row in own:
        config = config_of(axis, row.case["devices"])
        shares = row.case["devices"] if axis in ("tensor", "context") else 1
        # Forward, and backward for inputs and for parameters.
        expected = 3 * 2 * config.context * products(config) / shares
        assert row.flops - row.facts["pairs"] == pytest.approx(expected, rel=1e-3), row.case
        assert not row.facts["open_loops"]


@pytest.mark.parametrize("axis", ["data", "fsdp", "context"])
def test_committed_points_send_what_theory_says(axis):
    """Beside it there are sums of the loss, and of the entries of a batch: less than 1 %."""
    for row in rows.read(COMMITTED).rows:
        if row.case["axis"] == axis:
            moved = {kind: size for kind, size in row.facts["moved"].items() if size > 1e5}
            expected = {kind: size for kind, size in row.facts["theory"].items() if size > 1e5}
            assert moved == pytest.approx(expected, rel=0.01), row.case


def test_a_line_shows_what_was_measured_beside_theory():
    results = Results("weak_scaling", {}, (), (as_row("fsdp", 2, FOUND), as_row("data", 2, FOUND)))
    *_, line = weak_scaling.lines(results, "fsdp")
    kinds = "all-gather 0.0 / 0.5, all-reduce 1.5 / 1.0"
    assert line == f"| 2 | 3.00 | 1.00 | 1.5 | 1.5 | {kinds} | 4.0 | 2.0 |"
    assert len(weak_scaling.lines(results, "fsdp")) == 3


def test_a_figure_has_a_column_for_each_axis(tmp_path):
    points = tuple(as_row(axis, n, FOUND) for axis in ("data", "tensor") for n in (1, 2))
    weak_scaling.plot(Results("weak_scaling", {}, (), points), str(tmp_path / "weak.png"))
    assert (tmp_path / "weak.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_a_point_is_compiled_with_its_devices():
    row = as_row("data", 2, virtual.call(weak_scaling.MODULE, 2, "data", 2))
    assert row.facts["moved"] == pytest.approx(row.facts["theory"], rel=1e-4)
    assert isinstance(row, Row) and row.temporary_bytes > 4 * products(config_of("data", 2))
