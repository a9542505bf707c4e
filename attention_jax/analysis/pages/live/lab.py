"""Training lab: a score written in one line of JavaScript, trained in the page, offline.

    html = lab.page(language="en")
    Path("lab.html").write_text(html, encoding="utf-8")

A small Transformer and a GRU with and without attention learn to reverse lists of digits, in
jax-js. `SCRIPTS` are plain scripts, in the order in which they stand in a page or in node.
"""

from pathlib import Path

from attention_jax.analysis import pages
from attention_jax.core import checks
from attention_jax.core.plain_types import typed_calls

_FOLDER = Path(__file__).parent
LANGUAGES = ("en", "es")
ENGINE = _FOLDER / "jax_js" / "jax-js-0.1.25.js"
# Those that compute, then those that draw.
_COMPUTING = ("engine", "score", "functions", "lists", "check", "models", "training", "words")
MODEL = (_FOLDER / "engine.js", *(_FOLDER / f"lab_{name}.js" for name in _COMPUTING))
SCRIPTS = (
    *MODEL,
    *(_FOLDER / f"lab_{name}.js" for name in ("draw", "run", "paint", "lengths", "page")),
)


@typed_calls
def page(*, language: str = "en") -> str:
    """HTML page of the lab alone.

    Args:
      language: of its text, one of `LANGUAGES`.
    """
    checks.one_of("language", language, LANGUAGES)
    return pages.render(
        _FOLDER / "lab.html",
        title="Training lab",
        language=language,
        engine=str(ENGINE.relative_to(_FOLDER)),
        scripts=[file.name for file in SCRIPTS],
    )
