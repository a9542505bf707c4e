"""Parts of every live page: its run, scripts that all have, recorded maps, and its file."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from attention_jax.analysis import pages
from attention_jax.analysis.attention_maps import Map
from attention_jax.analysis.pages.live.forms import Json, Reason

_FOLDER = Path(__file__).parent
_DIGITS = 4  # of a recorded weight


class Shown(NamedTuple):
    """The run of a page.

    Attributes:
      name: of the run.
      about: its model in a few words.
      reasons: for which the page cannot compute it, as `why_recorded` gives them.
    """

    name: str
    about: str
    reasons: Sequence[Reason] = ()


def scripts(*names: str) -> tuple[Path, ...]:
    """Files of scripts by their names."""
    return tuple(_FOLDER / f"{name}.js" for name in names)


ENGINE = scripts("engine", "scores", "normalizing", "transformer", "network")
WORDS = scripts("words", "step_words")
PANELS = scripts("look", "steps", "edit")


def render(
    template: str,
    data: Mapping[str, Json],
    files: Iterable[Path],
    *,
    title: str,
    styles: Sequence[str],
) -> str:
    """The page of a template in this folder, with its scripts in order."""
    names = [file.relative_to(_FOLDER.parent).as_posix() for file in files]
    return pages.render(_FOLDER / template, title=title, data=data, scripts=names, styles=styles)


def recorded_maps(maps: Mapping[str, Map]) -> dict[str, Json]:
    """Maps as the page's panels take those that they computed; a place without any is empty."""
    found = {
        place: [{"weights": _numbers(weights)} for weights in own.weights]
        for place, own in maps.items()
    }
    return {place: found.get(place, []) for place in ("encoder", "decoder", "cross")}


def _numbers(weights: np.ndarray) -> dict[str, Json]:
    finite = np.nan_to_num(weights.astype(np.float64)).round(_DIGITS)
    return {"shape": list(weights.shape), "data": finite.ravel().tolist()}
