"""Nystromformer: softmax attention through means of near keys and queries, the landmarks.

    out = softmax(Q K~^T / sqrt(d)) Z softmax(Q~ K^T / sqrt(d)) V
    Z_0 = A^T / (|A|_1 |A|_inf),    A = softmax(Q~ K~^T / sqrt(d))
    Z_(n+1) = Z_n (13 I - A Z_n (15 I - A Z_n (7 I - A Z_n))) / 4

where Q~ and K~ are the means of up to `landmarks` segments of the sequence, and Z approaches the
inverse of A. Gives up the exact weights, masks that differ between queries, and dropout, as no
weights of pairs are made. Where no more keys are visible than landmarks, each is its own landmark
and the result is exact, as in the authors' code.

Segments count visible positions only, so padding anywhere changes nothing, and their sizes differ
by one at most where the paper pads. Its convolution of the values, which is added to the output,
is left to the layers around.

Reference: Xiong et al. 2021, arXiv:2102.03902, section 3 and algorithm 1.
Cost: (t + s) landmarks (d + e) + iterations landmarks^3 products a head.
"""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from attention_jax.core import checks, masks, normalizers, scores
from attention_jax.core.types import Options, Params, Variant, no_parameters
from attention_jax.engine import reference
from attention_jax.engine.api import attention
from attention_jax.variants._builders import keywise

ALIASES = ("nystrom",)


def nystromformer(*, landmarks: int = 64, iterations: int = 6) -> Variant:
    """The scaled dot product through landmarks.

    Args:
      landmarks: segments of the sequence.
      iterations: of the search for the inverse.
    """
    checks.positive("landmarks", landmarks)
    checks.positive("iterations", iterations)

    def attend(
        params: Params, q: Array, k: Array, v: Array, options: Options = Options()
    ) -> Float[Array, "b t h e"]:
        del params
        _check(options, q, k)
        request = keywise.prepare("nystromformer", q, k, v, options)
        segments = _segments(request.visible, landmarks, request.q.dtype)
        # A query where no key is visible is padding as well.
        queries = jnp.where(request.visible[..., None, None], request.q, 0)
        means = [jnp.einsum("bns,bshd->bnhd", segments, x) for x in (queries, request.k, request.v)]
        own = segments.any(-1)
        read: Any = attention(means[0], request.k, request.v, mask=masks.keys(request.visible))
        passed = _solved(means[0], means[1], own, read, iterations)
        exact = request.visible.sum(-1)[:, None, None, None] <= landmarks
        groups = q.shape[2] // k.shape[2]
        key, value = (jnp.repeat(x, groups, axis=2) for x in means[1:])
        value = jnp.where(exact, value, passed)
        out: Any = attention(request.q, key, value, mask=masks.keys(own))
        return keywise.finalize(request, out, q.dtype)

    return Variant(init=no_parameters, attend=attend, roles=("bidirectional",), mask_kind="keywise")


def _check(options: Options, q: Array, k: Array) -> None:
    query_offset, key_offset = options.query_offset, options.key_offset
    keywise.never_causal(options.mask, "nystromformer takes means of keys with those after them")
    at = q.shape[1], k.shape[1], query_offset, key_offset
    if not keywise.same_positions(*at):
        raise ValueError(
            "nystromformer takes means of the queries and keys of one sequence, so they must be "
            f"at the same positions; got {q.shape[1]} queries from {query_offset} and "
            f"{k.shape[1]} keys from {key_offset}. Between two sequences use linformer or induced."
        )


def _segments(visible: Bool[Array, "b s"], most: int, dtype: Any) -> Float[Array, "b n s"]:
    """Weights of visible positions in each mean; rows of 0 beyond the last segment."""
    count = visible.sum(-1, keepdims=True)
    rank = jnp.cumsum(visible, axis=-1) - 1
    number = rank * jnp.minimum(count, most) // jnp.maximum(count, 1)
    at = jnp.arange(most)[None, :, None]
    inside = visible[:, None] & (number[:, None] == at)
    inside = inside.astype(dtype)
    return inside / jnp.maximum(inside.sum(-1, keepdims=True), 1)


def _solved(
    query: Float[Array, "b n h d"],
    key: Float[Array, "b n g d"],
    own: Bool[Array, "b n"],
    read: Float[Array, "b n h e"],
    iterations: int,
) -> Float[Array, "b n h e"]:
    """`Z read`, for the last Z."""
    logits = reference.pair_scores(scores.scaled_dot, query, key)
    shown = (own[:, :, None] & own[:, None])[:, None]
    a = normalizers.softmax.weights(logits, shown)
    size = a.sum(-2, keepdims=True).max(-1, keepdims=True)
    # The rows of A sum to 1, so its other norm is 1.
    z = a.mT / jnp.where(size == 0, 1, size)
    eye = jnp.eye(a.shape[-1], dtype=a.dtype)[None, None]
    for _ in range(iterations):
        az = a @ z
        z = z @ (13 * eye - az @ (15 * eye - az @ (7 * eye - az))) / 4
    return jnp.einsum("bhnm,bmhe->bnhe", z, read)
