"""Performer (FAVOR+): softmax attention in linear time, by positive orthogonal random features.

    phi(x)_r = exp(w_r . x - |x|^2 / 2) / sqrt(features)    E phi(x) . phi(y) = exp(x . y)
    out_i = sum_j phi(q_i') . phi(k_j') v_j / sum_j phi(q_i') . phi(k_j')    x' = x / d^(1/4)

Directions w_r are orthogonal within blocks of d, and as long as normal vectors are; they follow
from `seed`, are shared by all heads, and are not drawn anew in training as they may be in the
paper. It gives up precision: the error grows with the length of queries and keys, and shrinks as
the root of the number of features. In heads wider than 192 keys several times longer than normal
vectors may overflow.

Reference: Choromanski et al. 2020, arXiv:2009.14794, lemma 1 and section 2.4 (FAVOR+).
Cost: (t + s) m (d + e) products a head for m features, and t 32 (m + e) more within the chunks of a
causal pass; m e numbers of state.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from attention_jax.core import checks
from attention_jax.core.types import Variant
from attention_jax.variants._builders.linear import from_features

ALIASES = ("favor",)

# exp overflows float32 above 88; 10^5 keys times values have room above this.
LARGEST_EXPONENT = 75.0
# A larger shift would round features of usual keys to 0, about exp(-sqrt(d) / 2) before it.
LARGEST_SHIFT = 60.0


def performer(*, features: int | None = None, seed: int = 0) -> Variant:
    """A mean weighted by positive orthogonal random features.

    Args:
      features: how many; None for d log d, which the paper shows to suffice.
      seed: of the random directions, from 0 to 2^32 - 1.
    """
    if features is not None:
        checks.positive("features", features)
    checks.natural("seed", seed)

    def exponents(x: Array) -> tuple[Array, Array]:
        """The exponents of features, and by how much those of keys are shifted."""
        d = x.shape[-1]
        drawn = _directions(features or max(1, round(d * math.log(d))), d, seed)
        scaled = x * d**-0.25
        projected = jnp.einsum("bthd,md->bthm", scaled, jnp.asarray(drawn, x.dtype))
        # No exponent is above |w|^2 / 2, whatever the key: so the shift that keeps all of them
        # small is known before them, and a key need not wait for those after it.
        shift = np.clip((drawn**2).sum(-1) / 2 - LARGEST_EXPONENT, 0, LARGEST_SHIFT)
        powers = projected - (scaled * scaled).sum(-1, keepdims=True) / 2
        return powers, jnp.asarray(shift, x.dtype)[None, None, None]

    def of_query(x: Array, positions: Array) -> Array:
        del positions
        powers, shift = exponents(x)
        powers = powers + shift
        # The largest exponent of a query cancels in the ratio.
        return jnp.exp(powers - jax.lax.stop_gradient(powers.max(-1, keepdims=True)))

    def of_key(x: Array, positions: Array) -> Array:
        del positions
        powers, shift = exponents(x)
        return jnp.exp(powers - shift)

    return from_features("performer", of_query, of_key)


@functools.cache
def _directions(features: int, width: int, seed: int) -> np.ndarray:
    """Vectors [features width]; each `width` of them are orthogonal, each by itself is normal."""
    generator = np.random.default_rng(seed)
    blocks = []
    for _ in range(-(-features // width)):
        orthogonal, upper = np.linalg.qr(generator.normal(size=(width, width)))
        # Signs that make the orthogonal matrix uniform, whatever the QR prefers.
        blocks.append((orthogonal * np.sign(np.diag(upper))[None]).T)
    lengths = np.linalg.norm(generator.normal(size=(features, width)), axis=-1, keepdims=True)
    return lengths * np.concatenate(blocks)[:features]
