"""A training made ready: model, state and compiled steps, on one device or on a mesh."""

from typing import Any, NamedTuple

import jax
from flax import nnx
from jax.sharding import Mesh

from attention_jax.core.types import Strategy
from attention_jax.data.batching import Batches
from attention_jax.nn.protocols import OverSequences
from attention_jax.parallel import mesh, plans
from attention_jax.parallel.layout import Layout, heads_of
from attention_jax.parallel.placement import Tree
from attention_jax.training import contexts, freezing, objectives
from attention_jax.training.config import TrainConfig
from attention_jax.training.objectives import Objective
from attention_jax.training.step import Build, Steps, TrainState, begin, compile_steps, start


class Prepared(NamedTuple):
    """A training that may begin.

    Attributes:
      graphdef: graph of the model.
      state: before the first update.
      steps: compiled functions.
      layout: on a mesh; None on one device.
    """

    graphdef: nnx.GraphDef
    state: TrainState
    steps: Steps
    layout: Layout | None


def prepare(
    build: Build, config: TrainConfig, objective: Objective = objectives.translation
) -> Prepared:
    """Model, state and steps of a training.

    Raises:
      ValueError: the mesh does not use the devices that are here, or the model has nothing that is
        to be frozen.
    """
    layout = layout_of(build, config)
    _check_frozen(build, config)
    graphdef, state = start(build, config.transform(), config.seed, layout)
    return Prepared(graphdef, state, _steps(graphdef, config, objective, layout), layout)


def layout_of(build: Build, config: TrainConfig) -> Layout | None:
    """The layout of a model on the mesh that a configuration names; None for a single device.

    Raises:
      ValueError: the mesh does not use the devices that are here.
    """
    text = config.mesh
    if not text and jax.process_count() > 1:
        raise ValueError(
            f"`mesh` must be given where {jax.process_count()} processes train together; got none. "
            "Use data=-1 to share each batch."
        )
    if not text:
        return None
    devices = mesh.make_mesh(mesh.parse(text))
    if devices.size == 1:
        return None
    return on_mesh(build, devices, config.context_strategy)


def on_mesh(build: Build, devices: Mesh, strategy: Strategy = "gather") -> Layout:
    """The layout of a model on a mesh, which may be of no devices.

    Args:
      strategy: by which attention divides sequences along `context`.
    """
    model = nnx.eval_shape(lambda: build(jax.random.key(0)))
    return Layout(
        devices,
        nnx.as_pure(nnx.split(model)[1]),
        heads_of(model),
        strategy=strategy,
        by_positions=isinstance(model, OverSequences),
        shortening=contexts.shortening_of(model),
    )


def laid_out(shapes: Tree, layout: Layout) -> Tree:
    """Shapes of a tree, where the layout has their arrays."""
    return jax.tree.map(_on, shapes, layout.shardings(shapes))


def plan(
    build: Build,
    config: TrainConfig,
    batches: Batches,
    objective: Objective = objectives.translation,
) -> plans.Plan | None:
    """The plan of a training on a mesh; None for a single device. A step is compiled for it.

    Raises:
      ValueError: the mesh does not use the devices that are here.
    """
    layout = layout_of(build, config)
    if layout is None:
        return None
    _check_frozen(build, config)
    graphdef, make = begin(build, config.transform(), config.seed)
    shapes = jax.eval_shape(make)
    state = laid_out(shapes, layout)
    whole: Any = _steps(graphdef, config, objective, layout).whole
    compiled = whole.lower(state, layout.place(batches[0])).compile()
    return plans.plan(layout, shapes, compiled)


def _on(x: Any, sharding: jax.sharding.Sharding) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)


def _check_frozen(build: Build, config: TrainConfig) -> None:
    """Refuses patterns of parameters that a model does not have."""
    if config.freeze:
        model = nnx.eval_shape(lambda: build(jax.random.key(0)))
        freezing.check(nnx.as_pure(nnx.split(model)[1]), config.freeze)


def _steps(
    graphdef: nnx.GraphDef, config: TrainConfig, objective: Objective, layout: Layout | None
) -> Steps:
    return compile_steps(
        graphdef,
        config.transform(),
        objective=objective,
        label_smoothing=config.label_smoothing,
        accumulate=config.accumulate,
        layout=layout,
        freeze=config.freeze,
    )
