"""Pairs as readers give them, and how files are to be read."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from attention_jax.data.text_files import unicode_form

FIELDS = "fields"  # the option's name in errors


class Found(NamedTuple):
    """Pairs of a file, with the place of each.

    Attributes:
      pairs: source and target of each.
      places: the number of the line where each begins.
      where: the file or files.
      incomplete: units that lack one of the two languages, and are in no pair.
    """

    pairs: Sequence[tuple[str, str]]
    places: Sequence[int]
    where: str
    incomplete: int = 0


class Reading(NamedTuple):
    """How files of pairs are read.

    Attributes:
      format: one of `files.FORMATS`; None: by the name of the file.
      fields: names of source and target, "en,de": columns of CSV, keys of JSON, languages of TMX,
        ends of the names of two files. Numbers are columns of CSV without a header.
      columns: columns of source and target in TSV, counted from 1.
      delimiter: the character between columns of CSV.
    """

    format: str | None = None
    fields: str | None = None
    columns: str = "1,2"
    delimiter: str = ","


def two_names(fields: str | None, *, path: object, kind: str, found: Sequence[str]) -> list[str]:
    """The two names in `fields`, in one normal form of Unicode.

    Args:
      fields: such as "en,de".
      path: the file, in errors.
      kind: what the names are of, in errors.
      found: names that the file has.

    Raises:
      ValueError: `fields` is none, or not two different names.
    """
    names = [unicode_form(name.strip(), "nfc") for name in (fields or "").split(",")]
    if len(names) == 2 and all(names) and names[0] != names[1]:
        return names
    got = "none" if fields is None else repr(fields)
    own = [name for name in found if name]
    example = f"{own[0]},{own[1]}" if len(own) > 1 and "," not in own[0] + own[1] else "en,de"
    raise ValueError(
        f"`{FIELDS}` must name the {kind} of source and target in {path}; got {got}. Write, for "
        f"example, --fields={example}{named(found)}."
    )


def named(found: Sequence[str]) -> str:
    """A clause that lists the names that a file has; empty where it has none."""
    shown = ", ".join(name[:40] for name in found[:8])
    more = f" and {len(found) - 8} more" if len(found) > 8 else ""
    return f"; it has {shown}{more}" if found else ""


def one_line(text: str) -> str:
    """A sentence whose line breaks, which a field may hold, are spaces."""
    return re.sub(r"[\r\n]+", " ", text)
