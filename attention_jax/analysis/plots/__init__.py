"""Figures, drawn with Matplotlib."""

from attention_jax.core.extras import needed

with needed("plots"):
    import matplotlib  # noqa: F401
