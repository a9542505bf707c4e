"""Low-rank adapters of linear maps: a large matrix learns by two small ones.

model = adapted(model, targets=r"(query|value)/kernel$", rank=8, alpha=16, rngs=nnx.Rngs(0))
params = merged(nnx.as_pure(nnx.split(model)[1]), scale=16 / 8)      # those of the plain model
"""

import difflib
import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from attention_jax.core import checks, plain_types
from attention_jax.core.calls import clear_calls
from attention_jax.core.types import Params
from attention_jax.nn.layers import Linear, OutSharding, check_rngs

DOWN, UP = "lora_down", "lora_up"
# A pattern of the paths of all parameters but adapters.
BASE = rf"^(?!.*/({DOWN}|{UP})$)"
ATTENTIONS = r"(query|value)/kernel$"  # that section 4.2 of the paper adapts


class Adapted(Linear):
    """A linear map and its adapter, which at first adds nothing.

        y = x (W + (alpha / r) A B) + b,    A [i r],  B [r o],  B = 0 at first

    Args:
      base: the map.
      rank: r.
      alpha: how much the adapter counts.

    Reference: Hu et al. 2021, arXiv:2106.09685, equation 3, section 4.1.
    """

    @clear_calls
    def __init__(self, base: nnx.Linear, *, rank: int, alpha: float, rngs: nnx.Rngs):
        plain_types.sizes(rank=rank)
        checks.above_zero("alpha", alpha)
        check_rngs(rngs)
        for name, value in vars(base).items():
            if not name.startswith("_"):
                setattr(self, name, value)
        # The layers of a scanned stack have an axis of their own.
        *layers, inputs, outputs = base.kernel.shape
        if rank > min(inputs, outputs):
            raise ValueError(
                f"`rank` must be at most the smaller side of the map; got {rank} for {inputs} to "
                f"{outputs}. A full matrix would be smaller."
            )
        first = jax.random.normal(rngs.params(), (*layers, inputs, rank)) * inputs**-0.5
        self.lora_down = nnx.Param(first.astype(base.param_dtype))
        self.lora_up = nnx.Param(jnp.zeros((*layers, rank, outputs), base.param_dtype))
        self.lora_scale = alpha / rank

    def __call__(
        self, inputs: Float[Array, "*n i"], out_sharding: OutSharding = None
    ) -> Float[Array, "*n o"]:
        base = super().__call__(inputs, out_sharding)
        pair = self.lora_down[...], self.lora_up[...]
        x, down, up = self.promote_dtype((inputs, *pair), dtype=self.dtype)
        return base + self.lora_scale * ((x @ down) @ up)


@clear_calls
def adapted(
    model: nnx.Module, *, rank: int, alpha: float, rngs: nnx.Rngs, targets: str = ATTENTIONS
) -> nnx.Module:
    """The model, once linear maps of it have adapters.

    Args:
      model: it is changed.
      rank: of the adapters.
      alpha: how much they count.
      targets: a regular expression that occurs in the paths of the kernels that have one.

    Raises:
      ValueError: there is no such kernel of a `Linear`.
    """
    known = []
    for path, module in list(nnx.iter_modules(model)):
        for name, child in list(vars(module).items()):
            if type(child) is Linear:
                known.append("/".join(map(str, (*path, name, "kernel"))))
                if re.search(targets, known[-1]):
                    setattr(module, name, Adapted(child, rank=rank, alpha=alpha, rngs=rngs))
    if not any(re.search(targets, path) for path in known):
        near = difflib.get_close_matches(targets, known, n=3, cutoff=0.0)
        raise ValueError(
            f"`targets` must occur in the path of a linear map; {checks.said(targets)} occurs in "
            f"none of {len(known)}. The nearest are {', '.join(near) or 'none'}."
        )
    return model


def merged(params: Params, *, scale: float) -> Params:
    """Parameters of the plain model, W + scale A B for each map with an adapter.

    Args:
      params: of the adapted model.
      scale: alpha / r.
    """
    return type(params)(_plain(params, scale))


def _plain(tree: Any, scale: float) -> Any:
    if not isinstance(tree, Mapping):
        return tree
    own: dict[Any, Any] = {name: _plain(child, scale) for name, child in tree.items()}
    if DOWN in own:
        added = scale * (own.pop(DOWN) @ own.pop(UP))
        own["kernel"] = own["kernel"] + added.astype(own["kernel"].dtype)
    return own
