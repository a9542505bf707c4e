"""Figures, drawn with Matplotlib: `style` is their one look."""

from attention_jax.core import lazy
from attention_jax.core.extras import needed

with needed("plots"):
    import matplotlib  # noqa: F401

from attention_jax.analysis.plots.steps import explanation as explanation  # noqa: E402

__getattr__, __dir__ = lazy.submodules(__name__, __path__)
