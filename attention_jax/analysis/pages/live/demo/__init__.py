"""The demo's trained model, packaged: what `attention-jax lesson` shows without any training.

    Path("lesson.html").write_text(demo.page(), encoding="utf-8")

README.md beside this file names the commands that made it.
"""

import base64
import json
from collections.abc import Sequence
from pathlib import Path

from attention_jax.analysis.pages import live
from attention_jax.analysis.pages.live.describe import Json, Translator
from attention_jax.core.files import write_whole
from attention_jax.data.tokenizer import Tokenizer

_FOLDER = Path(__file__).parent
_WEIGHTS, _MODEL = "weights.f16", "model.json"


def page() -> str:
    """The live page of the demo's model."""
    own = read()
    examples: object = own.pop("examples")
    assert isinstance(examples, list)
    shown = live.Shown("demo", "transformer, attention scaled_dot")
    return live.page(shown, own, examples=examples)


def read() -> dict[str, Json]:
    """The model's description, as `live.describe` gives it, and `examples`, sentences for it."""
    own: dict[str, Json] = json.loads((_FOLDER / _MODEL).read_text(encoding="utf-8"))
    return own | {"weights": base64.b64encode((_FOLDER / _WEIGHTS).read_bytes()).decode()}


def keep(
    model: Translator, tokenizer: Tokenizer, examples: Sequence[str], *, folder: Path = _FOLDER
) -> None:
    """Writes the files of a model, which `read` reads.

    Args:
      examples: sentences that the page offers.
      folder: of the files.
    """
    own = live.describe(model, tokenizer)
    weights = own.pop("weights")
    assert isinstance(weights, str)
    write_whole(folder / _WEIGHTS, base64.b64decode(weights))
    text = json.dumps(own | {"examples": list(examples)}, ensure_ascii=False, indent=0)
    write_whole(folder / _MODEL, text + "\n")
