"""Training step: one update of the parameters, as pure functions on a pytree."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax.tree_util import tree_leaves_with_path
from jaxtyping import Array, Float, Int, PRNGKeyArray, UInt32

from attention_jax.core.types import Params
from attention_jax.parallel.layout import Layout
from attention_jax.parallel.rules import path_name
from attention_jax.training import contexts, freezing, objectives
from attention_jax.training.objectives import Objective

# This generator gives the same numbers on every device; on CPU no other is faster.
GENERATOR = "threefry2x32"

Build = Callable[[PRNGKeyArray], object]  # random key -> model, an nnx.Module


class Given(NamedTuple):
    """A build whose model begins with parameters that are there, in place of random ones.

        fit(Given(build, params), batches, evaluate, "run", config)

    Attributes:
      build: makes the model from a random key.
      params: its first parameters, which stay as they are: training has a copy.
    """

    build: Callable[[PRNGKeyArray], nnx.Module]
    params: Params

    def __call__(self, key: PRNGKeyArray) -> nnx.Module:
        return self.build(key)


class Totals(NamedTuple):
    """Sums since the last log row, kept on the device so that no step waits for the host."""

    loss: Float[Array, ""]
    tokens: Float[Array, ""]  # number of predictions
    correct: Float[Array, ""]
    gradient_norm: Float[Array, ""]  # summed over updates

    @classmethod
    def zero(cls) -> "Totals":
        # One buffer each: a donated state must not hold the same buffer twice.
        return cls(*(jnp.zeros((), jnp.float32) for _ in cls._fields))


class TrainState(NamedTuple):
    """State that an update reads and writes."""

    step: Int[Array, ""]
    params: Params
    opt: Any
    key: UInt32[Array, " words"]  # key data of the dropout key
    totals: Totals


class Steps(NamedTuple):
    """Compiled functions of training.

    Attributes:
      whole: `(state, batch) -> (state, totals)`, one update from one batch, and its sums.
      gather: `(state, batch, index, gradient, totals) -> (gradient, totals)`, accumulates a batch.
      update: `(state, gradient, totals) -> (state, totals)`, one update from what is accumulated.
      zeros: `(params) -> gradient` of zeros.

    `whole` and `update` donate the state.
    """

    whole: Callable[[TrainState, Any], tuple[TrainState, Totals]]
    gather: Callable[..., tuple[Params, Totals]]
    update: Callable[[TrainState, Params, Totals], tuple[TrainState, Totals]]
    zeros: Callable[[Params], Params]


def start(
    build: Build,
    transform: optax.GradientTransformation,
    seed: int,
    layout: Layout | None = None,
) -> tuple[nnx.GraphDef, TrainState]:
    """Graph of the model and initial training state.

    On one device operations run one by one, so that the parameters of one shape share their
    programs: as one program, as on a mesh, they compile three times as long, and are the same.

    Args:
      build: makes the model from a random key; or `Given`, with its first parameters.
      transform: the optimizer.
      seed: seed of the parameters and of dropout.
      layout: where the state lies; by default on one device. The numbers are the same.

    Raises:
      ValueError: parameters that are given are not those of the model.
    """
    if isinstance(build, Given):
        return _start_with(build, transform, seed, layout)
    if layout is None:
        graphdef, variables = nnx.split(build(jax.random.key(seed, impl=GENERATOR)))
        params = nnx.as_pure(variables)
        return graphdef, _first_state(params, jax.jit(transform.init)(params), seed)
    graphdef, state = begin(build, transform, seed)
    return graphdef, jax.jit(state, out_shardings=layout.shardings(jax.eval_shape(state)))()


def _start_with(
    given: Given, transform: optax.GradientTransformation, seed: int, layout: Layout | None
) -> tuple[nnx.GraphDef, TrainState]:
    """As `start`, with parameters as an argument: a constant would be a part of the program."""
    graphdef, state = begin(given, transform, seed)
    shapes = jax.eval_shape(state)
    _check_alike(given.params, shapes.params)

    def first(params: Params) -> TrainState:
        return _first_state(params, transform.init(params), seed)

    if layout is None:
        params = jax.tree.map(jnp.array, given.params)
        return graphdef, _first_state(params, jax.jit(transform.init)(params), seed)
    shardings = layout.shardings(shapes)
    return graphdef, jax.jit(first, out_shardings=shardings)(layout.put(given.params))


def _check_alike(params: Params, wanted: Params) -> None:
    """Raises ValueError where parameters are not of the shapes of a model's."""
    own, other = (
        {path_name(path): (x.shape, str(x.dtype)) for path, x in tree_leaves_with_path(tree)}
        for tree in (params, wanted)
    )
    if differ := sorted(name for name in own | other if own.get(name) != other.get(name)):
        name = differ[0]
        raise ValueError(
            f"`params` must be those of the model; {name} is {own.get(name, 'missing')}, and "
            f"{other.get(name, 'no parameter')} in the model. Build the model that they are of."
        )


def begin(
    build: Build, transform: optax.GradientTransformation, seed: int
) -> tuple[nnx.GraphDef, Callable[[], TrainState]]:
    """As `start`, with a function that makes the state: `jax.eval_shape` of it computes nothing."""

    def state() -> TrainState:
        params = nnx.as_pure(nnx.split(build(jax.random.key(seed, impl=GENERATOR)))[1])
        return _first_state(params, transform.init(params), seed)

    graphdef = nnx.graphdef(nnx.eval_shape(lambda: build(jax.random.key(seed, impl=GENERATOR))))
    return graphdef, state


def _first_state(params: Params, opt: Any, seed: int) -> TrainState:
    key = jax.random.key_data(jax.random.key(seed, impl=GENERATOR))
    return TrainState(jnp.zeros((), jnp.int32), params, opt, key, Totals.zero())


def compile_steps(
    graphdef: nnx.GraphDef,
    transform: optax.GradientTransformation,
    *,
    objective: Objective = objectives.translation,
    label_smoothing: float = 0.0,
    accumulate: int = 1,
    layout: Layout | None = None,
    freeze: Sequence[str] = (),
) -> Steps:
    """Compiled updates `params - optimizer(d loss / d params)` of the mean loss per prediction.

    Losses and gradients are summed over predictions and divided once, so that `accumulate` batches
    give the gradient of one large batch, however their tokens are spread.

    Args:
      graphdef: graph of the model.
      transform: the optimizer.
      objective: minimized.
      label_smoothing: probability spread evenly over all tokens.
      accumulate: batches accumulated into one update.
      layout: of state and batches on a mesh; by default they lie on one device.
      freeze: regular expressions; parameters in whose path one occurs stay as they are.
    """

    if layout is not None and layout.context is not None:
        graphdef = contexts.divided(graphdef, layout.params, layout.context)

    def loss(params, batch, key):
        model, rngs = nnx.merge(graphdef, params), nnx.Rngs(dropout=key)
        found = objective(model, batch, rngs=rngs, label_smoothing=label_smoothing)
        return found.loss, found

    gradient_of = _plain(loss) if layout is None else layout.gradient(loss, jax.random.fold_in)

    def gather(state, batch, index, gradient, totals):
        key = jax.random.wrap_key_data(state.key, impl=GENERATOR)
        key = jax.random.fold_in(key, state.step * accumulate + index)
        sums, new = gradient_of(state.params, batch, key)
        new = freezing.without(new, freeze)
        added = jax.tree.map(_as_float32, Totals(*sums, jnp.zeros_like(sums.loss)))
        with jax.named_scope("optimizer"):
            return optax.tree.add(gradient, new), optax.tree.add(totals, added)

    def update(state, gradient, totals):
        found, sums = _updated(transform, state, gradient, totals)
        params = freezing.kept(state.params, found.params, freeze)
        return found._replace(params=params), sums

    def whole(state, batch):
        return update(state, *gather(state, batch, 0, zeros(state.params), Totals.zero()))

    shardings = (None, None) if layout is None else _shardings(layout, transform)
    return _compiled(whole, gather, update, *shardings)


def _compiled(
    whole: Callable, gather: Callable, update: Callable, of_state: Any, of_params: Any
) -> Steps:
    """The functions compiled, with their outputs where shardings say; None for one device."""
    if of_state is None:
        return Steps(
            jax.jit(whole, donate_argnums=0),
            jax.jit(gather, donate_argnums=(3, 4)),
            jax.jit(update, donate_argnums=0),
            zeros,
        )
    return Steps(
        jax.jit(whole, donate_argnums=0, out_shardings=(of_state, None)),
        jax.jit(gather, donate_argnums=(3, 4), out_shardings=(of_params, None)),
        jax.jit(update, donate_argnums=0, out_shardings=(of_state, None)),
        jax.jit(partial(jax.tree.map, jnp.zeros_like), out_shardings=of_params),
    )


def _shardings(
    layout: Layout, transform: optax.GradientTransformation
) -> tuple[TrainState, Params]:
    """Where a training state and its parameters lie."""
    step: Any = jax.ShapeDtypeStruct((), jnp.int32)
    key: Any = jax.ShapeDtypeStruct((2,), jnp.uint32)
    opt = jax.eval_shape(transform.init, layout.params)
    totals = jax.eval_shape(Totals.zero)
    found = layout.shardings(TrainState(step, layout.params, opt, key, totals))
    return found, found.params


def _plain(loss: Callable) -> Callable:
    """Sums and gradient on one device."""

    def gradient(params, batch, key):
        (_, sums), found = jax.value_and_grad(loss, has_aux=True)(params, batch, key)
        return sums, found

    return gradient


def _updated(
    transform: optax.GradientTransformation, state: TrainState, gradient: Params, totals: Totals
) -> tuple[TrainState, Totals]:
    """State after an update by the accumulated gradient, and the sums with its norm."""
    with jax.named_scope("optimizer"):
        gradient = jax.tree.map(lambda g: g / totals.tokens.astype(g.dtype), gradient)
        change, opt = transform.update(gradient, state.opt, state.params)
        totals = totals._replace(gradient_norm=_as_float32(optax.tree.norm(gradient)))
        params = optax.apply_updates(state.params, change)
    state = TrainState(
        step=state.step + 1,
        params=params,
        opt=opt,
        key=state.key,
        totals=optax.tree.add(state.totals, totals),
    )
    return state, totals


@jax.jit
def zeros(params: Params) -> Params:
    """A gradient of zeros."""
    return jax.tree.map(jnp.zeros_like, params)


@jax.jit
def all_finite(tree: Params) -> Array:
    """True unless a leaf holds a NaN or an infinity."""
    finite = jax.tree.map(lambda x: jnp.all(jnp.isfinite(x)), tree)
    return jax.tree.reduce(jnp.logical_and, finite, jnp.array(True))


def _as_float32(x: Array) -> Array:
    return jnp.asarray(x, jnp.float32)
