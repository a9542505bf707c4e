"""Argument checks with one wording: the argument, the rule, the value, the remedy.

They look at shapes and dtypes only, so they cost nothing inside `jit`.
"""

import functools
import inspect
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Array

from attention_jax.core import captured_arrays
from attention_jax.core.types import Length, Like, MaskFunction, Score, ScoreMod, is_typed_key
from attention_jax.core.wording import one_line, said, shown

LARGEST = 2**31 - 1  # positions are 32-bit numbers
# So far from 0 that the distance of two positions is a 32-bit number too.
FARTHEST = 2**30


def positive(name: str, value: object, *, remedy: str = "") -> None:
    """Raises unless `value` is an integer of at least 1, and fits into 32 bits."""
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not whole or value < 1:
        raise ValueError(
            _line(f"`{name}` must be a whole number of at least 1; got {said(value)}.", remedy)
        )
    if value > LARGEST:
        raise ValueError(
            f"`{name}` must be at most {LARGEST}, as positions are; got {said(value)}."
        )


def natural(name: str, value: object, *, remedy: str = "") -> None:
    """Raises unless `value` is an integer from 0 to 2^32 - 1."""
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not whole or not 0 <= value < 2**32:
        raise ValueError(
            _line(f"`{name}` must be a whole number from 0 to 2^32 - 1; got {said(value)}.", remedy)
        )


def above_zero(name: str, value: object, *, beside: str = "") -> None:
    """Raises unless `value` is a finite number above 0; `beside` names what else is allowed."""
    number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    if not number or not 0 < value < float("inf"):
        raise ValueError(f"`{name}` must be above 0{beside}; got {said(value)}. Give one number.")


def fraction(name: str, value: object, *, remedy: str = "") -> None:
    """Raises unless `value` is a Python number in [0, 1)."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1:
        raise ValueError(
            _line(f"`{name}` must be a Python number in [0, 1); got {said(value)}.", remedy)
        )


def one_of(name: str, value: object, choices: Sequence[object]) -> None:
    """Raises unless `value` is one of `choices`."""
    if not isinstance(value, Hashable) or value not in choices:  # an array has no hash
        listed = ", ".join(repr(choice) for choice in choices)
        raise ValueError(f"`{name}` must be one of {listed}; got {said(value)}.")


def shape(name: str, array: ArrayLike | Like, axes: str, *, remedy: str = "") -> None:
    """Raises unless `array` has one axis for each letter of `axes`."""
    if not (hasattr(array, "shape") and hasattr(array, "dtype")):
        raise ValueError(
            f"`{name}` must be an array of shape [{axes}]; got {said(array)}. "
            "Make one with `jnp.asarray`."
        )
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


def whole(name: str, array: ArrayLike | Like) -> None:
    """Raises unless `array` holds whole numbers."""
    if not jnp.issubdtype(jnp.result_type(array), jnp.integer):
        raise ValueError(
            f"`{name}` must hold whole numbers; got {jnp.result_type(array)}. "
            "Convert it with `.astype(jnp.int32)`."
        )


_MISSING_AXES = {
    3: "For one sequence add a batch axis: `x[None]`; for one head a head axis: `x[:, :, None]`.",
    2: "For one sequence of one head add both axes: `x[None, :, None]`.",
}


# The axes of query, key and value: sequences, one position of each, one query and all keys.
SEQUENCES = ("b t h d", "b s g d", "b s g e")
POSITIONS = ("b h d", "b g d", "b g e")
QUERY_OF_KEYS = ("b h d", "b s g d", "b s g e")


def attention_arrays(
    query: Like,
    key: Like,
    value: Like,
    axes: tuple[str, str, str] = SEQUENCES,
    *,
    same_width: bool = False,  # of query and key; the engine leaves it to the score
) -> None:
    """Raises unless the arrays fit each other as `[b t h d]`, `[b s g d]`, `[b s g e]`."""
    given, missing = (query, key, value), _MISSING_AXES if axes is SEQUENCES else {}
    for name, array, letters in zip(("query", "key", "value"), given, axes, strict=True):
        shape(name, array, letters, remedy=missing.get(len(getattr(array, "shape", ())), ""))
        floating(name, array)
        if array is not value and not array.shape[-1]:
            raise ValueError(
                f"`{name}` must be at least 1 wide, to be scored; got shape {tuple(array.shape)}."
            )
    _same("key", key, "query", query, axis=0, what="batch size")
    _same("value", value, "key", key, axis=0, what="batch size")
    if axes is not POSITIONS:
        _same("value", value, "key", key, axis=1, what="length")
    _same("value", value, "key", key, axis=-2, what="number of heads")
    if same_width:
        _same("key", key, "query", query, axis=-1, what="width")
    heads, groups = query.shape[-2], key.shape[-2]
    if groups == 0 or heads % groups:
        raise ValueError(
            f"The heads of `key` must divide those of `query`; got {groups} and {heads}. "
            "Project keys and values to a number of heads that does."
        )


def score_function(score: Score, query: Like, key: Like, dtype: DTypeLike) -> ClosedJaxpr:
    """Traces a score of one pair; raises unless it returns a real scalar.

    A score may allow a key of another width than the query, as additive attention can.
    """
    word = f"`scores.{score}`" if isinstance(score, str) else "`scores.scaled_dot`"
    at = _POSITIONS if takes_positions(score) else ()
    arguments = "(query, key, b, h, i, j)" if at else "(query, key)"
    called_with("score", score, arguments, remedy=f"Use one of `scores`, such as {word}.")
    q, k = (jax.ShapeDtypeStruct(array.shape[-1:], dtype) for array in (query, key))
    try:
        program, result = _traced("score", score, q, k, *at)
    except TypeError:
        _same("key", key, "query", query, axis=3, what="width")
        raise
    if result.shape != () or not jnp.issubdtype(result.dtype, jnp.floating):
        raise ValueError(
            f"`score` must return one floating-point number for a query [d] and a key [d]; "
            f"got {result.dtype}{list(result.shape)}. Sum over the width, as `q @ k` does. "
            f"It is {shown(score)}."
        )
    return program


def takes_positions(score: Score) -> bool:
    """Tells whether a score is of `(query, key, b, h, i, j)` rather than `(query, key)`."""
    try:
        parameters = inspect.signature(score).parameters.values()
    except (TypeError, ValueError):  # of a builtin, or no function
        return False
    placed = inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD
    return sum(x.kind in placed and x.default is x.empty for x in parameters) == 6


def score_mod_function(score_mod: ScoreMod, dtype: DTypeLike) -> ClosedJaxpr:
    """Traces a score modifier; raises unless it returns a real scalar."""
    score = jax.ShapeDtypeStruct((), dtype)
    called_with("score_mod", score_mod, "(score, b, h, i, j)")
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
    called_with("mask", mask, "(b, h, i, j)", remedy="Wrap an array with `masks.from_array`.")
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
    if key is not None:
        random_key("dropout_key", key)
    if rate and key is None:
        raise ValueError(
            f"`dropout_key` must be given where `dropout_rate` is above 0; got None with "
            f"dropout_rate={rate}. Pass `jax.random.key(...)`, or `dropout_rate=0.0`."
        )


def random_key(name: str, key: object) -> None:
    """Raises unless `key` is a typed random key, or the raw words of one."""
    size = getattr(key, "shape", None)
    words = size in ((2,), (4,)) and jnp.result_type(key) == jnp.uint32
    if not (words or (is_typed_key(key) and size == ())):
        remedy = f"Make one: `jax.random.key({key})`." if isinstance(key, int) else ""
        raise ValueError(_line(f"`{name}` must be one random key; got {said(key)}.", remedy))


def position(
    name: str,
    value: ArrayLike,
    length: Length = 0,
    *,
    remedy: str = "With one position a sequence, use `jax.vmap`.",
) -> None:
    """Raises unless `value` is a scalar integer, concrete or traced, that 32 bits can count from.

    Args:
      length: number of positions from there on.
    """
    is_array = hasattr(value, "shape") and hasattr(value, "dtype")
    if not (is_array or isinstance(value, (bool, int, float))):
        raise ValueError(_line(f"`{name}` must be one whole number; got {said(value)}.", remedy))
    shape, dtype = jnp.shape(value), jnp.result_type(value)
    if shape or not jnp.issubdtype(dtype, jnp.integer):
        raise ValueError(
            _line(f"`{name}` must be one whole number; got {dtype}{list(shape)}.", remedy)
        )
    first = known(value)
    length = length if isinstance(length, int) else 0  # of a symbolic one nothing is known
    if first is not None and not -FARTHEST <= first <= FARTHEST - length:
        raise ValueError(
            f"`{name}` must keep positions within 2^30 of 0, so that 32 bits hold their distances; "
            f"got {first} with {length} positions. Count from a nearer position."
        )


def index(name: str, value: object, size: int) -> None:
    """Raises unless `value` is an index from 0 to `size - 1`."""
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not whole or not 0 <= value < size:
        raise ValueError(
            f"`{name}` must be a whole number from 0 to {size - 1}; got {said(value)}."
        )


def within(position: ArrayLike, length: int) -> Array:
    """Tells where a decoding step has room: `position < length`.

    Raises:
      ValueError: a position is known to be beyond.
    """
    # Of symbolic lengths, as exported programs have, nothing is known.
    places: Any = (position, length)
    is_open = any(map(jax.export.is_symbolic_dim, places))
    is_open = is_open or isinstance(position, jax.core.Tracer)
    if not is_open and (np.asarray(position) >= length).any():
        raise ValueError(
            f"A step at position {int(np.asarray(position).max())} finds no room: the state was "
            f"started for {length} positions, from 0. Start it for more."
        )
    return jnp.asarray(position) < length


def known(value: ArrayLike) -> int | None:
    """A scalar integer as a Python number; None where it is traced."""
    return None if isinstance(value, jax.core.Tracer) else int(value)


def _same(name: str, array: Like, other: str, against: Like, *, axis: int, what: str) -> None:
    if array.shape[axis] != against.shape[axis]:
        place = range(len(array.shape))[axis]
        raise ValueError(
            f"`{name}` and `{other}` must have the same {what} (axis {place}); "
            f"got shapes {array.shape} and {against.shape}."
        )


def called_with(name: str, function: object, arguments: str, *, remedy: str = "") -> None:
    """Raises unless `function` is one, and takes as many positional arguments as are named.

    Args:
      name: of the argument that it is.
      arguments: as in "(b, h, i, j)".
      remedy: for what is no function at all.
    """
    if not callable(function):
        raise ValueError(
            _line(f"`{name}` must be a function of {arguments}; got {said(function)}.", remedy)
        )
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # of a builtin
        return
    try:
        signature.bind(*arguments.split(","))
    except TypeError:
        module = getattr(function, "__module__", None) or ""
        own = module.startswith("attention_jax.") and not isinstance(function, type)
        called = getattr(function, "__name__", type(function).__name__)
        shown_as = f"{module.split('.')[-1]}.{called}" if own else called
        raise ValueError(
            f"`{name}` is called with {arguments}; got {shown_as}{signature}. "
            + (
                f"Call it first: `{shown_as}(...)`."
                if own
                else "Take these arguments, in this order."
            )
        ) from None


_POSITIONS = (jax.ShapeDtypeStruct((), jnp.int32),) * 4


def _traced(
    name: str, function: Callable[..., Array], *arguments: jax.ShapeDtypeStruct
) -> tuple[ClosedJaxpr, jax.ShapeDtypeStruct]:
    """The program of `function` for one pair, and the shape and dtype of its result."""
    try:
        call = functools.partial(captured_arrays.call, function)
        program, result = jax.make_jaxpr(call, return_shape=True)(*arguments)
    except captured_arrays.NUMPY_ERRORS as error:
        raise ValueError(
            f"`{name}` must compute with `jax.numpy`: NumPy and Python's lists cannot take its "
            "arguments, which stand for all pairs at once. Use `jnp` for `np`, and look up in "
            f"`jnp.asarray(table)`. Got {shown(function)}."
        ) from error
    except jax.errors.ConcretizationTypeError as error:
        raise ValueError(
            f"`{name}` must not decide by Python's `if`, `and`, `or` or `not` on its arguments, "
            "which stand for all pairs at once. Use `jnp.where`, `&`, `|` and `~`. "
            f"Got {shown(function)}."
        ) from error
    if not hasattr(result, "shape"):
        raise ValueError(
            f"`{name}` must return one array; got {type(result).__name__} from {shown(function)}."
            + (" Call it first." if callable(result) else "")
        )
    return program, result


def reason(error: Exception) -> str:
    """The message of another library's error, in one line of moderate length."""
    return one_line(error)[:200]


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
