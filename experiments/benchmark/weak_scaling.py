"""Weak scaling of a training on a mesh: what one device computes, sends and holds among up to 64.

    python -m experiments.benchmark.weak_scaling --output=experiments/results/weak_scaling.json \\
        --picture=experiments/results/weak_scaling.png

An update of a Transformer language model is compiled for n virtual devices along one axis, and
nothing is run: products of matrices and collectives are read from the compiled program, memory is
what XLA plans. The work of a device is held as nearly the same as an axis allows:

- data, fsdp: a row for each device.
- tensor: width, heads, feed-forward layer and vocabulary grow as sqrt(n), so that parameters and
  products of a device stay; sqrt(2) is rounded to 3/2, which makes 9/8 of it at 2, 8 and 32. Of
  attention's products, which grow with the width alone, a device has 1/sqrt(n).
- context: one row, whose length grows as n. Pairs of queries and keys then grow as n for each
  device, whatever is done; they are counted apart.

Points that --output has already are not compiled again, unless --anew asks for it: so a run that
was stopped goes on, and --axes=context --anew measures one axis again.
"""

import math
from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from attention_jax.analysis.plots import style
from attention_jax.parallel.mesh import AXES, MeshShape
from experiments import plan
from experiments.benchmark import ring_theory, rows, virtual
from experiments.benchmark.rows import Results, Row
from experiments.common import flags
from experiments.common.config import DeviceFlags, ModelFlags
from experiments.common.flags import Flag
from experiments.common.markdown import table
from experiments.plan import PlanConfig

SUITE = "weak_scaling"
MODULE = f"experiments.benchmark.{SUITE}"
DEVICES = (1, 2, 4, 8, 16, 32, 64)
BASE = PlanConfig(
    mesh="data=1",
    rows=1,
    context=512,
    vocabulary_size=8192,
    model=ModelFlags(width=256, heads=16, layers=4, feed_forward=1024, dropout=0.0),
)
_GROWN = ("width", "heads", "feed_forward", "vocabulary_size")  # along tensor, as sqrt(n)


class WeakScaling(NamedTuple):
    """A measurement of weak scaling.

    Attributes:
      axes: of the mesh: some of data, fsdp, tensor and context.
      most: devices, of 1, 2, 4 and so on.
      anew: measure what the file has already, too.
      output: JSON file of the results.
      picture: file of a figure; its suffix names the format.
    """

    axes: Annotated[tuple[str, ...], Flag(listed=True)] = AXES
    most: Annotated[int, Flag(low=1, high=64)] = 64
    anew: bool = False
    output: str | None = None
    picture: str | None = None


def main() -> None:
    """Compiles point after point, prints each, and writes all there are."""
    config = flags.config_from_flags(WeakScaling())
    if not config.axes or not set(config.axes) <= set(AXES):
        raise ValueError(f"`--axes` must be some of {','.join(AXES)}; got {','.join(config.axes)}.")
    results = virtual.begun(SUITE, config.output, chosen=("--axes", "--most", "--anew"))
    asked = [(axis, n) for axis in config.axes for n in DEVICES if n <= config.most]
    done = set() if config.anew else {tuple(row.case.values()) for row in results.rows}
    for axis, devices in (point for point in asked if point not in done):
        row = as_row(axis, devices, virtual.call(MODULE, devices, axis, devices))
        print("  ".join(_cells(row)), flush=True)
        results = virtual.with_row(
            results, row, lambda own: (AXES.index(own.case["axis"]), own.case["devices"])
        )
        rows.write(results, config.output)
    if config.picture:
        plot(results, config.picture)


def config_of(axis: str, devices: int) -> PlanConfig:
    """The training on so many devices along an axis.

    >>> config_of("tensor", 8).model.width, config_of("context", 8).context
    (768, 4096)
    """
    mesh = str(MeshShape(**{axis: devices}))
    if axis == "tensor":
        doublings = devices.bit_length() - 1
        twice = 2 ** (doublings // 2) * (3 if doublings % 2 else 2)  # 2 sqrt(n), or nearly so
        own = flags.values(BASE)
        return flags.replace(BASE, mesh=mesh, **{name: own[name] * twice // 2 for name in _GROWN})
    return flags.replace(BASE, mesh=mesh, context=512 * devices if axis == "context" else 512)


def measure(axis: str, devices: int) -> dict[str, Any]:
    """A point, in a process that has so many devices."""
    config = config_of(axis, devices)
    settings, shape = config.training.settings(0), MeshShape(**{axis: devices})
    found = plan.cost(config, settings, shape, config.model.layers)
    held = plan.held(config, settings, shape)
    return found._asdict() | {
        "state_bytes": held.parameter_bytes + held.optimizer_bytes,
        "theory": ring_theory.moved(axis, config, held),
        "sizes": {name: flags.values(config)[name] for name in (*_GROWN, "context")}
        | {"rows": config.rows * shape.rows},
    }


def as_row(axis: str, devices: int, found: dict[str, Any]) -> Row:
    """Findings of `measure`, as a row."""
    kept = ("pairs", "moved", "theory", "state_bytes", "open_loops", "sizes")
    return Row(
        suite=SUITE,
        case={"axis": axis, "devices": devices},
        temporary_bytes=found["temporary"],
        flops=found["flops"],
        facts={name: found[name] for name in kept},
    )


def lines(results: Results, axis: str) -> list[str]:
    """The table of an axis, a number of devices in each line."""
    titles = (
        axis,
        "GFLOP",
        "of them pairs",
        "sends, MB",
        "theory, MB",
        "by collective, measured / theory",
        "temporary, MB",
        "state, MB",
    )
    own = [row for row in results.rows if row.case["axis"] == axis]
    return table(titles, map(_cells, own))


def _cells(row: Row) -> tuple[str, ...]:
    moved, theory = row.facts["moved"], row.facts["theory"]
    kinds = [kind for kind in sorted(moved | theory) if max(_of(moved, kind), _of(theory, kind))]
    beside = (f"{kind} {_mb(_of(moved, kind))} / {_mb(_of(theory, kind))}" for kind in kinds)
    return (
        str(row.case["devices"]),
        f"{(row.flops or 0) / 1e9:.2f}",
        f"{row.facts['pairs'] / 1e9:.2f}",
        _mb(sum(moved.values())),
        _mb(sum(theory.values())),
        ", ".join(beside) or "-",
        _mb(row.temporary_bytes or 0),
        _mb(row.facts["state_bytes"]),
    )


def _of(moved: dict[str, float], kind: str) -> float:
    return moved.get(kind, 0.0)


def _mb(size: float) -> str:
    return f"{size / 1e6:,.1f}"


def plot(results: Results, path: str | None = None) -> Figure:
    """Draws products, bytes sent and memory against devices, an axis of the mesh in each column.

    Args:
      results: of some axes.
      path: the file to write; its suffix names the format.
    """
    axes = [axis for axis in AXES if any(row.case["axis"] == axis for row in results.rows)]
    figure, panels = style.figure(
        3, len(axes), size=(3.2 * len(axes), 7.8), share_x=True, share_y="row"
    )
    for column, axis in enumerate(axes):
        own = [row for row in results.rows if row.case["axis"] == axis]
        _draw(panels[0, column], own, _products(own), f"{axis}: products, GFLOP")
        _draw(panels[1, column], own, _links(own), "sends in a step, MB")
        _draw(panels[2, column], own, _memory(own), "holds, MB")
        panels[2, column].set_xlabel("devices")
    for row in panels:
        style.legend(row[0])
    return style.saved(figure, path)


Series = dict[str, list[float]]


def _products(own: Sequence[Row]) -> Series:
    pairs = [row.facts["pairs"] / 1e9 for row in own]
    whole = [(row.flops or 0) / 1e9 for row in own]
    return {
        "of parameters": [a - b for a, b in zip(whole, pairs, strict=True)],
        "of pairs": pairs,
    }


def _links(own: Sequence[Row]) -> Series:
    return {
        name: [sum(row.facts[fact].values()) / 1e6 for row in own]
        for name, fact in (("compiled", "moved"), ("theory", "theory"))
    }


def _memory(own: Sequence[Row]) -> Series:
    return {
        "temporary": [(row.temporary_bytes or 0) / 1e6 for row in own],
        "parameters and optimizer": [row.facts["state_bytes"] / 1e6 for row in own],
    }


def _draw(axes: Axes, own: Sequence[Row], series: Series, title: str) -> None:
    devices = [row.case["devices"] for row in own]
    for color, marker, (name, values) in zip(
        style.COLORS, style.MARKERS, series.items(), strict=False
    ):
        line = "--" if name == "theory" else "-"
        shown = [value or math.nan for value in values]  # one device sends nothing
        axes.plot(devices, shown, line, color=color, marker=marker, markersize=4, label=name)
    style.length_axis(axes, devices)
    style.log_axis(axes)
    style.panel(axes, title)


if __name__ == "__main__":
    flags.launch(main, WeakScaling(), DeviceFlags())
