"""Page that plays recordings beside what a model of speech makes of them, computed before.

    html = recordings.page(shown, [recordings.Recording("one.wav", ...)])

The sound runs with a cursor over the spectrogram and the alignment, which share their axis of time.
"""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from attention_jax.analysis.attention_maps import Map
from attention_jax.analysis.pages.live import parts
from attention_jax.analysis.pages.live.forms import Json

__all__ = ["PANELS", "Recording", "page"]

PANELS = (
    *parts.WORDS,
    *parts.scripts("speech_words", "parts", "app", "recordings", "look"),
    Path(__file__).parents[1] / "explorer" / "picture.js",
    *parts.scripts("alignment", "page", "recording_start"),
)
# Maps of more moments squared than these would be most of the page.
_MOST_MOMENTS = 160


class Recording(NamedTuple):
    """A recording of the page.

    Attributes:
      name: of its file.
      wav: bytes of a WAV file.
      png: the spectrogram, time from left to right.
      seconds: which the spectrogram lasts.
      step: seconds of a position of the encoder.
      source: names of the positions.
      target: the tokens that were written; none of a model without decoder.
      text: the transcript that was written.
      maps: as `attention_maps.attention_maps` gives them.
      truth: what was said, where that is known.
    """

    name: str
    wav: bytes
    png: bytes
    seconds: float
    step: float
    source: Sequence[str]
    target: Sequence[str]
    text: str
    maps: Mapping[str, Map]
    truth: str = ""


def page(shown: parts.Shown, recordings: Sequence[Recording]) -> str:
    """HTML page of recordings.

    Args:
      shown: which run it is.
      recordings: those that are offered; the first is shown at once.

    Raises:
      ValueError: there is no recording.
    """
    if not recordings:
        raise ValueError("`recordings` must hold at least one; got none.")
    data = {
        **shown._asdict(),
        "model": None,
        "recordings": [_recording(own) for own in recordings],
    }
    return parts.render(
        "recordings.html",
        data,
        PANELS,
        title="Attention on speech, played",
        styles=["recordings.css"],
    )


def _recording(own: Recording) -> dict[str, Json]:
    reading = {
        "text": own.text,
        "source": list(own.source),
        "target": list(own.target),
        "maps": parts.recorded_maps(_shown(own)),
    }
    return {
        "name": own.name,
        "truth": own.truth,
        "wav": base64.b64encode(own.wav).decode(),
        "png": base64.b64encode(own.png).decode(),
        "seconds": own.seconds,
        "step": own.step,
        "reading": reading,
    }


def _shown(own: Recording) -> dict[str, Map]:
    """The maps that the page has: to the sound, and within a short one."""
    is_long = len(own.source) > _MOST_MOMENTS and "cross" in own.maps
    places = ("cross",) if is_long else ("cross", "encoder")
    return {place: own.maps[place] for place in places if place in own.maps}
