"""A column of text of CSV or JSON Lines, for models of language."""

from pathlib import Path

from attention_jax.core import checks
from attention_jax.core.plain_types import typed_calls
from attention_jax.data.pairs.delimited import chosen, csv_rows
from attention_jax.data.pairs.jsonl import row_of, text_of
from attention_jax.data.pairs.types import FIELDS
from attention_jax.data.text_files import read_lines, unicode_form

FORMATS = ("csv", "jsonl")
_SUFFIXES = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}


@typed_calls
def read_column(
    path: str | Path,
    field: str,
    *,
    format: str | None = None,
    delimiter: str = ",",
    argument: str = "path",
) -> list[str]:
    """Texts of one column, without those that are empty; their line breaks stay.

    Args:
      path: a file of CSV or JSON Lines, also with .gz or inside a .zip.
      field: a column that the header of CSV names, or its number from 1 where there is no header;
        a key of each object of JSON.
      format: one of `FORMATS`; None: by the name of the file.
      delimiter: the character between columns of CSV.
      argument: the caller's name for the file in errors.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: an unknown format, no such column or key, or something else than text there.
    """
    name = str(path).lower().removesuffix(".gz").removesuffix(".zip")
    kind = format or _SUFFIXES.get(Path(name).suffix)
    if kind is None:
        raise ValueError(
            f"`{argument}` must have a name that tells its format ({', '.join(_SUFFIXES)}, each "
            f"also with .gz) for `{FIELDS}`={field}; got {path}. Say it by `format`, one of "
            f"{', '.join(FORMATS)}, or leave `{FIELDS}` out for plain text."
        )
    checks.one_of("format", kind, FORMATS)
    own = unicode_form(field.strip(), "nfc")
    if not own or "," in own:
        raise ValueError(f"`{FIELDS}` must name one column of text in {path}; got {field!r}.")
    if kind == "jsonl":
        texts = _of_jsonl(path, own, argument=argument)
    else:
        found = csv_rows(path, delimiter, argument=argument)
        (column,), rows = chosen(found, [own], path=path, delimiter=delimiter, argument=argument)
        texts = [row[column] for _, row in rows if row]
    texts = [text for text in texts if text.strip()]
    if not texts:
        raise ValueError(f"`{argument}` must hold text; the column {own} of {path} has none.")
    return texts


def _of_jsonl(path: str | Path, field: str, *, argument: str) -> list[str]:
    texts = []
    for number, line in enumerate(read_lines(path, argument=argument), 1):
        if line.strip():
            place = f"line {number} of {path}"
            texts.append(text_of(row_of(line, place, argument=argument), field, place, argument))
    return texts
