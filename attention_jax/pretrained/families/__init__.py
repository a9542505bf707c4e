"""Families of pretrained models, one a file; the folder is the registry."""

import importlib
import pkgutil

from attention_jax.pretrained.types import Family, Settings


def names() -> tuple[str, ...]:
    """All families."""
    return tuple(sorted(x.name for x in pkgutil.iter_modules(__path__) if x.name[0] != "_"))


def get(name: str) -> Family:
    """A family by its name.

    Raises:
      ValueError: there is none.
    """
    if name not in names():
        raise ValueError(f"`family` must be one of {', '.join(names())}; got {name!r}.")
    return importlib.import_module(f"{__name__}.{name}").FAMILY


def of_type(settings: Settings) -> Family:
    """The family of a config.json, by its `model_type`.

    Raises:
      ValueError: none is known.
    """
    known = {kind: name for name in names() for kind in get(name).model_types}
    settings.need("model_type")
    return get(settings.choose("model_type", known))
