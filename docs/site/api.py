"""Pages of the API: one a module, with its public names, and one a room."""

import ast
import re
from collections.abc import Iterable

from docs.site import docstrings, names
from docs.site.names import Definition, Module

_HIDDEN = ("self", "cls")
# What a directive's option can hold as it stands.
_PLAIN_VALUE = re.compile(r"[\w(][\w.,()\[\]+*/ -]{0,99}")


def pages() -> dict[str, str]:
    """MyST of each page of the API, by the page's name; those of variants are elsewhere."""
    public = names.public_modules()
    return {x.page: _page(x, public) for x in public if not x.page.startswith("variants/")}


def described(module: Module) -> str:
    """MyST of a module's public functions, classes and values."""
    entries = [_entry(name, node) for name, node in module.definitions.items()]
    entries += [_value(module, name) for name in module.values]
    return "\n\n".join([_within(module), *entries]) if entries else ""


def _page(module: Module, public: Iterable[Module]) -> str:
    below = [
        x
        for x in public
        if x.name.rpartition(".")[0] == module.name and not x.page.startswith("variants/")
    ]
    parts = [
        f"# `{module.name}`",
        f"```{{py:module}} {module.name}\n```",
        docstrings.myst(module.docstring),
        _front(module),
        described(module),
        _below(below),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _within(module: Module) -> str:
    return f"```{{py:currentmodule}} {module.name}\n```"


def _front(module: Module) -> str:
    """What the package exports: a row for each name, and in full what is documented here."""
    rows, here = [], []
    for name in module.front:
        full = f"{module.name}.{name}"
        target = names.shown(full)
        if target in names.modules():
            there = names.modules()[target]
            line = docstrings.first_line(there.docstring)
            rows.append(f"| [`{name}`](/{there.page}.md) | {line} |")
            continue
        node = names.definition(full)
        text = ast.get_docstring(node) if node else _comment(module, name)
        rows.append(f"| {{py:obj}}`{name} <{target}>` | {docstrings.first_line(text or '')} |")
        if target == full and node and name not in module.definitions:
            here.append(_entry(name, node))
    if not rows:
        return ""
    table = "\n".join(["| name | |", "|---|---|", *rows])
    return "\n\n".join([f"## Exported\n\n{table}", _within(module), *here])


def _below(below: list[Module]) -> str:
    """The modules of a package: a table, and their place in the navigation."""
    if not below:
        return ""
    short = {x.name.rpartition(".")[2]: x for x in below}
    rows = [
        f"| [`{name}`](/{x.page}.md) | {docstrings.first_line(x.docstring)} |"
        for name, x in short.items()
    ]
    tree = "\n".join(f"{name} </{x.page}>" for name, x in short.items())
    table = "\n".join(["| module | |", "|---|---|", *rows])
    return f"## Modules\n\n{table}\n\n```{{toctree}}\n:hidden:\n\n{tree}\n```"


def _entry(name: str, node: Definition) -> str:
    """The directive of a function or class."""
    text = docstrings.myst(ast.get_docstring(node) or "")
    if isinstance(node, ast.FunctionDef):
        return _directive("function", f"{name}{_signature(node)}", text)
    members = [_member(x) for x in node.body if isinstance(x, ast.FunctionDef)]
    content = "\n\n".join(filter(None, [text, *members]))
    return _directive("class", f"{name}{_construction(node)}", content, marks=6)


def _member(node: ast.FunctionDef) -> str:
    """The directive of a method or property; nothing for what Python calls by itself."""
    text = ast.get_docstring(node)
    if node.name.startswith("_") and (node.name != "__call__" or not text):
        return ""
    kinds = {ast.unparse(x).rpartition(".")[2] for x in node.decorator_list}
    content = docstrings.myst(text or "")
    if kinds & {"property", "cached_property"}:
        kind = f"\n:type: {ast.unparse(node.returns)}" if node.returns else ""
        return _directive("property", f"{node.name}{kind}", content, marks=4)
    mark = next((f"\n:{kind}:" for kind in ("classmethod", "staticmethod") if kind in kinds), "")
    return _directive("method", f"{node.name}{_signature(node)}{mark}", content, marks=4)


def _value(module: Module, name: str) -> str:
    value = " ".join(module.values[name].split())
    shown = f"\n:value: {value}" if _PLAIN_VALUE.fullmatch(value) else ""
    return _directive("data", f"{name}{shown}", docstrings.myst(_comment(module, name)))


def _directive(kind: str, head: str, content: str, marks: int = 5) -> str:
    fence = "~" * marks  # a signature may hold backticks
    head, _, options = head.partition("\n")
    options = f"\n{options}" if options else ""
    return f"{fence}{{py:{kind}}} {head}{options}\n\n{content}\n{fence}"


def _signature(node: ast.FunctionDef) -> str:
    given = node.args
    for some in (given.posonlyargs, given.args):
        some[:] = [x for x in some if x.arg not in _HIDDEN]
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"({ast.unparse(given)}){returns}"


def _construction(node: ast.ClassDef) -> str:
    """The signature of a class: that of `__init__`, or its fields."""
    for inner in node.body:
        if isinstance(inner, ast.FunctionDef) and inner.name == "__init__":
            return _signature(inner).partition(" -> ")[0] if inner.returns else _signature(inner)
    fields = [
        ast.unparse(x).replace("\n", " ")
        for x in node.body
        if isinstance(x, ast.AnnAssign) and not ast.unparse(x.target).startswith("_")
    ]
    return f"({', '.join(fields)})" if fields else ""


def _comment(module: Module, name: str) -> str:
    """The comment above a value of a module."""
    path = names.ROOT.joinpath(*module.name.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    lines = path.read_text(encoding="utf-8").splitlines()
    at = next((i for i, line in enumerate(lines) if line.startswith(f"{name} =")), 0)
    found: list[str] = []
    while at and lines[at - 1].startswith("# "):
        at -= 1
        found.insert(0, lines[at][2:])
    return " ".join(found)
