"""Pairs of two columns: TSV, and CSV with its quotes and header."""

import csv
import re
from collections.abc import Iterator
from pathlib import Path

from attention_jax.data.pairs.types import FIELDS, Found, Reading, named, one_line, two_names
from attention_jax.data.text_files import line_numbers, read_lines, unicode_form

_Rows = list[tuple[int, list[str]]]  # each with the number of its first line


def read_tsv(path: str | Path, reading: Reading, *, argument: str) -> Found:
    """Pairs of two columns; every line that is not empty has the same number of them.

    Raises:
      ValueError: columns that are missing, or not equally many on every line.
    """
    columns = _columns(reading.columns)
    rows = [line.split("\t") for line in read_lines(path, argument=argument)]
    width = max((len(row) for row in rows if row != [""]), default=0)
    needed = max(columns)
    if width < needed:
        raise ValueError(
            f"`{argument}` must have a column {needed}, separated by tabs; got {width} "
            f"column{'s' if width != 1 else ''} in {path}."
        )
    odd = [i for i, row in enumerate(rows, 1) if row != [""] and len(row) != width]
    if odd:
        raise ValueError(
            f"`{argument}` must have the same number of columns on every line; {path} has "
            f"{width}, but {len(rows[odd[0] - 1])} on {line_numbers(odd)}. "
            "Look for a tab too many or too few."
        )
    source, target = (column - 1 for column in columns)
    pairs = [("", "") if row == [""] else (row[source], row[target]) for row in rows]
    return Found(pairs, range(1, len(pairs) + 1), str(path))


def read_csv(path: str | Path, reading: Reading, *, argument: str) -> Found:
    """Pairs of two columns of CSV (RFC 4180), which the header names.

    Quoted fields may hold delimiters, doubled quotes and line breaks; a line break is a space of
    the sentence. Two numbers in `fields` are columns of a file without a header.

    Raises:
      ValueError: no such columns, a quote that does not close, or rows of unequal width.
    """
    if len(reading.delimiter) != 1 or reading.delimiter in '"\r\n':
        raise ValueError(
            f"`delimiter` must be one character, and no quote; got {reading.delimiter!r}."
        )
    rows = list(_csv_rows(path, reading.delimiter, argument=argument))
    head = [unicode_form(name.strip(), "nfc") for name in rows[0][1]] if rows else []
    names = two_names(reading.fields, path=path, kind="columns", found=head)
    if not set(names) <= set(head) and all(re.fullmatch(r"[1-9]\d*", name) for name in names):
        width, source, target = len(head), *(int(name) - 1 for name in names)
        if width <= max(source, target):
            raise ValueError(
                f"`{FIELDS}` must be columns from 1 to {width}, as many as line 1 of {path} has; "
                f"got {reading.fields}. For another character between them set `delimiter`."
            )
    else:
        source, target = (_column(name, head, path, reading.delimiter) for name in names)
        width, rows = len(head), rows[1:]
    _check_widths(rows, width, path, argument=argument)
    pairs = [(one_line(row[source]), one_line(row[target])) if row else ("", "") for _, row in rows]
    return Found(pairs, [line for line, _ in rows], str(path))


def _csv_rows(path: str | Path, delimiter: str, *, argument: str) -> Iterator[tuple[int, list]]:
    lines = (f"{line}\n" for line in read_lines(path, argument=argument))
    rows = csv.reader(lines, delimiter=delimiter, strict=True)
    first = 1
    try:
        for row in rows:
            yield first, row
            first = rows.line_num + 1
    except csv.Error as error:
        raise ValueError(
            f"`{argument}` must be CSV, in which a field with a quote is quoted and its quotes "
            f"doubled; the row that begins on line {first} of {path} is not ({error}). Correct "
            "it, or write the file with a CSV library."
        ) from error


def _column(name: str, head: list[str], path: str | Path, delimiter: str) -> int:
    if head.count(name) == 1:
        return head.index(name)
    if name in head:
        raise ValueError(
            f"`{FIELDS}` must name one column each; line 1 of {path} has {head.count(name)} called "
            f"{name}. Rename all but one, or leave the header out and give numbers, as in 1,2."
        )
    split = "" if len(head) > 1 else f" It is split at {delimiter!r}, which `delimiter` changes."
    raise ValueError(
        f"`{FIELDS}` must be among the names on line 1 of {path}; got {name}{named(head)}.{split} "
        "For a file without a header give numbers, as in --fields=1,2."
    )


def _check_widths(rows: _Rows, width: int, path: str | Path, *, argument: str) -> None:
    odd = [(line, len(row)) for line, row in rows if row and len(row) != width]
    if odd:
        raise ValueError(
            f"`{argument}` must have the same number of columns in every row; {path} has {width}, "
            f"but {odd[0][1]} on {line_numbers([line for line, _ in odd])}. Quote fields that hold "
            "the delimiter."
        )


def _columns(columns: str) -> tuple[int, int]:
    match = re.fullmatch(r"([1-9]\d*),([1-9]\d*)", columns)
    if match is None or match[1] == match[2]:
        raise ValueError(
            f'`columns` must be two different numbers from 1, such as "1,2"; got {columns!r}.'
        )
    return int(match[1]), int(match[2])
