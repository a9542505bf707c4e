"""Samples of what a model writes, shown while it trains."""

import sys
from collections.abc import Iterable
from typing import Annotated, NamedTuple

from tqdm import tqdm

from experiments.common.flags import Flag


class SampleFlags(NamedTuple):
    """Samples shown in training.

    Attributes:
      samples: validation examples shown at each validation, always the same ones, with what the
        model makes of them; 0: none.
    """

    samples: Annotated[int, Flag(low=0, may_change=True)] = 0


def show(samples: Iterable[str]) -> None:
    """Prints samples on standard error, above the progress bar, an empty line after each."""
    for sample in samples:
        tqdm.write(f"{sample}\n", file=sys.stderr)
