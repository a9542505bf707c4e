"""Figures, drawn with Matplotlib: `style` is their one look."""

from attention_jax.core.extras import needed

with needed("plots"):
    import matplotlib  # noqa: F401
