"""NumPy arrays that functions of one pair capture.

A function of `attention` is traced: its positions stand for all pairs at once. NumPy's own
`table[h]` cannot take such an `h`, JAX's can. So where NumPy fails, the function is called again
with JAX arrays in place of the NumPy arrays that it captures.
"""

import copy
import functools
import types
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

Result = TypeVar("Result")

# What NumPy says to a traced number, as an index and as an operand.
NUMPY_ERRORS = (jax.errors.TracerArrayConversionError, jax.errors.TracerIntegerConversionError)
# Their functions capture no arrays of a user.
_FOREIGN = {"jax", "jaxlib", "numpy", "flax", "functools", "builtins"}


def call(function: Callable[..., Result], *arguments: object) -> Result:
    """`function(*arguments)`, whether it captures JAX arrays or NumPy arrays."""
    try:
        return function(*arguments)
    except NUMPY_ERRORS:
        taken = with_jax_arrays(function)
        if taken is function:
            raise
        return taken(*arguments)


def with_jax_arrays(function: Callable[..., Result]) -> Callable[..., Result]:
    """The function with JAX arrays in place of the NumPy arrays that it captures.

    It looks into closures, defaults, globals, bound arguments and the attributes of callable
    objects, also of the functions that these call. Where there are none, the function is itself.
    """
    return _converted(function, frozenset())


def _converted(value: Any, open_: frozenset[int]) -> Any:
    """`open_` holds what is being converted, which may refer to itself."""
    if id(value) in open_:
        return value
    open_ = open_ | {id(value)}
    if isinstance(value, np.ndarray):
        return jnp.asarray(value) if value.dtype.kind in "biufc" else value
    if type(value) in (list, tuple) and any(isinstance(x, np.ndarray) for x in value):
        return type(value)(_converted(x, open_) for x in value)
    if type(value) is list and value and all(type(x) in (int, float) for x in value):
        return jnp.asarray(value)
    if isinstance(value, functools.partial):
        return _bound(value, open_)
    if isinstance(value, types.MethodType):
        owner = _with_attributes(value.__self__, open_)
        return value if owner is value.__self__ else types.MethodType(value.__func__, owner)
    if not callable(value) or isinstance(value, type):
        return value
    if (getattr(value, "__module__", None) or "").split(".")[0] in _FOREIGN:
        return value
    if isinstance(value, types.FunctionType):
        return _rebuilt(value, open_)
    if hasattr(value, "__wrapped__"):  # by `jax.jit`, of which nothing is left inside a trace
        inner = _converted(value.__wrapped__, open_)
        return value if inner is value.__wrapped__ else inner
    return _with_attributes(value, open_)


def _each(values: tuple[Any, ...], open_: frozenset[int]) -> tuple[Any, ...]:
    """The values converted; the same tuple where none changes."""
    new = tuple(_converted(x, open_) for x in values)
    return values if all(x is y for x, y in zip(values, new, strict=True)) else new


def _bound(value: functools.partial, open_: frozenset[int]) -> functools.partial:
    func, args = _converted(value.func, open_), _each(value.args, open_)
    old = tuple(value.keywords.values())
    new = _each(old, open_)
    if func is value.func and args is value.args and new is old:
        return value
    return functools.partial(func, *args, **dict(zip(value.keywords, new, strict=True)))


def _rebuilt(function: types.FunctionType, open_: frozenset[int]) -> types.FunctionType:
    cells = function.__closure__ or ()
    held = tuple(_content(cell) for cell in cells)
    defaults = function.__defaults__ or ()
    named = function.__kwdefaults__ or {}
    names = tuple(x for x in _names(function.__code__) if x in function.__globals__)
    outer = tuple(function.__globals__[x] for x in names)
    old = held, defaults, tuple(named.values()), outer
    new = tuple(_each(values, open_) for values in old)
    if all(x is y for x, y in zip(old, new, strict=True)):
        return function
    closure = tuple(map(types.CellType, new[0])) if cells else None
    scope = function.__globals__ | dict(zip(names, new[3], strict=True))
    made = types.FunctionType(function.__code__, scope, function.__name__, new[1] or None, closure)
    made.__kwdefaults__ = dict(zip(named, new[2], strict=True)) or None
    return made


def _names(code: types.CodeType) -> set[str]:
    """The globals and attributes that a function names, with those of functions inside it."""
    inner = (x for x in code.co_consts if isinstance(x, types.CodeType))
    return set(code.co_names).union(*map(_names, inner))


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # a name that is not bound yet
        return None


def _with_attributes(owner: Any, open_: frozenset[int]) -> Any:
    held = getattr(owner, "__dict__", None)
    if not held:
        return owner
    values = tuple(held.values())
    new = _each(values, open_)
    if new is values:
        return owner
    changed = copy.copy(owner)
    vars(changed).update(zip(held, new, strict=True))
    return changed
