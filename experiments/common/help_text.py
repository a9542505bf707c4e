"""The text of `--help`: a program's own flags in their groups, with defaults."""

import inspect
import sys
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

ASKS = ("--help", "-help", "-h", "-?")
_WIDTH, _INDENT = 80, 6


def asked(arguments: Sequence[str]) -> bool:
    """True where a command line asks for help."""
    return any(argument in ASKS for argument in arguments)


def text(groups: Mapping[str, Sequence[Any]]) -> str:
    """The program's docstring, then each group of flags under its title.

    Args:
      groups: the `flags.Field`s of each title.
    """
    about = inspect.getdoc(sys.modules["__main__"]) or ""
    parts = ["\n".join([f"{title}:", *map(_entry, own)]) for title, own in groups.items() if own]
    return "\n\n".join([about, *parts])


def _entry(field: Any) -> str:
    """A flag with its default, and what it is for."""
    said = [field.help]
    if field.rules.choices and field.kind is not bool:
        said.append(f"One of {', '.join(field.rules.choices)}.")
    if field.rules.also:
        said.append(f"Also {', '.join(f'--{other}' for other in field.rules.also)}.")
    body = textwrap.wrap(" ".join(said), _WIDTH - _INDENT)
    return "\n".join([f"  {_shown(field)}", *(" " * _INDENT + line for line in body)])


def _shown(field: Any) -> str:
    if field.kind is bool:
        return f"--[no]{field.name} ({'on' if field.value else 'off'})"
    return f"--{field.name}={_value(field.value)}"


def _value(value: Any) -> str:
    if value is None or value == ():
        return ""
    return ",".join(value) if isinstance(value, tuple) else str(value)
