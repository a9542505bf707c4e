"""Finds variants by their name in this folder, or in a file of a person's own."""

import contextlib
import difflib
import functools
import importlib
import os
import pkgutil
from collections.abc import Callable, Generator, Hashable
from contextvars import ContextVar
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import jax

from attention_jax.core import values
from attention_jax.core.types import Variant
from attention_jax.variants._builders.guards import guarded
from attention_jax.variants._option_types import checked_options
from attention_jax.variants._text import Spec

_PACKAGE = __name__.rpartition(".")[0]
_KEPT = 256  # variants and files
# What is being read or made, from the outermost in: a file that comes again would never end.
_OPEN: ContextVar[tuple[str, ...]] = ContextVar("_OPEN", default=())


def names() -> tuple[str, ...]:
    """The variants of the library, without aliases."""
    found = pkgutil.iter_modules(importlib.import_module(_PACKAGE).__path__)
    return tuple(sorted(m.name for m in found if m.name[0] != "_"))


def aliases() -> dict[str, str]:
    """Other names that people search for, and the variant of each: `ALIASES` of its file."""
    return {alias: name for name in names() for alias in getattr(_module(name), "ALIASES", ())}


def canonical_name(name: str) -> str:
    """The name that the library gives a variant, of that name or of an alias such as "mla".

    Raises:
      ValueError: there is none.
    """
    if name in names():
        return name
    if name in aliases():
        return aliases()[name]
    close = difflib.get_close_matches(name.lower(), [*names(), *aliases()], n=3, cutoff=0.6)
    meant = f" Did you mean {' or '.join(close)}?" if close else ""
    raise ValueError(
        "`attention` must be one of the variants that `attention-jax list` shows, or a .py file; "
        f"got {name!r}.{meant}"
    )


class Origin(NamedTuple):
    """Where a variant comes from: the name of its file, the module, the function that makes it."""

    name: str
    module: ModuleType
    factory: Callable[..., Any]


def origin(spec: Spec) -> Origin:
    """The file and the function of a specification.

    Raises:
      ValueError: there is no such variant, file or function.
    """
    if spec.is_file:
        name, function = spec.name, spec.function
        module = _of_file(Path(spec.source))
    else:
        name = function = canonical_name(spec.source)
        module = _module(name)
    factory = getattr(module, function, None)
    if not callable(factory):
        raise ValueError(
            f"{spec.source} must define a function `{function}` that returns a Variant. "
            "Define it, or name another as file.py:function."
        )
    return Origin(name, module, factory)


def make(spec: Spec) -> Variant:
    """The variant of a name or a file, with these options.

    Equal specifications give the same value, where their options are hashable.

    Raises:
      ValueError: no such variant, file, function or option; an option of another type; a file
        that asks for itself, through others or not; or no `Variant` came back.
    """
    name, _, factory = origin(spec)
    options = checked_options(name, factory, spec.options)
    with _entered(f"{name}{options}"):
        path = str(Path(spec.source).resolve())
        at = (path, spec.function) if spec.is_file else (name, name)
        variant = _call(factory, options, values.bind(_remake, *at))
    if not isinstance(variant, Variant):
        raise ValueError(
            f"`{spec.function}` in {spec.source} must return an attention_jax.Variant; "
            f"got {type(variant).__name__}. Make one with variants.from_score or from_mask."
        )
    return variant


def _remake(source: str, function: str, /, **options: Any) -> Variant:
    """The variant of a pickle, made anew."""
    return make(Spec(source, function, options))


def _call(factory: Callable[..., Any], options: dict[str, Any], maker: Any) -> Any:
    try:
        hash(tuple(options.values()))
    except TypeError:  # an array
        return _as_value(factory(**options), factory, options, maker)
    return _kept_call(factory, maker, **options)


@functools.lru_cache(_KEPT, typed=True)
def _kept_call(factory: Callable[..., Any], maker: Any, /, **options: Hashable) -> Any:
    # What is kept must not belong to a trace that is under way.
    with jax.ensure_compile_time_eval():
        return _as_value(factory(**options), factory, options, maker)


def _as_value(made: Any, factory: Callable[..., Any], options: Any, maker: Any) -> Any:
    """The variant with functions that compare, hash and pickle by name and options."""
    if not isinstance(made, Variant):
        return made
    return values.as_value(guarded(made), factory, options, maker)


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"{_PACKAGE}.{name}")


def _of_file(path: Path) -> ModuleType:
    if not os.path.isfile(path):
        known = path.stem in names() or path.stem in aliases()
        raise ValueError(
            f"File not found: {path}. "
            + (
                f"For the built-in variant, drop `.py`: {path.stem}."
                if known
                else "Give the path from the folder that you are in."
            )
        )
    with _entered(str(path.resolve())):
        return _load(path.resolve(), path.read_bytes())


@functools.lru_cache(_KEPT)
def _load(path: Path, content: bytes) -> ModuleType:
    """The module of a file; read again only where the content has changed."""
    del content
    module = ModuleType(path.stem)
    try:
        with jax.ensure_compile_time_eval():
            SourceFileLoader(path.stem, str(path)).exec_module(module)
    except ValueError:
        raise
    except (Exception, SystemExit) as error:
        raise ValueError(f"{path} could not be read: {type(error).__name__}: {error}.") from error
    return module


@contextlib.contextmanager
def _entered(what: str) -> Generator[None]:
    """Refuses to enter what is entered already."""
    way = _OPEN.get()
    if what in way:
        circle = " -> ".join((*way[way.index(what) :], what))
        raise ValueError(
            f"A file of variants must not ask for itself; got {circle}. Let one of them take its "
            "variant from the library."
        )
    token = _OPEN.set((*way, what))
    try:
        yield
    finally:
        _OPEN.reset(token)
