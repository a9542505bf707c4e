"""Pairs of data sets of Hugging Face on disk: folders that `save_to_disk` writes, and Parquet.

Rows are read a thousand at a time, of the columns that are asked for alone; folders of
`save_to_disk` are mapped into memory, and nothing is fetched or cached.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

from attention_jax.core import checks
from attention_jax.core.extras import needed
from attention_jax.core.plain_types import typed_calls
from attention_jax.data.pairs.jsonl import NESTED, text_of
from attention_jax.data.pairs.types import FIELDS, Found, Reading, named, one_line, two_names
from attention_jax.data.text_files import unicode_form

_SAVED, _SPLITS, _PARQUET = "state.json", "dataset_dict.json", ".parquet"
_ROWS = 1000  # read at a time


class _Table(NamedTuple):
    """Rows of columns.

    Attributes:
      columns: their names.
      nested: names of the languages in the column "translation"; empty where there is none.
      batches: `(columns) -> ` record batches of these columns.
    """

    columns: Sequence[str]
    nested: Sequence[str]
    batches: Callable[[list[str]], Iterator[Any]]


def is_one(path: str | Path) -> bool:
    """True for a Parquet file, and for a folder of a data set."""
    path = Path(path)
    if path.suffix.lower() == _PARQUET:
        return True
    saved = (os.path.isfile(path / name) for name in (_SAVED, _SPLITS))
    return any(saved) or any(_parquet_files(path))


@typed_calls
def read_datasets(path: str | Path, reading: Reading, *, argument: str) -> Found:
    """Pairs of two columns, or of two languages of the column "translation".

    Args:
      path: a folder of `Dataset.save_to_disk`, a Parquet file, a folder of those, or a pattern of
        their names such as "data/train-*.parquet".
      reading: how it is read.
      argument: the caller's name for it in errors.

    Raises:
      FileNotFoundError: there is no such file or folder.
      ModuleNotFoundError: the package datasets, or pyarrow, is not installed.
      ValueError: a folder of several splits, no such columns, or something else than text in them.
    """
    path = Path(path)
    files = [] if os.path.isfile(path / _SAVED) else _files(path, argument)
    try:
        table = _parquet(files, argument) if files else _saved(path)
        names, rows = _rows(table, path, reading)
        pairs = [
            _pair(row, names, f"row {number} of {path}", argument)
            for number, row in enumerate(rows, 1)
        ]
    except ModuleNotFoundError:
        raise
    except Exception as error:  # the libraries raise many kinds
        if type(error) is ValueError:
            raise
        raise ValueError(
            f"`{argument}` must be a data set that can be read; {path} is damaged, or no data set "
            f"({checks.reason(error)}). Save it again."
        ) from error
    return Found(pairs, range(1, len(pairs) + 1), str(path))


def _pair(row: Mapping[str, Any], names: list[str], place: str, argument: str) -> tuple[str, str]:
    source, target = (one_line(text_of(row, name, place, argument)) for name in names)
    return source, target


def _rows(
    table: _Table, path: Path, reading: Reading
) -> tuple[list[str], Iterator[Mapping[str, Any]]]:
    """The names of the two sides, and the rows in which they stand."""
    normal = {unicode_form(name, "nfc"): name for name in table.columns}
    languages = [unicode_form(name, "nfc") for name in table.nested]
    names = two_names(reading.fields, path=path, kind="columns", found=languages or list(normal))
    if set(names) <= set(normal):
        own = [normal[name] for name in names]
        rows = (row for batch in table.batches(own) for row in batch.to_pylist())
        return names, map(_in_form, rows)
    if set(names) <= set(languages):
        nothing = dict.fromkeys(names)
        found = (x for batch in table.batches([NESTED]) for x in batch.column(0).to_pylist())
        return names, (_in_form(row or nothing) for row in found)
    missing = next(name for name in names if name not in (languages or normal))
    raise ValueError(
        f"`{FIELDS}` must be among the columns of {path}, or the languages of its column {NESTED}; "
        f"got {missing}{named(languages or list(normal))}."
    )


def _in_form(row: Mapping[str, Any]) -> dict[str, Any]:
    return {unicode_form(name, "nfc"): value for name, value in row.items()}


def _saved(path: Path) -> _Table:
    """A folder of `save_to_disk`, mapped into memory."""
    with needed("datasets"):
        import datasets
    table = cast(Any, datasets.load_from_disk(str(path))).data.table

    def batches(columns: list[str]) -> Iterator[Any]:
        yield from table.select(columns).to_batches(max_chunksize=_ROWS)

    return _Table(table.schema.names, _languages(table.schema), batches)


def _parquet(files: Sequence[Path], argument: str) -> _Table:
    """Parquet files, one after the other."""
    with needed("datasets"):
        from pyarrow import parquet
    schema = parquet.read_schema(files[0])

    def batches(columns: list[str]) -> Iterator[Any]:
        for file in files:
            with parquet.ParquetFile(file) as opened:
                if lost := set(columns) - set(opened.schema_arrow.names):
                    raise ValueError(
                        f"`{argument}` must have the same columns in every file; {file} has no "
                        f"{', '.join(sorted(lost))}, which {files[0]} has. Leave it out."
                    )
                yield from opened.iter_batches(_ROWS, columns=columns)

    return _Table(schema.names, _languages(schema), batches)


def _languages(schema: Any) -> list[str]:
    """Names of the languages in the column "translation"; none where there is no such column."""
    if NESTED not in schema.names:
        return []
    nested = schema.field(NESTED).type  # a struct alone has fields
    return [nested.field(i).name for i in range(getattr(nested, "num_fields", 0))]


def _files(path: Path, argument: str) -> list[Path]:
    """The Parquet files that a path names, all of one split."""
    if os.path.isfile(path / _SPLITS):
        splits = json.loads((path / _SPLITS).read_text(encoding="utf-8"))["splits"]
        raise _several(path, argument, [str(path / name) for name in splits])
    if path.suffix.lower() == _PARQUET and not os.path.isdir(path):
        files = sorted(path.parent.glob(path.name)) if "*" in path.name else [path]
    else:
        files = sorted(_parquet_files(path))
        # As the hub names them: train-00000-of-00002.parquet.
        splits = sorted({file.name.partition("-")[0] for file in files if "-" in file.name})
        if len(splits) > 1:
            raise _several(path, argument, [f"{path}/{name}-*{_PARQUET}" for name in splits])
    missing = next((file for file in files or [path] if not os.path.isfile(file)), None)
    if missing is not None:
        raise FileNotFoundError(
            f"`{argument}` must be a folder of a data set, or Parquet files; {missing} is none, or "
            "does not exist."
        )
    return files


def _parquet_files(path: Path) -> list[Path]:
    return list(path.glob(f"*{_PARQUET}")) if os.path.isdir(path) else []


def _several(path: Path, argument: str, splits: Sequence[str]) -> ValueError:
    return ValueError(
        f"`{argument}` must name one split; {path} holds several. Name one of "
        f"{', '.join(splits)}, and the others by the options `validation` and `test`."
    )
