"""Functions as values: equal where their parameters are, so that they hash, compare and pickle.

window = bind(_window, 4)       window(i, j) = _window(4, i, j)       window == bind(_window, 4)
"""

import dataclasses
import hashlib
import itertools
import operator
import sys
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from types import FunctionType
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np

_PACKAGE = __name__.partition(".")[0]
Numbers = jax.Array | np.ndarray
Function = Callable[..., Any]
Reduced = tuple[Callable[..., object], tuple[object, ...]]  # what a pickle calls, and with what
_Tuple = TypeVar("_Tuple")  # a NamedTuple
_Any = TypeVar("_Any")


class Held:
    """An array as a parameter: arrays with equal numbers are equal, traced ones only themselves."""

    __slots__ = ("_key", "array")

    def __init__(self, array: Numbers):
        # A caller may change an array of NumPy; what is held does not change.
        self.array: Any = array.copy() if isinstance(array, np.ndarray) else array
        self._key: Hashable = None

    @property
    def is_concrete(self) -> bool:
        """True where its numbers can be read."""
        if isinstance(self.array, np.ndarray):
            return True
        if isinstance(self.array, jax.core.Tracer) or self.array.is_deleted():
            return False
        return self.array.is_fully_addressable

    def numpy(self) -> np.ndarray:
        """Its numbers; only where it is concrete."""
        return np.asarray(jax.device_get(self.array))

    def key(self) -> Hashable:
        """The same for equal arrays."""
        if self._key is None:
            self._key = content(self.array) if self.is_concrete else id(self.array)
        return self._key

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Held) and (self.array is other.array or self.key() == other.key())

    def __hash__(self) -> int:
        return hash(self.key())

    def __repr__(self) -> str:
        return f"{self.array.dtype}{list(self.array.shape)}"

    def __reduce__(self) -> Reduced:
        return Held, (self.array,)


def content(array: Numbers) -> Hashable:
    """A key that only arrays of the same shape, dtype and numbers share."""
    if jax.dtypes.issubdtype(array.dtype, jax.dtypes.extended):
        return array.dtype, content(jax.random.key_data(array))
    numbers = np.ascontiguousarray(jax.device_get(array))
    weak = bool(getattr(array, "weak_type", False))
    digest = hashlib.blake2b(numbers.view(np.uint8).data if numbers.size else b"").digest()
    return array.shape, str(array.dtype), weak, digest


class Bound:
    """A function with its first arguments given: `bound(*rest) = function(*arguments, *rest)`."""

    __slots__ = ("__weakref__", "_hash", "arguments", "function")

    def __init__(self, function: Function, arguments: tuple[object, ...]):
        self.function, self.arguments = function, arguments
        self._hash: int | None = None

    def __call__(self, *rest: object, **keywords: object) -> object:
        return self.function(*map(unheld, self.arguments), *rest, **keywords)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Bound):
            return NotImplemented
        return self is other or (
            same(self.function, other.function) and same(self.arguments, other.arguments)
        )

    def __hash__(self) -> int:
        if self._hash is None:
            self._hash = hash((hash_of(self.function), hash_of(self.arguments)))
        return self._hash

    def __repr__(self) -> str:
        name = getattr(self.function, "__name__", repr(self.function)).strip("_")
        return f"{name}({', '.join(map(repr, self.arguments))})"

    def __reduce__(self) -> Reduced:
        return Bound, (self.function, self.arguments)


def bind(function: Function, *arguments: object) -> Function:
    """The function with its first arguments given, as a value; pickles where its parts do."""
    return Bound(function, tuple(map(held, arguments)))


def held(x: object) -> object:
    """An array as a value; anything else as it is."""
    return Held(x) if isinstance(x, (jax.Array, np.ndarray)) else x


def unheld(x: object) -> object:
    """The inverse of `held`."""
    return x.array if isinstance(x, Held) else x


class Made:
    """A function of a tuple that a factory makes: equal where the factory and its options are."""

    __slots__ = ("__weakref__", "factory", "field", "function", "maker", "options")

    def __init__(
        self,
        function: Function,
        factory: Function,
        options: tuple[tuple[str, object], ...],
        maker: Function,
        field: str,
    ):
        self.function, self.factory, self.options = function, factory, options
        self.maker, self.field = maker, field

    def __call__(self, *arguments: object, **keywords: object) -> object:
        return self.function(*arguments, **keywords)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Made):
            return NotImplemented
        if self is other:
            return True
        alike = self.field == other.field and same(self.factory, other.factory)
        return alike and same(self.options, other.options)

    def __hash__(self) -> int:
        return hash((self.field, hash_of(self.factory), hash_of(self.options)))

    def __repr__(self) -> str:
        return f"{self.field} of {getattr(self.factory, '__name__', self.factory)}"

    def __reduce__(self) -> Reduced:
        return _remade, (self.maker, self.options, self.field)


def as_value(
    made: _Tuple,
    factory: Callable[..., _Tuple],
    options: Mapping[str, object],
    maker: object = None,
) -> _Tuple:
    """A tuple whose functions are values, known by what made them.

    Args:
      made: `factory(**options)`.
      maker: what a pickle calls instead of `factory`, with the same options.
    """
    parts: Any = made
    by: Any = factory if maker is None else maker
    given = tuple((name, held(x)) for name, x in sorted(options.items()))
    fields = {
        name: Made(x, factory, given, by, name)
        for name, x in parts._asdict().items()
        if callable(x) and not _is_value(x)
    }
    return parts._replace(**fields)


def _is_value(x: Any) -> bool:
    return isinstance(x, Made) or (isinstance(x, FunctionType) and "<" not in x.__qualname__)


def _remade(maker: Callable[..., Any], options: tuple[tuple[str, Any], ...], field: str) -> Any:
    return getattr(maker(**{name: unheld(x) for name, x in options}), field)


def same(x: object, y: object) -> bool:
    """Equality that is never an array, and never fails."""
    if x is y:
        return True
    if type(x) is not type(y):
        return False
    if isinstance(x, tuple):
        others: Any = y
        return len(x) == len(others) and all(map(same, x, others))
    try:
        return bool(x == y)
    except Exception:  # of a user's own class
        return False


def hash_of(x: object) -> int:
    """The hash; of what has none, such as a list, that of its type."""
    if isinstance(x, tuple):
        return hash(tuple(map(hash_of, x)))
    try:
        return hash(x)
    except TypeError:
        return hash(type(x))


class Slot(NamedTuple):
    """The place of an array that was taken out of a value."""

    number: int


def arrays_of(x: object) -> tuple[Numbers, ...]:
    """The arrays that a value holds, in order."""
    if isinstance(x, Held):
        return (x.array,)
    return tuple(array for part in _parts(x) for array in arrays_of(part))


def without_arrays(x: _Any) -> _Any:
    """The value with a `Slot` in place of each array."""
    numbers = itertools.count()
    return _changed(x, Held, lambda _: Slot(next(numbers)))


def with_arrays(x: _Any, arrays: Sequence[Numbers]) -> _Any:
    """The inverse of `without_arrays`, with these arrays."""
    return _changed(x, Slot, lambda slot: Held(arrays[slot.number]))


def _parts(x: Any) -> Iterable[object]:
    if isinstance(x, Bound):
        return x.function, *x.arguments
    if isinstance(x, tuple):
        return x
    if dataclasses.is_dataclass(x) and not isinstance(x, type):
        return [getattr(x, field.name) for field in dataclasses.fields(x) if field.compare]
    return ()


def _changed(x: Any, kind: type, change: Callable[[Any], object]) -> Any:
    if isinstance(x, kind):
        return change(x)
    if isinstance(x, Bound):
        own = x.function, *x.arguments
    elif isinstance(x, tuple):
        own = x
    elif dataclasses.is_dataclass(x) and not isinstance(x, type):
        own = tuple(getattr(x, field.name) for field in dataclasses.fields(x))
    else:
        return x
    new = tuple(_changed(part, kind, change) for part in own)
    return x if all(map(operator.is_, own, new)) else _made_of(x, new)


def _made_of(x: Any, parts: tuple[Any, ...]) -> Any:
    """A value like `x` of other parts."""
    if isinstance(x, Bound):
        return Bound(parts[0], parts[1:])
    if isinstance(x, tuple):
        return type(x)(*parts) if hasattr(x, "_fields") else parts
    names = (field.name for field in dataclasses.fields(x))
    return type(x)(**dict(zip(names, parts, strict=True)))


def is_settled(x: object) -> bool:
    """True for values that can never change: functions of the library with numbers for parameters.

    A function of a user's own may read what changes, such as a global variable, and a traced array
    belongs to one trace.
    """
    if isinstance(x, Held):
        return x.is_concrete
    if isinstance(x, Bound):
        return is_settled(x.function) and is_settled(x.arguments)
    if isinstance(x, tuple):
        return all(map(is_settled, x))
    if isinstance(x, FunctionType):
        home = x.__module__ or ""  # None where code is run without a module
        module, ours = sys.modules.get(home), home.partition(".")[0] == _PACKAGE
        return ours and getattr(module, x.__qualname__, None) is x
    if dataclasses.is_dataclass(x) and type(x).__module__.partition(".")[0] == _PACKAGE:
        fields = [field.name for field in dataclasses.fields(x) if field.compare]
        return all(is_settled(getattr(x, name)) for name in fields)
    return x is None or isinstance(x, (bool, int, float, str, np.dtype))
