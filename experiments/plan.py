"""Plans a training of a Transformer language model on devices that need not be here.

    python -m experiments.plan --mesh=data=64,tensor=8,context=4 --width=8192 --layers=64 \\
        --heads=64 --feed_forward=32768 --vocabulary_size=128000 --context=8192

Bytes of parameters and optimizer are counted. All else is read from an update that XLA compiles for
virtual devices of a CPU, at most 64: `data` has as many shares as fit, and as few as two; what is
summed over it is counted as a ring of all its shares. It is compiled with one layer and with two,
and what a layer adds is extended to --layers; with --scan, whose loop compiles as fast with many,
it is compiled as it is. XLA's other backends fuse and lay out otherwise, so memory beside the state
is a guide, not a bound.
"""

import math
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
from experiments.common import flags, programs
from experiments.common.config import DeviceFlags, ModelFlags, TrainingFlags
from experiments.common.flags import Flag
from experiments.common.programs import Widened

MOST_DEVICES = 64


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
      flops: floating-point operations of matrix products.
      moved: bytes that it sends, by collective; rings are assumed.
      pairs: those of `flops` that pair queries with keys, and weights with values.
      open_loops: loops that are counted once, as their number of turns is not known.
    """

    temporary: float
    flops: float
    moved: dict[str, float]
    pairs: float = 0.0
    open_loops: int = 0

    def extended(self, second: "Cost", layers: int) -> "Cost":
        """This one, of one layer, with what `second` has more for each further layer."""
        line = lambda a, b: a + (layers - 1) * max(b - a, 0.0)  # noqa: E731
        kinds = sorted(self.moved | second.moved)
        return Cost(
            line(self.temporary, second.temporary),
            line(self.flops, second.flops),
            {k: line(self.moved.get(k, 0.0), second.moved.get(k, 0.0)) for k in kinds},
            line(self.pairs, second.pairs),
            max(self.open_loops, second.open_loops),
        )


def main() -> None:
    config = flags.config_from_flags(PlanConfig())
    shape = parse(config.mesh)
    virtual = on_virtual_devices(shape)
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", math.prod(virtual))
    settings = config.training.settings(0)
    settings.check()
    depths = (config.model.layers,) if config.model.scan else (1, 2)
    found = [cost(config, settings, virtual, layers, shape.data) for layers in depths]
    whole = found[0].extended(found[-1], config.model.layers) if len(found) > 1 else found[0]
    print(*report(config, settings, shape, whole), sep="\n")
    said = f"compiled for {virtual}: {math.prod(virtual)} virtual devices"
    print(f"({said}, {' and '.join(map(str, depths))} layers)")
    if whole.open_loops:
        print(f"({whole.open_loops} loops of unknown length are counted once)")


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


def cost(
    config: PlanConfig,
    settings: TrainConfig,
    shape: MeshShape,
    layers: int,
    shares: int | None = None,
) -> Cost:
    """The cost of an update with so many layers, compiled for the devices of this process.

    Args:
      config: the training.
      settings: its optimizer.
      shape: the mesh of the devices of this process.
      layers: of the model.
      shares: of `data` that there are; those of the mesh stand for them.
    """
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
    work = programs.read(compiled.as_text(), Widened(shape.data, shares or shape.data))
    temporary = compiled.memory_analysis().temp_size_in_bytes
    return Cost(temporary, work.flops, work.moved, work.pairs, work.open_loops)


def batch_of(config: PlanConfig, layout: Layout) -> TokenBatch:
    """Shapes of a batch, spread."""
    shape = (config.rows * layout.shape.rows, config.context)
    sharding = NamedSharding(layout.mesh, batch_spec(shape, layout.shape.context))
    ids, weights = (jax.ShapeDtypeStruct(shape, x, sharding=sharding) for x in (jnp.int32, "f4"))
    return TokenBatch(ids, ids, weights)


def held(config: PlanConfig, settings: TrainConfig, shape: MeshShape) -> plans.Plan:
    """How parameters and optimizer are divided among devices that need not be here."""
    own = network(config, config.model.layers)
    build = lambda key: language.build(own, rngs=nnx.Rngs(key))  # noqa: E731
    nowhere: Any = AbstractMesh(tuple(shape), AXES)
    state = jax.eval_shape(begin(build, settings.transform(), 0)[1])
    return plans.plan(on_mesh(build, nowhere), state)


def report(config: PlanConfig, settings: TrainConfig, shape: MeshShape, found: Cost) -> list[str]:
    """Lines of the plan."""
    plan = held(config, settings, shape)._replace(temporary_bytes=int(found.temporary))
    moved = ", ".join(f"{size / 1e9:,.3g} GB by {kind}" for kind, size in found.moved.items())
    products = found.flops / (config.teraflops * 1e12)
    links = sum(found.moved.values()) / (config.gigabytes * 1e9)
    numbers = sum(part.numbers for part in plan.parts)
    tokens = config.rows * shape.rows * config.context
    return [
        f"model: {numbers:,} parameters; {tokens:,} tokens a step",
        str(plan),
        f"  a device sends in a step: {moved or 'nothing'}",
        f"  a step: {found.flops / 1e12:,.3g} TFLOP a device, {products:,.3g} s at --teraflops="
        f"{config.teraflops:g}; links {links:,.3g} s at --gigabytes={config.gigabytes:g}: from "
        f"{max(products, links):,.3g} s, all hidden, to {products + links:,.3g} s, nothing hidden",
    ]


if __name__ == "__main__":
    flags.launch(main, PlanConfig())
