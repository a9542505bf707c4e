"""Live page: one HTML file in which a trained translation model computes in the browser, offline.

    own = live.describe(run.model, run.tokenizer)
    html = live.page(live.Shown("my run", "transformer"), own, examples=["the queen sleeps."])
    Path("live.html").write_text(html, encoding="utf-8")

`describe.py` makes the data, the scripts are the page. They are plain scripts, which stand in the
page one after another; node runs them likewise, so that tests compare them with the models in JAX.
Of a model that the scripts have no form of, the page shows recorded maps, and says why.
`pictures.py` makes the page of a model of pictures, `recordings.py` one that plays recordings.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from attention_jax.analysis.attention_maps import Map
from attention_jax.analysis.pages.live import lab, parts
from attention_jax.analysis.pages.live.describe import describe, why_recorded
from attention_jax.analysis.pages.live.forms import LIVE, Json
from attention_jax.analysis.pages.live.parts import Shown
from attention_jax.analysis.pages.live.weights import packed, parameters, rounded

__all__ = [
    "LIVE",
    "MODEL",
    "PANELS",
    "Checkpoint",
    "More",
    "Other",
    "Recorded",
    "Shown",
    "describe",
    "packed",
    "page",
    "parameters",
    "rounded",
    "why_recorded",
]

# What computes, in the order in which scripts stand in the page after jax-js.
MODEL = (*parts.ENGINE, *parts.scripts("recurrent", "model", "search", "tokenizer"))
PANELS = (
    *parts.WORDS,
    *parts.scripts("parts", "app", "sentences"),
    *parts.PANELS,
    *parts.scripts("exchange", "replay", "growth", "page", "start"),
)


class Recorded(NamedTuple):
    """A translation that was computed before, for a model that the page cannot compute.

    Attributes:
      text: of the source.
      translation: of it.
      source: the tokens of the input, with EOS.
      target: the tokens of the output, with EOS.
      maps: as `attention_maps.sentence` gives them.
    """

    text: str
    translation: str
    source: Sequence[str]
    target: Sequence[str]
    maps: Mapping[str, Map]


class Checkpoint(NamedTuple):
    """The weights of the model at a step of its training, as `packed` gives them."""

    step: int
    weights: str


class Other(NamedTuple):
    """Another model of the same vocabulary, by its description."""

    name: str
    about: str
    model: dict[str, Json]


class More(NamedTuple):
    """Further contents of a page, beside its model.

    Attributes:
      checkpoints: of its training, in order; at least two are shown.
      curve: its loss at steps of training.
      others: models that translate beside it a sentence that grows.
    """

    checkpoints: Sequence[Checkpoint] = ()
    curve: Sequence[tuple[int, float]] = ()
    others: Sequence[Other] = ()


_NOTHING = More()


def page(
    shown: Shown,
    model: dict[str, Json] | None,
    *,
    examples: Sequence[str] = (),
    recorded: Sequence[Recorded] = (),
    more: More = _NOTHING,
) -> str:
    """HTML page of a model.

    Args:
      shown: which run it is.
      model: its description, by `describe`; None where the page cannot compute it.
      examples: sentences that are offered; the first is read at once.
      recorded: translations that are shown where there is no description.
      more: what is shown beside it.

    Raises:
      ValueError: there is neither a description nor a recorded translation.
    """
    if model is None and not recorded:
        raise ValueError(
            "`recorded` must hold a translation where there is no description; got none."
        )
    data = {
        **shown._asdict(),
        "model": model,
        "examples": list(examples),
        "recorded": [_reading(own) for own in recorded],
        "checkpoints": [own._asdict() for own in more.checkpoints],
        "curve": [list(point) for point in more.curve],
        "others": [own._asdict() for own in more.others],
    }
    # The lab computes by the page's own engine, which stands there once.
    files = dict.fromkeys((lab.ENGINE, *MODEL, *lab.SCRIPTS, *PANELS))
    return parts.render("live.html", data, files, title="Attention, live", styles=["lab.css"])


def _reading(own: Recorded) -> dict[str, Json]:
    """A translation as the page's panels take one that they computed."""
    reading = {
        "text": own.translation,
        "source": list(own.source),
        "target": list(own.target),
        "maps": parts.recorded_maps(own.maps),
    }
    return {"text": own.text, "reading": reading}
