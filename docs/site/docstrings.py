"""Docstrings as MyST: prose, indented code, examples, and sections such as `Args`.

The docstrings of the library are plain text with names in backticks. What is special in Markdown is
escaped; nothing else is changed.
"""

import re
import textwrap

SECTIONS = ("Args", "Attributes", "Raises", "Returns", "Yields")
_SPECIAL = re.compile(r"([\\*_{}\[\]<>$|#~^])")
_PREPRINT = re.compile(r"\barXiv:(\d{4}\.\d{4,5}|[a-z-]+/\d{7})\b")


def myst(docstring: str) -> str:
    """The docstring as MyST."""
    if not docstring:
        return ""
    blocks = re.split(r"\n\s*\n", textwrap.dedent(docstring).strip("\n"))
    return "\n\n".join(_block(block) for block in _joined(blocks))


def prose(text: str) -> str:
    """Plain text for Markdown: names in backticks stay, preprints become links."""
    parts = re.split(r"(`[^`]+`)", text)
    return "".join(part if part.startswith("`") else _escaped(part) for part in parts)


def first_line(docstring: str) -> str:
    """The first paragraph of a docstring, for a cell of a table."""
    return prose(" ".join(docstring.strip().split("\n\n")[0].split()))


def _escaped(text: str) -> str:
    text = _SPECIAL.sub(r"\\\1", text)
    return _PREPRINT.sub(r"[arXiv:\1](https://arxiv.org/abs/\1)", text)


def _joined(blocks: list[str]) -> list[str]:
    """Indented blocks that follow one another are one, but for sections."""
    found: list[str] = []
    for block in blocks:
        if found and block.startswith(" ") and found[-1].startswith(" "):
            found[-1] += "\n\n" + block
        else:
            found.append(block)
    return found


def _block(block: str) -> str:
    if block.lstrip().startswith(">>> "):
        return f"```pycon\n{textwrap.dedent(block)}\n```"
    if block.startswith(" ") or re.search(r"\S {3,}\S", block):  # code, or a table of it
        return f"```text\n{textwrap.dedent(block)}\n```"
    head, _, rest = block.partition("\n")
    if head.rstrip(":") in SECTIONS and head.endswith(":"):
        return f"**{head}**\n\n{_items(rest)}"
    parts = [_line_block(part) for part in re.split(r"\n(?=(?:Reference|Cost): |- )", block)]
    return "\n\n".join(parts)


def _line_block(text: str) -> str:
    """A paragraph, and the indented lines below it that no blank line sets apart."""
    lines = text.splitlines()
    bullet = lines[0].startswith("- ")
    plain = len(lines)
    for number, line in enumerate(lines[1:], 1):
        if line.startswith("  ") and not bullet:
            plain = number
            break
    first = " ".join(line.strip() for line in lines[:plain])
    words = f"- {prose(first[2:])}" if bullet else prose(first)
    rest = textwrap.dedent("\n".join(lines[plain:]))
    return f"{words}\n\n```text\n{rest}\n```" if rest else words


def _items(text: str) -> str:
    """The entries of a section, one a bullet."""
    entries = re.split(r"\n(?=\S)", textwrap.dedent(text))
    return "\n".join(_item(" ".join(entry.split())) for entry in entries)


def _item(entry: str) -> str:
    name, colon, words = entry.partition(": ")
    if not colon or re.search(r"[.;]", name):
        return f"- {prose(entry)}"
    names = ", ".join(f"`{one.strip('`')}`" for one in name.split(", "))
    return f"- {names}: {prose(words)}"
