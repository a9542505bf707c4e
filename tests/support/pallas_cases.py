"""Masks and score modifiers that the Pallas kernels take, and what is asked of both sides."""

import jax.numpy as jnp
import numpy as np

from attention_jax.core import positions
from attention_jax.core.masks import causal, documents, from_array, lengths, sliding_window

B, T, S, H, G, D, E = 2, 19, 37, 4, 2, 8, 6
IDS = np.sort(np.random.default_rng(1).integers(0, 3, (B, S)), axis=-1).astype(np.int32)
TABLE = np.random.default_rng(2).normal(size=(8, H)).astype(np.float32)
RANDOM = np.random.default_rng(3).random((B, 1, T, S)) < 0.5
RANDOM[:, :, 2] = False  # these queries see nothing

MASKS = {
    "full": None,
    "causal": causal,
    "window": causal & sliding_window(5),
    "lengths": lengths(jnp.asarray([30, 0], jnp.int32)),
    "documents": documents(jnp.asarray(IDS[:, :T]), jnp.asarray(IDS)),
    "array": from_array(jnp.asarray(RANDOM)),
    "heads": lambda b, h, i, j: (j <= i) | (h == 1),
}
SCORE_MODS = {
    "none": None,
    "soft cap": lambda score, b, h, i, j: 2 * jnp.tanh(score / 2),
    "alibi": positions.alibi(heads=H),
    "t5": positions.t5_bias(jnp.asarray(TABLE)),
    "lifted": lambda score, b, h, i, j: score * jnp.exp(jnp.asarray(TABLE))[j % 8][h],
}
PAIRS = [
    ("full", "none"),
    ("causal", "alibi"),
    ("window", "none"),
    ("lengths", "soft cap"),
    ("documents", "none"),
    ("array", "t5"),
    ("heads", "lifted"),
]


def request(mask, score_mod, **more):
    """Keywords of `make_request`."""
    offsets = dict(query_offset=0, key_offset=0)
    return dict(mask=mask, score_mod=score_mod, return_lse=True) | offsets | more
