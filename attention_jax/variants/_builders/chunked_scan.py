"""Recurrent states of one matrix a head, updated by one key after another.

Each key adds its value to the matrix, after what is there decays; or, by the delta rule, first
takes away what the matrix holds for that key:

    S_j = a_j S_{j-1} + k_j v_j^T                              out_j = S_j^T q_j
    S_j = a_j S_{j-1} + b_j k_j (v_j - a_j S_{j-1}^T k_j)^T    a_j = exp(log_decay_j)

`scan` and `delta_scan` take whole chunks of positions at once, for training; `step` and
`delta_step` one position, for decoding. Arrays are in the dtype of the computation already.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

# Positions in a chunk. With a decay of its own for each channel, a pair in a chunk costs `d`
# exponentials, so these chunks are short.
CHUNK, SHORT_CHUNK = 64, 16


class Decay(NamedTuple):
    """Sums of log-decays in a chunk; never above 0 where no log-decay is.

    Attributes:
      between: from key j, exclusive, to query i, inclusive; -inf where j > i.
      before: from before the chunk to query i, inclusive.
      after: from key j, exclusive, to the end of the chunk.
      whole: of the chunk.
    """

    between: Float[Array, "*b n n #d"]
    before: Float[Array, "*b n #d"]
    after: Float[Array, "*b n #d"]
    whole: Float[Array, "*b #d"]


def decay_of(log_decay: Float[Array, "*b n #d"]) -> Decay:
    """Each sum by itself: differences of one running sum would cancel after a hard forgetting."""
    n = log_decay.shape[-2]
    shape = (*[1] * (log_decay.ndim - 2), n, n, 1)
    later = jnp.tril(jnp.ones((n, n), bool), -1).reshape(shape)
    sums = jnp.cumsum(jnp.where(later, log_decay[..., None, :], 0), axis=-3)
    between = jnp.where(jnp.tril(jnp.ones((n, n), bool)).reshape(shape), sums, -jnp.inf)
    before = jnp.cumsum(log_decay, axis=-2)
    return Decay(between, before, sums[..., -1, :, :], before[..., -1, :])


def scan(
    q: Float[Array, "b t h d"],
    k: Float[Array, "b t g d"],
    v: Float[Array, "b t g e"],
    log_decay: Float[Array, "b t g #d"] | None = None,
    *,
    chunk: int | None = None,
) -> Float[Array, "b t h e"]:
    """The causal pass: products of matrices within a chunk, the state from one to the next.

    Every exponent is a sum of log-decays, so nothing overflows. The backward pass computes each
    chunk again from the state before it, so memory holds t / chunk states and no pairs.

    Args:
      log_decay: at most 0; of length 1 in its last axis for one decay a head, None for no decay.
      chunk: positions in a chunk; None for what suits the decay.
    """
    (b, t, h, d), (_, _, g, e) = q.shape, v.shape
    short = log_decay is not None and log_decay.shape[-1] > 1
    n = max(1, min(chunk or (SHORT_CHUNK if short else CHUNK), t))

    def body(state: Array, inputs: tuple[Array, ...]) -> tuple[Array, Array]:
        return _chunk(state, *inputs)

    folded = chunks(q, n)
    # A key head's queries, side by side: [chunks b g h/g n d].
    folded = folded.reshape(folded.shape[0], b, g, h // g, n, d)
    rest = (chunks(k, n), chunks(v, n), *([] if log_decay is None else [chunks(log_decay, n)]))
    start = jnp.zeros((b, g, d, e), q.dtype)
    _, out = jax.lax.scan(jax.checkpoint(body, prevent_cse=False), start, (folded, *rest))
    return joined(out.reshape(-1, b, h, n, e), t)


def _chunk(
    state: Float[Array, "b g d e"],
    q: Float[Array, "b g r n d"],
    k: Float[Array, "b g n d"],
    v: Float[Array, "b g n e"],
    log_decay: Float[Array, "b g n #d"] | None = None,
) -> tuple[Float[Array, "b g d e"], Float[Array, "b g r n e"]]:
    n = k.shape[2]
    if log_decay is None:
        earlier = jnp.tril(jnp.ones((n, n), bool))[None, None, None]
        weights = jnp.where(earlier, jnp.einsum("bgrid,bgjd->bgrij", q, k), 0)
        out = jnp.einsum("bgrid,bgde->bgrie", q, state) + _mix(weights, v)
        return state + jnp.einsum("bgjd,bgje->bgde", k, v), out
    decay = Decay(*map(jnp.exp, decay_of(log_decay)))
    if log_decay.shape[-1] == 1:
        weights = jnp.einsum("bgrid,bgjd->bgrij", q, k) * decay.between[:, :, None, ..., 0]
    else:
        faded = k[:, :, None] * decay.between
        weights = jnp.einsum("bgrid,bgijd->bgrij", q, faded)
    out = jnp.einsum("bgrid,bgde->bgrie", q * decay.before[:, :, None], state) + _mix(weights, v)
    added = jnp.einsum("bgjd,bgje->bgde", k * decay.after, v)
    return decay.whole[..., None] * state + added, out


def _mix(weights: Array, v: Array) -> Array:
    return jnp.einsum("bgrij,bgje->bgrie", weights, v)


def chunks(x: Float[Array, "b t h d"], n: int) -> Float[Array, "c b h n d"]:
    """Chunks of `n` positions, one after another; the last is filled up with zeros."""
    b, t, h, d = x.shape
    count = -(-t // n)
    x = jnp.pad(x, ((0, 0), (0, count * n - t), (0, 0), (0, 0)))
    return x.reshape(b, count, n, h, d).transpose(1, 0, 3, 2, 4)


def joined(x: Float[Array, "c b h n d"], length: int) -> Float[Array, "b t h d"]:
    """The first `length` positions of chunks."""
    count, b, h, n, d = x.shape
    return x.transpose(1, 0, 3, 2, 4).reshape(b, count * n, h, d)[:, :length]


def step(
    state: Float[Array, "b g d e"],
    q: Float[Array, "b h d"],
    k: Float[Array, "b g d"],
    v: Float[Array, "b g e"],
    log_decay: Float[Array, "b g #d"] | None = None,
) -> tuple[Float[Array, "b g d e"], Float[Array, "b h e"]]:
    """The next position; reproduces `scan`."""
    if log_decay is not None:
        state = jnp.exp(log_decay)[..., None] * state
    state = state + k[..., None] * v[..., None, :]
    return state, read(state, q[:, None])[:, 0]


def read(state: Float[Array, "b g d e"], q: Float[Array, "b t h d"]) -> Float[Array, "b t h e"]:
    """Reads the state with each query."""
    (b, t, h, d), g = q.shape, state.shape[1]
    out = jnp.einsum("btgrd,bgde->btgre", q.reshape(b, t, g, h // g, d), state)
    return out.reshape(b, t, h, -1)


def delta_scan(
    q: Float[Array, "b t h d"],
    k: Float[Array, "b t h d"],
    v: Float[Array, "b t h e"],
    strength: Float[Array, "b t h"],
    log_decay: Float[Array, "b t h"] | None = None,
    *,
    chunk: int = CHUNK,
) -> Float[Array, "b t h e"]:
    """The causal pass of the delta rule, gated or not, in chunks.

    What a key writes depends on all that was written before. Within a chunk that is a triangular
    system, whose solution is linear in the state before the chunk, so all chunks are solved at
    once and the states follow one from another by products of matrices alone:

        written = u - w S    (I + L) u = b v    (I + L) w = b exp(before) k
        L[i, j] = b_i exp(between[i, j]) k_i . k_j    where j < i

    Args:
      strength: b above; the share of the old value that the new one takes the place of.
      log_decay: at most 0; None for no decay.
      chunk: positions in a chunk.

    Reference: the WY representation of Yang et al. 2024, arXiv:2406.06484, section 3.2; with
    decay, Yang et al. 2024, arXiv:2412.06464, section 3.3.
    """
    (b, t, h, d), e = q.shape, v.shape[-1]
    n = max(1, min(chunk, t))
    log_decay = jnp.zeros_like(strength) if log_decay is None else log_decay
    q, k, v, strength, log_decay = (
        chunks(x, n) for x in (q, k, v, strength[..., None], log_decay[..., None])
    )
    decay = Decay(*map(jnp.exp, decay_of(log_decay)))
    between = decay.between[..., 0]
    alike = jnp.einsum("cbhid,cbhjd->cbhij", k, k) * between * strength
    right = strength * jnp.concatenate([v, k * decay.before], axis=-1)
    # Only what stands below the diagonal is read of `alike`.
    solved = jax.lax.linalg.triangular_solve(
        alike, right, left_side=True, lower=True, unit_diagonal=True
    )
    weights = jnp.einsum("cbhid,cbhjd->cbhij", q, k) * between
    inputs = (
        q * decay.before,
        k * decay.after,
        weights,
        solved[..., :e],
        solved[..., e:],
        decay.whole[..., None],
    )
    start = jnp.zeros((b, h, d, e), q.dtype)
    _, out = jax.lax.scan(jax.checkpoint(_delta_chunk, prevent_cse=False), start, inputs)
    return joined(out, t)


def _delta_chunk(
    state: Float[Array, "b h d e"], inputs: tuple[Array, ...]
) -> tuple[Float[Array, "b h d e"], Float[Array, "b h n e"]]:
    q, k, weights, u, w, whole = inputs
    written = u - w @ state
    return whole * state + k.mT @ written, q @ state + weights @ written


def delta_step(
    state: Float[Array, "b h d e"],
    q: Float[Array, "b h d"],
    k: Float[Array, "b h d"],
    v: Float[Array, "b h e"],
    strength: Float[Array, "b h"],
    log_decay: Float[Array, "b h"] | None = None,
) -> tuple[Float[Array, "b h d e"], Float[Array, "b h e"]]:
    """The next position; reproduces `delta_scan`."""
    if log_decay is not None:
        state = jnp.exp(log_decay)[..., None, None] * state
    held = read(state, k[:, None])[:, 0]
    state = state + k[..., None] * (strength[..., None] * (v - held))[..., None, :]
    return state, read(state, q[:, None])[:, 0]
