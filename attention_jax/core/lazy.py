"""Packages whose modules are imported at first use (PEP 562)."""

import importlib
import pkgutil
import sys
from collections.abc import Callable, Iterable
from types import ModuleType


def submodules(
    package: str, path: Iterable[str]
) -> tuple[Callable[[str], ModuleType], Callable[[], list[str]]]:
    """The `__getattr__` and `__dir__` of a package: its folder says which modules it has.

    Args:
      package: `__name__` of the package.
      path: its `__path__`.
    """

    def modules() -> set[str]:
        return {x.name for x in pkgutil.iter_modules(path) if not x.name.startswith("_")}

    def attribute(name: str) -> ModuleType:
        if name in modules():
            return importlib.import_module(f"{package}.{name}")
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *modules()})

    return attribute, names
