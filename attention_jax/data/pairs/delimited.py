"""Pairs of two columns: TSV, and CSV with its quotes and header."""

import csv
import re
from collections.abc import Sequence
from pathlib import Path

from attention_jax.core.plain_types import typed_calls
from attention_jax.data.pairs.types import FIELDS, Found, Reading, named, one_line, two_names
from attention_jax.data.text_files import line_numbers, read_lines, unicode_form

Rows = list[tuple[int, list[str]]]  # each with the number of its first line


@typed_calls
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


@typed_calls
def read_csv(path: str | Path, reading: Reading, *, argument: str) -> Found:
    """Pairs of two columns of CSV (RFC 4180), which the header names.

    Quoted fields may hold delimiters, doubled quotes and line breaks; a line break is a space of
    the sentence. Two numbers in `fields` are columns of a file without a header.

    Raises:
      ValueError: no such columns, a quote that does not close, or rows of unequal width.
    """
    rows = csv_rows(path, reading.delimiter, argument=argument)
    names = two_names(reading.fields, path=path, kind="columns", found=header(rows))
    columns, rows = chosen(rows, names, path=path, delimiter=reading.delimiter, argument=argument)
    source, target = columns
    pairs = [(one_line(row[source]), one_line(row[target])) if row else ("", "") for _, row in rows]
    return Found(pairs, [line for line, _ in rows], str(path))


@typed_calls
def csv_rows(path: str | Path, delimiter: str, *, argument: str) -> Rows:
    """Rows of CSV (RFC 4180), each with the number of its first line.

    Raises:
      ValueError: no such delimiter, or a quote that does not close.
    """
    if len(delimiter) != 1 or delimiter in '"\r\n':
        raise ValueError(f"`delimiter` must be one character, and no quote; got {delimiter!r}.")
    lines = (f"{line}\n" for line in read_lines(path, argument=argument))
    found = csv.reader(lines, delimiter=delimiter, strict=True)
    first, rows = 1, []
    try:
        for row in found:
            rows.append((first, row))
            first = found.line_num + 1
    except csv.Error as error:
        raise ValueError(
            f"`{argument}` must be CSV, in which a field with a quote is quoted and its quotes "
            f"doubled; the row that begins on line {first} of {path} is not ({error}). Correct "
            "it, or write the file with a CSV library."
        ) from error
    return rows


def header(rows: Rows) -> list[str]:
    """The names that the first row of CSV gives, in one normal form of Unicode."""
    return [unicode_form(name.strip(), "nfc") for name in rows[0][1]] if rows else []


def chosen(
    rows: Rows, names: Sequence[str], *, path: str | Path, delimiter: str, argument: str
) -> tuple[list[int], Rows]:
    """The columns that names or numbers mean, and the rows that hold text.

    Args:
      rows: all rows, of which the first names the columns unless all names are numbers.
      names: of the columns; or their numbers from 1, for a file without a header.
      path: the file, in errors.
      delimiter: the character between its columns.
      argument: the caller's name for the file in errors.

    Raises:
      ValueError: no such column, or rows of unequal width.
    """
    head = header(rows)
    if not set(names) <= set(head) and all(re.fullmatch(r"[1-9]\d*", name) for name in names):
        columns = [int(name) - 1 for name in names]
        if len(head) <= max(columns):
            raise ValueError(
                f"`{FIELDS}` must be columns from 1 to {len(head)}, as many as line 1 of {path} "
                f"has; got {','.join(names)}. For another character between them set `delimiter`."
            )
    else:
        columns, rows = [_column(name, head, path, delimiter) for name in names], rows[1:]
    _check_widths(rows, len(head), path, argument=argument)
    return columns, rows


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


def _check_widths(rows: Rows, width: int, path: str | Path, *, argument: str) -> None:
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
