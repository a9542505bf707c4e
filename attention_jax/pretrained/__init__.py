"""Weights of other libraries, in and out.

loaded = load("folder")        # config.json, *.safetensors, tokenizer.json
save(loaded, "other")          # the same, to be read by the library that it came from
"""

from attention_jax.pretrained.loading import Pretrained, load
from attention_jax.pretrained.saving import save

__all__ = ["Pretrained", "load", "save"]
