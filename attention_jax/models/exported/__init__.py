"""Trained models as programs for other machines, other languages and later days."""

from attention_jax.models.exported.ports import Sizes
from attention_jax.models.exported.reading import load_exported
from attention_jax.models.exported.stand_ins import Exported

__all__ = ["Exported", "Sizes", "load_exported"]
