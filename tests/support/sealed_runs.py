"""Runs whose small files were written otherwise, as if they had been so from the start."""

import json
from pathlib import Path

from experiments.common import seals


def write_flags(folder: Path, text: str) -> None:
    """Writes run.flags anew; `text` may end with an older seal."""
    (folder / "run.flags").write_text(seals.sealed_lines(text.partition("# sha256 ")[0]))


def write_record(folder: Path, **changes: object) -> None:
    """Changes entries of run.json, and takes other files of the folder for those of the run."""
    record = json.loads((folder / "run.json").read_text()) | changes
    record["known"] = seals.hashes_of(folder, set(record["known"]))
    del record["sha256"]
    (folder / "run.json").write_text(seals.sealed_record(record))
