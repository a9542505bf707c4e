"""Programs of a model as data: traced once, with named inputs and outputs, whatever the format.

A program's inputs are the weights that it needs, by their names, and its ports. The size of an axis
is a number, or a letter for any: b sequences, s positions of the source, t tokens, n positions for
which a cache has room.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.export
import jax.numpy as jnp
from flax import nnx
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal, Var, jaxpr_as_fun
from jaxtyping import Array, PyTree

from attention_jax.core import checks, jaxprs
from attention_jax.core.types import Length, Like

Call = Callable[..., Sequence[Array]]  # the inputs of a program -> its outputs
NEXT = "next."  # before the name of an output that is an input of the next call
# Of code that asks a symbol for its number.
_UNKNOWN = (jax.errors.InconclusiveDimensionOperation, TypeError, AttributeError)


class Sizes(NamedTuple):
    """Sizes that exported programs take.

    Attributes:
      batch: sequences or images of a call; None for any number.
      length: positions of a source, a text and a cache; None for any.
      longest: the most positions, where they are any; None for no bound.
    """

    batch: int | None = None
    length: int | None = None
    longest: int | None = None

    def check(self) -> None:
        """Raises ValueError where a size is no number of at least 1, or two exclude each other."""
        for name, value in self._asdict().items():
            if value is not None:
                checks.positive(name, value)
        if self.length is not None and self.longest is not None:
            checks.at_most("length", self.length, "longest", self.longest)

    def bounded(self, bound: int | None) -> "Sizes":
        """These sizes for a model that takes so many positions; None for any number.

        Raises:
          ValueError: `length` or `longest` has more.
        """
        if bound is None:
            return self
        for name in ("length", "longest"):
            if getattr(self, name) is not None:
                checks.at_most(name, getattr(self, name), "max_length", bound)
        return self if self.length is not None else self._replace(longest=self.longest or bound)

    def dims(self, letters: str) -> dict[str, Length]:
        """The size of each axis, symbols of one scope where it is any."""
        fixed = {"b": self.batch} | dict.fromkeys("stn", self.length)
        free = [x for x in letters if fixed[x] is None]
        most = [f"{x} <= {self.longest}" for x in free if x != "b" and self.longest is not None]
        symbols: Any = jax.export.symbolic_shape(", ".join(free), constraints=most) if free else ()
        given = {x: n for x in letters if (n := fixed[x]) is not None}
        return given | dict(zip(free, symbols, strict=True))


ANY = Sizes()


class Port(NamedTuple):
    """An input or an output.

    Attributes:
      name: such as "source", or "state.caches.0.keys" for a part of a state.
      shape: numbers, and letters or expressions of them.
      dtype: such as "float32".
    """

    name: str
    shape: tuple[int | str, ...]
    dtype: str


class Program(NamedTuple):
    """A traced program.

    Attributes:
      name: what it does, such as "encode".
      jaxpr: `(*weights, *inputs) -> outputs`.
      weights: names of those that it needs.
      inputs: its further inputs.
      outputs: what it computes.
      same: names of what it would give back unchanged, and of the inputs that these are.
    """

    name: str
    jaxpr: ClosedJaxpr
    weights: tuple[str, ...]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    same: Mapping[str, str] = {}

    @property
    def function(self) -> Callable[..., list[Array]]:
        """The program as a function, to be traced or run."""
        return jaxpr_as_fun(self.jaxpr)

    @property
    def shapes(self) -> list[jax.ShapeDtypeStruct]:
        """The inputs of the function."""
        return [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in self.jaxpr.in_avals]


def named(prefix: str, tree: PyTree) -> dict[str, Like]:
    """The leaves of a tree, arrays or their shapes, by their paths, which begin with a prefix.

    >>> list(named("x", {"a": [jax.numpy.zeros(2), jax.numpy.ones(3)]}))
    ['x.a.0', 'x.a.1']
    """
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    name = lambda path: jax.tree_util.keystr(path, simple=True, separator=".")  # noqa: E731
    return {".".join(x for x in (prefix, name(path)) if x): leaf for path, leaf in leaves}


def weights_of(model: nnx.Module) -> dict[str, Array]:
    """The parameters of a model by their names."""
    found: Any = named("", nnx.as_pure(nnx.split(model)[1]))
    return found


def trace(
    name: str,
    call: Callable[..., Mapping[str, PyTree]],
    model: nnx.Module,
    inputs: Mapping[str, PyTree],
) -> Program:
    """A program of a model.

    Args:
      name: of the program.
      call: `(model, *inputs) -> ` outputs by their names.
      model: whose parameters become inputs.
      inputs: trees of shapes by their names.

    Raises:
      ValueError: it cannot be traced where sizes are symbols.
    """
    graph, params = nnx.split(model)
    leaves, tree = jax.tree.flatten((nnx.as_pure(params), tuple(inputs.values())))
    given = [x for key, own in inputs.items() for x in named(key, own)]
    made: list[str] = []

    def flat(*leaves: Like) -> list[Like]:
        params, rest = jax.tree.unflatten(tree, leaves)
        found = call(nnx.merge(graph, params), *rest)
        outputs = {x: y for key, own in found.items() for x, y in named(key, own).items()}
        made[:] = list(outputs)
        return list(outputs.values())

    shapes = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in leaves]
    with _refusing(name, shapes):
        whole = jax.make_jaxpr(flat)(*shapes)
    return _pruned(name, whole, (list(weights_of(model)), given, made))


def shapes_of(name: str, call: Callable[..., PyTree], *inputs: PyTree) -> PyTree:
    """The shapes of what a function gives, which a program of that name will take.

    Raises:
      ValueError: it cannot be traced where sizes are symbols.
    """
    with _refusing(name, jax.tree.leaves(inputs)):
        return jax.eval_shape(call, *inputs)


@contextlib.contextmanager
def _refusing(name: str, shapes: Sequence[jax.ShapeDtypeStruct]) -> Iterator[None]:
    """Turns the errors of symbols whose numbers are asked for into one line."""
    try:
        yield
    except _UNKNOWN as error:
        if all(isinstance(n, int) for x in shapes for n in x.shape):
            raise
        why = str(error).strip().partition("\n")[0].partition(". ")[0].rstrip(".")
        raise ValueError(
            f"`{name}` of this model must be exported for sizes that are numbers, or at most some "
            f"`longest`; got symbols, of which its attention asks more than is known ({why}). "
            "Give `length` and `batch`, or `longest`."
        ) from error


def _pruned(
    name: str, whole: ClosedJaxpr, names: tuple[list[str], list[str], list[str]]
) -> Program:
    """The program without weights that it does not need, and outputs that only pass through."""
    weights, given, made = names
    jaxpr, consts = whole.jaxpr, whole.consts
    inside = jaxpr.invars[len(weights) :]
    names_of = dict(zip(inside, given, strict=True))
    named_next = [f"{NEXT}{x}" if x in given else x for x in made]
    results = list(zip(named_next, jaxpr.outvars, strict=True))
    same = {x: names_of[y] for x, y in results if isinstance(y, Var) and y in names_of}
    kept = [(x, y) for x, y in results if x not in same]
    used = dict(zip(weights, jaxprs.inputs_used(jaxpr), strict=False))
    needed = [x for x in weights if used[x]]
    inputs = [x for n, x in enumerate(jaxpr.invars) if n >= len(weights) or used[weights[n]]]
    own = Jaxpr(
        jaxpr.constvars, inputs, [x for _, x in kept], jaxpr.eqns, jaxpr.effects, jaxpr.debug_info
    )
    outputs = tuple(_port(x, y) for x, y in kept)
    ports = tuple(_port(x, y) for x, y in zip(given, inside, strict=True))
    return Program(name, ClosedJaxpr(own, consts), tuple(needed), ports, outputs, same)


def _port(name: str, value: Var | Literal) -> Port:
    """The port of an input or an output."""
    like: Any = value.aval
    shape = tuple(n if isinstance(n, int) else str(n) for n in like.shape)
    return Port(name, shape, jnp.dtype(like.dtype).name)
