"""Plans a training of a Transformer language model on devices that need not be here.

    python -m experiments.plan --mesh=data=64,tensor=8,context=4 --width=8192 --layers=64 \\
        --heads=64 --feed_forward=32768 --vocabulary_size=128000 --context=8192

Bytes of parameters and optimizer are counted. All else is read from an update that XLA compiles for
virtual devices of a CPU, at most 64: `data` has as many shares as fit, and as few as two. It is
compiled with one layer and with two; what a layer adds is extended to --layers. Sums over `data`
are counted as rings of the virtual shares: among many devices they move up to twice as much. XLA's
other backends fuse and lay out otherwise, so memory beside the state is a guide, not a bound.
"""

import math
import re
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import AbstractMesh, NamedSharding

from attention_jax.core.types import Strategy
from attention_jax.data.types import TokenBatch
from attention_jax.models import language
from attention_jax.nn.transformer import TransformerConfig
from attention_jax.parallel import plans
from attention_jax.parallel.layout import Layout
from attention_jax.parallel.mesh import AXES, MeshShape, make_mesh, parse
from attention_jax.parallel.placement import batch_spec
from attention_jax.training import objectives
from attention_jax.training.config import TrainConfig
from attention_jax.training.prepare import laid_out, on_mesh
from attention_jax.training.step import begin, compile_steps
from experiments.common import flags
from experiments.common.config import DeviceFlags, ModelFlags, TrainingFlags
from experiments.common.flags import Flag

MOST_DEVICES = 64
_COLLECTIVE = re.compile(
    r"= (.*?) (all-gather|all-reduce|reduce-scatter|all-to-all|collective-permute)(?:-start)?\("
)
_ARRAY = re.compile(r"\b(pred|[a-z]+\d+)\[([\d,]*)\]")
_LISTED, _COUNTED = (
    re.compile(r"replica_groups=\{\{([\d,]+)\}"),
    re.compile(r"groups=\[\d+,(\d+)\]"),
)


class PlanConfig(NamedTuple):
    """A training that is planned.

    Attributes:
      mesh: devices along each axis, as of a training.
      context_strategy: how attention reaches the keys of other devices of context, as of a
        training.
      vocabulary_size: tokens.
      context: positions of a sequence.
      rows: sequences in each share of a batch.
      teraflops: floating-point operations that a device does, in 10^12 a second, of what it can.
      gigabytes: what a device sends to others, in 10^9 bytes a second.
    """

    mesh: str = "data=8"
    context_strategy: Strategy = "gather"
    vocabulary_size: Annotated[int, Flag(low=8)] = 32_000
    context: Annotated[int, Flag(low=2)] = 1024
    rows: Annotated[int, Flag(low=1)] = 1
    teraflops: Annotated[float, Flag(low=1e-3)] = 400.0
    gigabytes: Annotated[float, Flag(low=1e-3)] = 100.0
    model: ModelFlags = ModelFlags(dropout=0.0)
    training: TrainingFlags = TrainingFlags()
    device: DeviceFlags = DeviceFlags()


class Cost(NamedTuple):
    """Numbers of an update, of one device.

    Attributes:
      temporary: bytes beside the training state.
      flops: floating-point operations.
      moved: bytes that it sends, by collective.
    """

    temporary: float
    flops: float
    moved: dict[str, float]

    def extended(self, second: "Cost", layers: int) -> "Cost":
        """This one, of one layer, with what `second` has more for each further layer."""
        line = lambda a, b: a + (layers - 1) * max(b - a, 0.0)  # noqa: E731
        kinds = sorted(self.moved | second.moved)
        moved = {k: line(self.moved.get(k, 0.0), second.moved.get(k, 0.0)) for k in kinds}
        return Cost(line(self.temporary, second.temporary), line(self.flops, second.flops), moved)


def main() -> None:
    config = flags.config_from_flags(PlanConfig())
    shape = parse(config.mesh)
    virtual = on_virtual_devices(shape)
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", math.prod(virtual))
    settings = config.training.settings(0)
    settings.check()
    one, two = (cost(config, settings, virtual, layers) for layers in (1, 2))
    print(*report(config, settings, shape, one.extended(two, config.model.layers)), sep="\n")
    print(f"(compiled for {virtual}: {math.prod(virtual)} virtual devices, 1 and 2 layers)")


def on_virtual_devices(shape: MeshShape) -> MeshShape:
    """The mesh with fewer shares of `data`, so that it has at most 64 devices.

    Raises:
      ValueError: the other axes alone have more, or an axis is open.

    >>> on_virtual_devices(MeshShape(data=64, tensor=8, context=4))
    MeshShape(data=2, fsdp=1, tensor=8, context=4)
    """
    if -1 in shape:
        raise ValueError(f"`--mesh` must say all numbers of a plan; got {shape} with -1.")
    others = math.prod(shape) // shape.data
    if others * min(shape.data, 2) > MOST_DEVICES:
        raise ValueError(
            f"`--mesh` must have at most {MOST_DEVICES} devices along fsdp, tensor and context, "
            f"half as many with data, to be compiled here; got {shape}. Plan fewer of them."
        )
    return shape._replace(data=min(shape.data, MOST_DEVICES // others))


def network(config: PlanConfig, layers: int) -> TransformerConfig:
    """The model's configuration with so many layers."""
    found: Any = config.model.network(config.vocabulary_size, max_length=config.context)
    return found._replace(layers=layers)


def cost(config: PlanConfig, settings: TrainConfig, shape: MeshShape, layers: int) -> Cost:
    """The cost of an update with so many layers, compiled for the devices of this process."""
    own = network(config, layers)
    build = lambda key: language.build(own, rngs=nnx.Rngs(key))  # noqa: E731
    layout = on_mesh(build, make_mesh(shape), config.context_strategy)
    graphdef, make = begin(build, settings.transform(), 0)
    steps: Any = compile_steps(
        graphdef, settings.transform(), objective=objectives.next_token, layout=layout
    )
    shapes = jax.eval_shape(make)
    state = laid_out(shapes, layout)
    compiled = steps.whole.lower(state, batch_of(config, layout)).compile()
    moved = bytes_moved(compiled.as_text())
    sizes, work = compiled.memory_analysis(), compiled.cost_analysis()
    return Cost(sizes.temp_size_in_bytes, work["flops"], moved)


def batch_of(config: PlanConfig, layout: Layout) -> TokenBatch:
    """Shapes of a batch, spread."""
    shape = (config.rows * layout.shape.rows, config.context)
    sharding = NamedSharding(layout.mesh, batch_spec(shape, layout.shape.context))
    ids, weights = (jax.ShapeDtypeStruct(shape, x, sharding=sharding) for x in (jnp.int32, "f4"))
    return TokenBatch(ids, ids, weights)


def bytes_moved(text: str) -> dict[str, float]:
    """Bytes that a device sends in a compiled program, by collective; rings are assumed.

    >>> line = "x = f32[8]{0} all-reduce(y), replica_groups=[2,4]<=[8]"
    >>> bytes_moved(line)
    {'all-reduce': 48.0}
    """
    found: dict[str, float] = {}
    for line in text.splitlines():
        if seen := _COLLECTIVE.search(line):
            kind, size = seen[2], sum(map(_bytes, _ARRAY.findall(seen[1])))
            share = {
                "all-reduce": lambda n: 2 * (n - 1) / n,
                "reduce-scatter": lambda n: n - 1,
                "collective-permute": lambda n: 1,
            }.get(kind, lambda n: (n - 1) / n)
            found[kind] = found.get(kind, 0.0) + size * share(_members(line))
    return found


def report(config: PlanConfig, settings: TrainConfig, shape: MeshShape, found: Cost) -> list[str]:
    """Lines of the plan."""
    own = network(config, config.model.layers)
    build = lambda key: language.build(own, rngs=nnx.Rngs(key))  # noqa: E731
    nowhere: Any = AbstractMesh(tuple(shape), AXES)
    layout = on_mesh(build, nowhere)
    state = jax.eval_shape(begin(build, settings.transform(), 0)[1])
    held = plans.plan(layout, state)._replace(temporary_bytes=int(found.temporary))
    moved = ", ".join(f"{size / 1e9:,.3g} GB by {kind}" for kind, size in found.moved.items())
    products = found.flops / (config.teraflops * 1e12)
    links = sum(found.moved.values()) / (config.gigabytes * 1e9)
    numbers = sum(math.prod(x.shape) for x in jax.tree.leaves(layout.params))
    tokens = config.rows * shape.rows * config.context
    return [
        f"model: {numbers:,} parameters; {tokens:,} tokens a step",
        str(held),
        f"  a device sends in a step: {moved or 'nothing'}",
        f"  a step: {found.flops / 1e12:,.3g} TFLOP a device, {products:,.3g} s at --teraflops="
        f"{config.teraflops:g}; links {links:,.3g} s at --gigabytes={config.gigabytes:g}: from "
        f"{max(products, links):,.3g} s, all hidden, to {products + links:,.3g} s, nothing hidden",
    ]


def _bytes(array: tuple[str, str]) -> int:
    kind, sizes = array
    width = 8 if kind == "pred" else int(kind.lstrip("abcdefghijklmnopqrstuvwxyz"))
    return math.prod(map(int, filter(None, sizes.split(",")))) * width // 8


def _members(line: str) -> int:
    """Devices of a group."""
    if found := _COUNTED.search(line):
        return int(found[1])
    found = _LISTED.search(line)
    return len(found[1].split(",")) if found else 2


if __name__ == "__main__":
    flags.launch(main, PlanConfig())
