"""Attention from one line of maths, and fair comparisons with recurrent networks.

    out = attention(q, k, v, mask=masks.causal)

`attention` takes `[b t h d]` arrays and functions of one query and one key; `plan` says what
it would run. `variants` holds one mechanism of the literature a file; `scores`, `normalizers`,
`masks` and `positions` are the parts they are made of. Models, tasks and training are
submodules of their own, to be imported by name, so that this import stays light.
"""

from attention_jax import variants
from attention_jax.core import masks, normalizers, positions, scores
from attention_jax.engine.api import attention, plan
from attention_jax.variants._builders.pair import from_mask, from_score

__version__ = "0.1.0"

__all__ = [
    "attention",
    "from_mask",
    "from_score",
    "masks",
    "normalizers",
    "plan",
    "positions",
    "scores",
    "variants",
]
