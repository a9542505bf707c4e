"""Argument checks with one wording: the argument, the rule, the value, the remedy.

They look at shapes and dtypes only, so they cost nothing inside `jit`.
"""

import linecache
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Array

from attention_jax.core.types import Like, MaskFunction, Score, ScoreMod


def positive(name: str, value: object, *, remedy: str = "") -> None:
    """Raises unless `value` is an integer of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(
            _line(f"`{name}` must be a whole number of at least 1; got {value!r}.", remedy)
        )


def fraction(name: str, value: object, *, remedy: str = "") -> None:
    """Raises unless `value` is a Python number in [0, 1)."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1:
        raise ValueError(
            _line(f"`{name}` must be a Python number in [0, 1); got {value!r}.", remedy)
        )


def one_of(name: str, value: object, choices: Sequence[object]) -> None:
    """Raises unless `value` is one of `choices`."""
    if value not in choices:
        listed = ", ".join(repr(choice) for choice in choices)
        raise ValueError(f"`{name}` must be one of {listed}; got {value!r}.")


def shape(name: str, array: ArrayLike | Like, axes: str, *, remedy: str = "") -> None:
    """Raises unless `array` has one axis for each letter of `axes`."""
    if jnp.ndim(array) != len(axes.split()):
        raise ValueError(
            _line(f"`{name}` must have shape [{axes}]; got {jnp.shape(array)}.", remedy)
        )


def floating(name: str, array: ArrayLike | Like) -> None:
    """Raises unless `array` holds real floating-point numbers."""
    if not jnp.issubdtype(jnp.result_type(array), jnp.floating):
        raise ValueError(
            f"`{name}` must hold floating-point numbers; got {jnp.result_type(array)}. "
            f"Convert it with `.astype(jnp.float32)`."
        )


def attention_arrays(query: Like, key: Like, value: Like) -> None:
    """Raises unless the arrays fit each other as `[b t h d]`, `[b s g d]`, `[b s g e]`."""
    for name, array, axes in (
        ("query", query, "b t h d"),
        ("key", key, "b s g d"),
        ("value", value, "b s g e"),
    ):
        shape(name, array, axes, remedy="For one sequence add a batch axis: `x[None]`.")
        floating(name, array)
    _same("key", key, "query", query, axis=0, what="batch size")
    _same("value", value, "key", key, axis=0, what="batch size")
    _same("value", value, "key", key, axis=1, what="length")
    _same("value", value, "key", key, axis=2, what="number of heads")
    heads, groups = query.shape[2], key.shape[2]
    if groups == 0 or heads % groups:
        raise ValueError(
            f"The heads of `key` must divide those of `query`; got {groups} and {heads}. "
            "Project keys and values to a number of heads that does."
        )


def score_function(score: Score, query: Like, key: Like, dtype: DTypeLike) -> ClosedJaxpr:
    """Traces a score of one query and one key; raises unless it returns a real scalar.

    A score may allow a key of another width than the query, as additive attention can.
    """
    q, k = (jax.ShapeDtypeStruct(array.shape[-1:], dtype) for array in (query, key))
    try:
        program, result = _traced("score", score, q, k)
    except TypeError:
        if q.shape != k.shape:
            _same("key", key, "query", query, axis=3, what="width")
        raise
    if result.shape != () or not jnp.issubdtype(result.dtype, jnp.floating):
        raise ValueError(
            f"`score` must return one floating-point number for a query [d] and a key [d]; "
            f"got {result.dtype}{list(result.shape)}. Sum over the width, as `q @ k` does. "
            f"It is {shown(score)}."
        )
    return program


def score_mod_function(score_mod: ScoreMod, dtype: DTypeLike) -> ClosedJaxpr:
    """Traces a score modifier; raises unless it returns a real scalar."""
    score = jax.ShapeDtypeStruct((), dtype)
    program, result = _traced("score_mod", score_mod, score, *_POSITIONS)
    if result.shape != () or not jnp.issubdtype(result.dtype, jnp.floating):
        raise ValueError(
            f"`score_mod` must return one floating-point number; "
            f"got {result.dtype}{list(result.shape)}. "
            f"It sees one score and its scalar positions b, h, i, j. It is {shown(score_mod)}."
        )
    return program


def mask_function(mask: MaskFunction) -> ClosedJaxpr:
    """Traces a mask; raises unless it returns a boolean scalar."""
    if not callable(mask):
        raise ValueError(
            f"`mask` must be a function of (b, h, i, j); got {type(mask).__name__}. "
            "Wrap an array with `masks.from_array`."
        )
    program, result = _traced("mask", mask, *_POSITIONS)
    if result.shape != () or result.dtype != jnp.bool_:
        raise ValueError(
            f"`mask` must return one boolean, True where query i may see key j; "
            f"got {result.dtype}{list(result.shape)}. "
            "For an additive bias use `score_mod`, for an array `masks.from_array`. "
            f"It is {shown(mask)}."
        )
    return program


def dropout(rate: object, key: object) -> None:
    """Raises unless the rate is in [0, 1), and comes with a key where it is above 0."""
    fraction("dropout_rate", rate, remedy="It sets the program, so it cannot be traced.")
    if rate and key is None:
        raise ValueError(
            f"`dropout_key` must be given where `dropout_rate` is above 0; got None with "
            f"dropout_rate={rate}. Pass `jax.random.key(...)`, or `dropout_rate=0.0`."
        )


def position(name: str, value: ArrayLike) -> None:
    """Raises unless `value` is a scalar integer, concrete or traced."""
    if jnp.ndim(value) or not jnp.issubdtype(jnp.result_type(value), jnp.integer):
        raise ValueError(
            f"`{name}` must be one whole number; got {jnp.result_type(value)}"
            f"{list(jnp.shape(value))}. With one position a sequence, use `jax.vmap`."
        )


def _same(name: str, array: Like, other: str, against: Like, *, axis: int, what: str) -> None:
    if array.shape[axis] != against.shape[axis]:
        raise ValueError(
            f"`{name}` and `{other}` must have the same {what} (axis {axis}); "
            f"got shapes {array.shape} and {against.shape}."
        )


_POSITIONS = (jax.ShapeDtypeStruct((), jnp.int32),) * 4


def _traced(
    name: str, function: Callable[..., Array], *arguments: jax.ShapeDtypeStruct
) -> tuple[ClosedJaxpr, jax.ShapeDtypeStruct]:
    """The program of `function` for one pair, and the shape and dtype of its result."""
    try:
        program, result = jax.make_jaxpr(function, return_shape=True)(*arguments)
    except jax.errors.ConcretizationTypeError as error:
        raise ValueError(
            f"`{name}` must not decide by Python's `if`, `and`, `or` or `not` on its arguments, "
            "which stand for all pairs at once. Use `jnp.where`, `&`, `|` and `~`. "
            f"Got {shown(function)}."
        ) from error
    if not hasattr(result, "shape"):
        raise ValueError(
            f"`{name}` must return one array; got {type(result).__name__} from {shown(function)}."
        )
    return program, result


def shown(function: Callable[..., object]) -> str:
    """A user's function as errors show it: its name, place and first line."""
    inner = getattr(function, "function", function)  # of a mask
    name = getattr(inner, "__qualname__", type(inner).__name__)
    code = getattr(inner, "__code__", None)
    if code is None:
        return name
    line = linecache.getline(code.co_filename, code.co_firstlineno).strip()
    return f"{name} ({code.co_filename}:{code.co_firstlineno}{': ' + line if line else ''})"


def _line(message: str, remedy: str) -> str:
    return f"{message} {remedy}".rstrip()


def divides(name: str, value: int, into: str, whole: int) -> None:
    """Raises unless `value`, that of `name`, divides `whole`, that of `into`."""
    if value < 1 or whole % value:
        below = whole - whole % max(value, 1)
        raise ValueError(
            f"`{name}` must divide `{into}`; got {name}={value}, {into}={whole}. "
            f"The nearest {into} below is {below}."
        )


def at_most(name: str, value: int, bound_name: str, bound: int) -> None:
    """Raises unless `value`, that of `name`, is at most `bound`, that of `bound_name`."""
    if value > bound:
        raise ValueError(
            f"`{name}` must be at most `{bound_name}`; got {name}={value}, {bound_name}={bound}. "
            f"Raise `{bound_name}`."
        )
