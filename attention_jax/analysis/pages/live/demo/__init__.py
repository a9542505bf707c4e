"""The demo's trained model, packaged: what `attention-jax lesson` shows without any training.

    Path("lesson.html").write_text(demo.page(), encoding="utf-8")

README.md beside this file names the commands that made it.
"""

import base64
import json
from pathlib import Path

from attention_jax.analysis.pages import live
from attention_jax.analysis.pages.live.describe import Translator
from attention_jax.analysis.pages.live.forms import Json
from attention_jax.core.files import write_whole
from attention_jax.data.tokenizer import Tokenizer

_FOLDER = Path(__file__).parent
_WEIGHTS, _MODEL = "weights.f16", "model.json"
EXAMPLES = (
    "the queen does not sleep.",
    "this uncle dances near the street.",
    "does a girl look for the blue tables?",
    "my tall man does not buy my oranges.",
    "the brother and the queen read a book now.",
    "a sick sister's kings do not look for two shirts.",
)


def page() -> str:
    """The live page of the demo's model."""
    shown = live.Shown("demo", "transformer, attention scaled_dot")
    return live.page(shown, read(), examples=EXAMPLES)


def read() -> dict[str, Json]:
    """The model's description, as `live.describe` gives it."""
    own: dict[str, Json] = json.loads((_FOLDER / _MODEL).read_text(encoding="utf-8"))
    return own | {"weights": base64.b64encode((_FOLDER / _WEIGHTS).read_bytes()).decode()}


def keep(model: Translator, tokenizer: Tokenizer, *, folder: Path = _FOLDER) -> None:
    """Writes the files of a model, which `read` reads; by default over those of the library."""
    own = live.describe(model, tokenizer)
    weights = own.pop("weights")
    assert isinstance(weights, str)
    write_whole(folder / _WEIGHTS, base64.b64decode(weights))
    write_whole(folder / _MODEL, json.dumps(own, ensure_ascii=False) + "\n")
