"""Pairs of JSON Lines: an object on each line."""

import json
from collections.abc import Mapping
from pathlib import Path

from attention_jax.core.plain_types import typed_calls
from attention_jax.data.pairs.types import FIELDS, Found, Reading, named, one_line, two_names
from attention_jax.data.text_files import read_lines, unicode_form

NESTED = "translation"  # where Hugging Face's data sets keep languages


@typed_calls
def read_jsonl(path: str | Path, reading: Reading, *, argument: str) -> Found:
    """Pairs of two keys of each line's object, or of the object under its key "translation".

        {"en": "a house", "de": "ein Haus"}
        {"translation": {"en": "a house", "de": "ein Haus"}}

    An empty line and null are empty sentences.

    Raises:
      ValueError: a line is not JSON or no object, lacks a key, or has something else than text
        there.
    """
    lines = read_lines(path, argument=argument)
    pairs: list[tuple[str, str]] = []
    names: list[str] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            pairs.append(("", ""))
            continue
        row = row_of(line, f"line {number} of {path}", argument=argument)
        if not names:
            names = two_names(reading.fields, path=path, kind="keys", found=list(row))
        source, target = (
            text_of(row, name, f"line {number} of {path}", argument) for name in names
        )
        pairs.append((one_line(source), one_line(target)))
    return Found(pairs, range(1, len(pairs) + 1), str(path))


def row_of(line: str, place: str, *, argument: str) -> Mapping[str, object]:
    """The object of a line, or the one that it holds under "translation".

    Raises:
      ValueError: the line is not JSON, or no object.
    """
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        reason = "too deeply nested" if isinstance(error, RecursionError) else str(error)
        raise ValueError(
            f"`{argument}` must hold one JSON object on each line; {place} is not JSON ({reason}). "
            "Correct the line, or fetch the file again if it is cut."
        ) from None
    if not isinstance(row, dict):
        raise ValueError(
            f"`{argument}` must hold one JSON object on each line; {place} holds "
            f'{type(row).__name__}. Write it as {{"en": ..., "de": ...}}.'
        )
    nested = row.get(NESTED)
    found = nested if isinstance(nested, dict) else row
    return {unicode_form(name, "nfc"): value for name, value in found.items()}


def text_of(row: Mapping[str, object], name: str, place: str, argument: str) -> str:
    """The text under a name in a row of JSON or of a table.

    Raises:
      ValueError: there is no such name, or something else than text.
    """
    if name not in row:
        raise ValueError(
            f"`{FIELDS}` must be among the keys of every line; {place} has no {name}"
            f"{named(list(row))}. Add it there, or name other keys."
        )
    value = row[name]
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ValueError(
            f"`{argument}` must hold text under each key of `{FIELDS}`; {place} has "
            f"{type(value).__name__} under {name}. Write it in quotes, or name another key."
        )
    if any("\ud800" <= c <= "\udfff" for c in value):
        raise ValueError(
            f"`{argument}` must be text; {place} holds half of a surrogate pair, such as \\ud83d "
            f"alone, under {name}. Write the whole character."
        )
    if "\0" in value:
        raise ValueError(f"`{argument}` must be text; {place} holds \\u0000. Take it out.")
    return value
