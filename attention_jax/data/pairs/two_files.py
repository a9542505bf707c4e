"""Pairs of two aligned files, line by line."""

import os
from pathlib import Path

from attention_jax.core.plain_types import typed_calls
from attention_jax.data.pairs.types import FIELDS, Found, Reading, two_names
from attention_jax.data.text_files import read_lines


@typed_calls
def read_two(source: str | Path, target: str | Path, *, arguments: tuple[str, str]) -> Found:
    """Pairs of line i of one file with line i of the other.

    Raises:
      ValueError: one has more lines than the other.
    """
    sources = read_lines(source, argument=arguments[0])
    targets = read_lines(target, argument=arguments[1])
    if len(sources) != len(targets):
        raise ValueError(
            "`source` and `target` must have equally many lines, line i of one translating line i "
            f"of the other; got {len(sources)} in {source} and {len(targets)} in {target}."
        )
    pairs = list(zip(sources, targets, strict=True))
    return Found(pairs, range(1, len(pairs) + 1), f"{source} and {target}")


@typed_calls
def read_moses(path: str | Path, reading: Reading, *, argument: str) -> Found:
    """Pairs of the files "corpus.en" and "corpus.de", where `path` is "corpus".

    Each may be packed: "corpus.en.gz".

    Raises:
      FileNotFoundError: one of the two is missing.
      ValueError: one has more lines than the other.
    """
    names = two_names(reading.fields, path=path, kind="languages", found=languages(path))
    files = []
    for name in names:
        choices = [Path(f"{path}.{name}"), Path(f"{path}.{name}.gz")]
        file = next((choice for choice in choices if os.path.isfile(choice)), None)
        if file is None:
            listed = ", ".join(languages(path)) or "none"
            raise FileNotFoundError(
                f"`{argument}` must be what two file names have alike, followed by . and a name of "
                f"`{FIELDS}`; {choices[0]} does not exist. Of {path} there are: {listed}."
            )
        files.append(file)
    return read_two(*files, arguments=(argument, argument))


def languages(path: str | Path) -> list[str]:
    """The ends of the names of files that begin with `path` and a dot, without ".gz"."""
    path = Path(path)
    inside = path.parent.iterdir() if os.path.isdir(path.parent) and path.name else ()
    own = (f.name.removesuffix(".gz") for f in inside if f.name.startswith(f"{path.name}."))
    return sorted({name.removeprefix(f"{path.name}.") for name in own})
