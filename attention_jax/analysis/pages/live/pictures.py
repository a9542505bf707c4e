"""Live page of a model of pictures: patches, where each looks, and classes as patches are hidden.

    own = pictures.describe(model, classes)
    html = pictures.page(shown, own, [pictures.Picture(image, number=1, label="7")], grid, classes)

A Vision Transformer computes in the page; of another model, or of one with an attention that the
scripts have no form of, the page shows recorded maps, and says why.
"""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from attention_jax.analysis.attention_maps import Map
from attention_jax.analysis.pages.live import lab, parts
from attention_jax.analysis.pages.live.describe_vision import describe, why_recorded
from attention_jax.analysis.pages.live.forms import Json
from attention_jax.analysis.plots import image_overlays

__all__ = ["MODEL", "PANELS", "Grid", "Picture", "Recorded", "describe", "page", "why_recorded"]

MODEL = (*parts.ENGINE, *parts.scripts("vision"))
PANELS = (
    *parts.WORDS,
    *parts.scripts("picture_words", "parts", "app", "pictures"),
    *parts.PANELS,
    Path(__file__).parents[1] / "explorer" / "picture.js",
    *parts.scripts("patches", "page", "picture_start"),
)


class Recorded(NamedTuple):
    """Probabilities and maps of a model for a picture, computed before.

    Attributes:
      probabilities: of the classes.
      maps: as `image_attribution.of_image` gives them.
    """

    probabilities: Sequence[float]
    maps: Mapping[str, Map]


class Picture(NamedTuple):
    """A picture of the page.

    Attributes:
      image: from 0 to 255.
      number: its number in the test; None where it is a file.
      name: that of its file.
      label: its class, of a picture of the test.
      recorded: what the model makes of it, where it does not compute in the page.
    """

    image: UInt8[np.ndarray, "y x c"]
    number: int | None = None
    name: str = ""
    label: str = ""
    recorded: Recorded | None = None


class Grid(NamedTuple):
    """Positions of a picture: patches downwards and across, and those before them.

    Attributes:
      rows: of patches.
      columns: of patches.
      tokens: positions before the patches.
      registers: of these, those after the class token, if there is one.
    """

    rows: int
    columns: int
    tokens: int = 0
    registers: int = 0


def page(
    shown: parts.Shown,
    model: Mapping[str, Json] | None,
    pictures: Sequence[Picture],
    grid: Grid,
    classes: Sequence[str],
) -> str:
    """HTML page of a model.

    Args:
      shown: which run it is.
      model: its description, by `describe`; None where the page cannot compute it.
      pictures: those that are offered; the first is read at once.
      grid: their positions.
      classes: what the answers mean.

    Raises:
      ValueError: there is no picture, or one without what the model makes of it where there is no
        description.
    """
    if not pictures:
        raise ValueError("`pictures` must hold at least one; got none.")
    if model is None and any(own.recorded is None for own in pictures):
        raise ValueError(
            "`pictures` must be recorded where there is no description; got one that is not."
        )
    data = {
        **shown._asdict(),
        "model": model,
        "pictures": [_picture(own) for own in pictures],
        "grid": grid._asdict(),
        "classes": list(classes),
    }
    return parts.render(
        "pictures.html",
        data,
        (lab.ENGINE, *MODEL, *PANELS),
        title="Attention on pictures, live",
        styles=["pictures.css"],
    )


def _picture(own: Picture) -> dict[str, Json]:
    data: dict[str, Json] = {
        "png": base64.b64encode(image_overlays.enlarged(own.image)).decode(),
        "number": own.number,
        "name": own.name,
        "label": own.label,
    }
    if own.recorded is None:
        return data | {"pixels": base64.b64encode(own.image.tobytes()).decode()}
    reading = {
        "probabilities": [round(float(x), 5) for x in own.recorded.probabilities],
        "maps": parts.recorded_maps(own.recorded.maps),
    }
    return data | {"reading": reading}
