"""The registry of variants: one file a variant, with a function of the file's name in it.

variants.names()                       all of them
variants.get("sliding_window", size=64)
variants.get("path/to/my_variant.py")  a file of your own
"""

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

from attention_jax.core.types import Variant
from attention_jax.variants._builders.linear import from_decay, from_delta, from_features
from attention_jax.variants._builders.pair import from_mask, from_score
from attention_jax.variants._builders.stateful import from_weights

__all__ = [
    "from_decay",
    "from_delta",
    "from_features",
    "from_mask",
    "from_score",
    "from_weights",
    "get",
    "names",
]


def names() -> tuple[str, ...]:
    """The variants of the library."""
    return tuple(sorted(m.name for m in pkgutil.iter_modules(__path__) if m.name[0] != "_"))


def get(name: str, **options: Any) -> Variant:
    """The variant of that name, or of a user's own file.

    Args:
      name: one of `names()`; or a path that ends in `.py`, to a file with a function named
        like the file that returns a `Variant`.
      **options: keywords of that function.

    Raises:
      ValueError: no such variant, file, function or option; or no `Variant` came back.
    """
    if name.endswith(".py"):
        module, stem = _load(Path(name)), Path(name).stem
    elif name in names():
        module, stem = importlib.import_module(f"{__name__}.{name}"), name
    else:
        raise ValueError(
            f"`name` must be one of {', '.join(names())}, or the path of a .py file; got {name!r}."
        )
    factory = getattr(module, stem, None)
    if not callable(factory):
        raise ValueError(f"{name} must define a function `{stem}` that returns a Variant.")
    _check_options(name, factory, options)
    variant = factory(**options)
    if not isinstance(variant, Variant):
        raise ValueError(
            f"`{stem}` in {name} must return an attention_jax.Variant; "
            f"got {type(variant).__name__}."
        )
    return variant


def _load(path: Path) -> ModuleType:
    if not path.is_file():
        raise ValueError(f"No variant file at {path}; one of the library has no .py: {path.stem}.")
    loader = SourceFileLoader(path.stem, str(path))
    module = ModuleType(path.stem)
    try:
        loader.exec_module(module)
    except (ImportError, SyntaxError) as error:
        raise ValueError(f"{path} could not be read: {type(error).__name__}: {error}.") from error
    return module


def _check_options(name: str, factory: Callable[..., Any], options: dict[str, Any]) -> None:
    signature = inspect.signature(factory)
    try:
        signature.bind(**options)
    except TypeError as error:
        known = ", ".join(signature.parameters) or "none"
        raise ValueError(
            f"The options of variant {name} are: {known}; got {options}. ({error}.)"
        ) from None
