"""Sequence-to-sequence tasks; the folder is the registry, one file a task.

A task is a function of its file's name that returns a `data.types.Task`.
"""

import importlib
import inspect
import pkgutil
from typing import Any

from attention_jax.data.types import Task


def names() -> tuple[str, ...]:
    """Every task in this folder, sorted."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def get(name: str, **options: Any) -> Task:
    """Builds the task `name` with its own options.

    Args:
      name: one of `names()`.
      options: arguments of the task's function; numbers, "true" and "false" may come as text,
        as from a command line.

    Raises:
      ValueError: no such task, an option it does not have, or a value of the wrong type.

    >>> get("reverse", train_size=2, test_size="1").tokenizer
    'word'
    """
    if name not in names():
        raise ValueError(f"`name` must be one of {', '.join(names())}; got {name!r}.")
    build = getattr(importlib.import_module(f"{__name__}.{name}"), name)
    known = inspect.signature(build).parameters
    strange = sorted(set(options) - set(known))
    if strange:
        raise ValueError(
            f"options of the task {name!r} must be among {', '.join(known)}; "
            f"got {', '.join(strange)}."
        )
    return build(**{key: _typed(key, x, known[key].annotation) for key, x in options.items()})


def _typed(option: str, value: Any, annotation: Any) -> Any:
    """`value` as the task declares it: a whole number, true or false, or text."""
    text = str(value)
    if annotation is int:
        if text.removeprefix("-").isdecimal():
            return int(text)
        raise ValueError(f"`{option}` must be a whole number; got {value!r}.")
    if annotation is bool:
        if text.lower() in ("true", "false"):
            return text.lower() == "true"
        raise ValueError(f"`{option}` must be true or false; got {value!r}.")
    return None if value is None else text
