"""Sequence-to-sequence tasks. The folder is the registry: a new task is one file.

A task is a public function that returns a `data.types.Task`. Its options are its keyword arguments,
or the fields of the one NamedTuple that it takes. Modules that begin with "_" hold no tasks.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from types import ModuleType

from attention_jax.data.types import Task

Option = str | int | float | bool | None


def names() -> tuple[str, ...]:
    """Names of all tasks in this folder, sorted."""
    return tuple(sorted(_found()))


def get(name: str, **options: object) -> Task:
    """Builds a task.

    Args:
      name: one of `names()`.
      options: options of the task; numbers, "true" and "false" may be given as text, as on a
        command line.

    Raises:
      ValueError: an unknown task or option, or a value of the wrong type.

    >>> get("reverse", train_size=2, test_size="1").tokenizer
    'word'
    """
    found = _found()
    if not isinstance(name, str) or name not in found:
        raise ValueError(f"`name` must be one of {', '.join(sorted(found))}; got {name!r}.")
    build, known = found[name], _options(found[name])
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ValueError(
            f"options of the task {name!r} must be among {', '.join(known)}; "
            f"got {', '.join(unknown)}."
        )
    typed = {key: _typed(key, value, known[key]) for key, value in options.items()}
    config = _config(build)
    return build(**typed) if config is None else build(config(**typed))


def _found() -> dict[str, Callable[..., Task]]:
    """Functions that build tasks, by name."""
    files = [found.name for found in pkgutil.iter_modules(__path__) if found.name[0] != "_"]
    modules = [importlib.import_module(f"{__name__}.{name}") for name in files]
    return {name: task for module in modules for name, task in _tasks(module).items()}


def _tasks(module: ModuleType) -> dict[str, Callable[..., Task]]:
    return {
        name: value
        for name, value in inspect.getmembers(module, inspect.isfunction)
        if name[0] != "_"
        and value.__module__ == module.__name__
        and inspect.signature(value).return_annotation is Task
    }


def _options(build: Callable[..., Task]) -> Mapping[str, object]:
    """Options of a task, and their types."""
    config = _config(build)
    if config is not None:
        return inspect.get_annotations(config)
    return {name: x.annotation for name, x in inspect.signature(build).parameters.items()}


def _config(build: Callable[..., Task]) -> type | None:
    """The NamedTuple that a task takes; None if it takes keyword arguments."""
    kinds = [parameter.annotation for parameter in inspect.signature(build).parameters.values()]
    return kinds[0] if len(kinds) == 1 and hasattr(kinds[0], "_fields") else None


def _typed(option: str, value: object, annotation: object) -> Option:
    """`value` as the task declares it: a number, true or false, or text."""
    text = str(value)
    if annotation is int:
        if text.removeprefix("-").isdecimal():
            return int(text)
        raise ValueError(f"`{option}` must be a whole number; got {value!r}.")
    if annotation is float:
        try:
            return float(text)
        except ValueError:
            raise ValueError(f"`{option}` must be a number; got {value!r}.") from None
    if annotation is bool:
        if text.lower() in ("true", "false"):
            return text.lower() == "true"
        raise ValueError(f"`{option}` must be true or false; got {value!r}.")
    return None if value is None else text
