"""Live page: one HTML file in which a trained translation model computes in the browser, offline.

    own = live.describe(run.model, run.tokenizer)
    html = live.page("my run", own, sentences=["the queen sleeps."])
    Path("live.html").write_text(html, encoding="utf-8")

`describe.py` makes the data, the scripts are the page. They are plain scripts, which stand in the
page one after another; node runs them likewise, so that tests compare them with the models in JAX.
"""

from pathlib import Path

from attention_jax.analysis.pages.live.describe import (
    LIVE,
    describe,
    parameters,
    rounded,
    why_recorded,
)

__all__ = ["ENGINE", "LIVE", "MODEL", "describe", "parameters", "rounded", "why_recorded"]

_FOLDER = Path(__file__).parent
# What computes, in the order in which scripts stand in the page: jax-js, then the model.
ENGINE = _FOLDER / "jax_js" / "jax-js-0.1.25.js"
MODEL = tuple(
    _FOLDER / f"{name}.js"
    for name in ("engine", "scores", "transformer", "recurrent", "model", "search", "tokenizer")
)
