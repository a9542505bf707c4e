"""Public names of the library, and where each is documented.

A name is public where neither it nor a module on its way begins with an underscore, or where a
package's `__all__` has it. Sources are read, not imported: signatures stand as they were written,
and no extra has to be installed.
"""

import ast
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
LIBRARY = "attention_jax"
Definition = ast.FunctionDef | ast.ClassDef


class Module(NamedTuple):
    """A module: its dotted name and what is written in it."""

    name: str
    tree: ast.Module

    @property
    def docstring(self) -> str:
        """Its docstring, or nothing."""
        return ast.get_docstring(self.tree) or ""

    @property
    def is_public(self) -> bool:
        """The rule above."""
        return not any(part.startswith("_") for part in self.name.split("."))

    @property
    def page(self) -> str:
        """The page that documents it, without suffix."""
        _, *rooms = self.name.split(".")
        if rooms[:1] == ["variants"] and len(rooms) == 2:
            return f"variants/{rooms[1]}"
        return "/".join(["api", *rooms[:1], ".".join(rooms[1:]) or "index"])

    @property
    def definitions(self) -> dict[str, Definition]:
        """Its public functions and classes; of an overloaded one, the last."""
        found = (node for node in self.tree.body if isinstance(node, Definition))
        return {node.name: node for node in found if not node.name.startswith("_")}

    @property
    def values(self) -> dict[str, str]:
        """Its public values, each with the expression that it was given."""
        found = {}
        for node in self.tree.body:
            if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
                continue
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            if isinstance(target, ast.Name) and not target.id.startswith("_"):
                found[target.id] = ast.unparse(node.value)
        return found

    @property
    def front(self) -> tuple[str, ...]:
        """Its `__all__`."""
        for node in self.tree.body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
                return tuple(ast.literal_eval(node.value))
        return ()

    @property
    def imported(self) -> dict[str, str]:
        """Full names of what it imports, by the name that it has here."""
        return {
            alias.asname or alias.name: f"{node.module}.{alias.name}"
            for node in self.tree.body
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }


@functools.cache
def modules() -> dict[str, Module]:
    """All modules of the library, private ones too, by name."""
    return {found.name: found for found in _read(ROOT / LIBRARY)}


def _read(folder: Path) -> Iterator[Module]:
    for path in sorted(folder.rglob("*.py")):
        *folders, last = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(folders if last == "__init__" else [*folders, last])
        yield Module(name, ast.parse(path.read_text(encoding="utf-8")))


def public_modules() -> list[Module]:
    """Those that a user may import."""
    return [each for each in modules().values() if each.is_public]


def defined(name: str) -> str:
    """The full name under which a name is defined: imports are followed to their end."""
    home, _, last = name.rpartition(".")
    while home in modules() and last in modules()[home].imported and name not in modules():
        name = modules()[home].imported[last]
        home, _, last = name.rpartition(".")
    return name


@functools.cache
def shown(name: str) -> str:
    """The full name under which a public name is documented.

    Of what a private module defines, that is the package that exports it, the front door last.
    """
    target = defined(name)
    home = modules().get(target.rpartition(".")[0])
    if target in modules() or (home and home.is_public):
        return target
    doors = [f"{each.name}.{name}" for each in public_modules() for name in each.front]
    return max((door for door in doors if defined(door) == target), key=lambda x: x.count("."))


def public_names() -> dict[str, str]:
    """All public names, and the name under which each is documented."""
    found = [
        f"{each.name}.{name}"
        for each in public_modules()
        for name in (*each.definitions, *each.values)
    ]
    found += [f"{each.name}.{name}" for each in public_modules() for name in each.front]
    return {name: shown(name) for name in found}


def definition(name: str) -> Definition | None:
    """The function or class of a full name; None for a value."""
    home, _, last = defined(name).rpartition(".")
    bodies = modules()[home].tree.body
    found = [x for x in bodies if isinstance(x, Definition) and x.name == last]
    return found[-1] if found else None
