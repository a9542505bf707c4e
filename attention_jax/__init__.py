"""Attention from one line of math, and fair comparisons with recurrent networks.

    out = attention(q, k, v, mask=masks.causal)

`attention` takes `[b t h d]` arrays and functions of one query and one key; `plan` says what
it would run, and `explain` shows every step of a small call. `variants` holds one mechanism of the
literature a file; `scores`, `normalizers`, `masks` and `positions` are the parts they are made of.

The other rooms are imported at first use, since they need Flax and the packages of extras:
`aj.nn`, `aj.models`, `aj.parallel`, `aj.pretrained`, `aj.data`, `aj.decoding`, `aj.training`,
`aj.evaluation`, `aj.analysis`.
"""

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

from attention_jax import variants
from attention_jax.core import contexts, masks, normalizers, positions, scores
from attention_jax.core.allocator import keep_memory
from attention_jax.core.explanation import Explanation
from attention_jax.core.types import Context, Options, Variant
from attention_jax.engine.api import attention, plan
from attention_jax.engine.explain import explain
from attention_jax.variants._builders.pair import from_mask, from_score

if TYPE_CHECKING:  # so that type checkers and editors know them
    from attention_jax import analysis as analysis
    from attention_jax import data as data
    from attention_jax import decoding as decoding
    from attention_jax import evaluation as evaluation
    from attention_jax import models as models
    from attention_jax import nn as nn
    from attention_jax import parallel as parallel
    from attention_jax import pretrained as pretrained
    from attention_jax import training as training

__version__ = "0.2.0"

_ROOMS = (
    "analysis",
    "data",
    "decoding",
    "evaluation",
    "models",
    "nn",
    "parallel",
    "pretrained",
    "training",
)

# The lazy rooms are left out: a star import should stay light too.
__all__ = [
    "Context",
    "Explanation",
    "Options",
    "Variant",
    "attention",
    "contexts",
    "explain",
    "from_mask",
    "from_score",
    "keep_memory",
    "masks",
    "normalizers",
    "plan",
    "positions",
    "scores",
    "variants",
]


def __getattr__(name: str) -> ModuleType:
    if name in _ROOMS:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_ROOMS})
