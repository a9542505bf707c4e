"""Recurrent states that fade channel by channel, and from which each position erases.

    S'_j = diag(exp(log_decay_j)) S_(j-1)
    S_j = S'_j + k_j v_j^T - w_j (r_j^T S'_j)^T        out_j = S_j^T q_j

With r = k and w = k it is the delta rule with a decay for each channel; in general the matrix that
moves a state is diagonal plus one of rank 1. `channel_scan` takes blocks of positions, for
training, `channel_step` one position, for decoding. Arrays are in the dtype of the computation
already.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from attention_jax.variants._builders.channel_decay import faded
from attention_jax.variants._builders.chunked_scan import (
    CHUNK,
    by_blocks,
    chunks,
    joined,
    moved_by,
    read,
)


def channel_scan(
    q: Float[Array, "b t h d"],
    k: Float[Array, "b t h d"],
    v: Float[Array, "b t h e"],
    log_decay: Float[Array, "b t h d"],
    reads: Float[Array, "b t h d"],
    erases: Float[Array, "b t h d"] | None = None,
    *,
    start: Float[Array, "b h d e"] | None = None,
    chunk: int = CHUNK,
) -> tuple[Float[Array, "b h d e"], Float[Array, "b t h e"]]:
    """The causal pass, block by block, as the last state and the outputs.

    What is erased depends on all that was written before. Within a chunk that is a triangular
    system, whose solution is linear in the state S before the chunk, so all chunks of a block are
    solved at once and the states follow one from another by products of matrices alone:

        (I + L) p = (exp(before) r) S + M v        p_i = r_i^T S'_i
        L[i, j] = sum_d r_id exp(between[i, j, d]) w_jd    M the same of k    where j < i

    No exponent is above 0, however strong the decay.

    Args:
      log_decay: at most 0.
      reads: r above.
      erases: w above; None for k itself, which takes half as many products.
      start: the state before the first position; None for zeros.
      chunk: positions in a chunk.

    Reference: the WY representation of Yang et al. 2024, arXiv:2406.06484, section 3.2, with
    decays inside its products as of Kimi Team 2025, arXiv:2510.26692, section 3.
    """
    if start is None:
        start = jnp.zeros((v.shape[0], k.shape[2], k.shape[-1], v.shape[-1]), q.dtype)
    more = () if erases is None else (erases,)
    return by_blocks(_block, start, (q, k, v, log_decay, reads, *more), chunk)


def channel_added(
    k: Float[Array, "b t h d"],
    v: Float[Array, "b t h e"],
    log_decay: Float[Array, "b t h d"],
    reads: Float[Array, "b t h d"],
    erases: Float[Array, "b t h d"] | None = None,
) -> tuple[Float[Array, "b h d d"], Float[Array, "b h d e"]]:
    """The matrix by which all positions move the state before them, and what they add to it.

    A pass with a wider state gives both: its columns are independent of each other.
    """
    b, _, h, d = k.shape
    unit = jnp.broadcast_to(jnp.eye(d, dtype=k.dtype), (b, h, d, d))
    start = jnp.concatenate([unit, jnp.zeros((b, h, d, v.shape[-1]), k.dtype)], axis=-1)
    wide = jnp.concatenate([jnp.zeros_like(k), v], axis=-1)
    more = () if erases is None else (erases,)
    last, _ = by_blocks(_block, start, (k, k, wide, log_decay, reads, *more), CHUNK)
    return last[..., :d], last[..., d:]


def _block(
    chunk: int, state: Float[Array, "b h d e"], *inputs: Float[Array, "b m h _"]
) -> tuple[Float[Array, "b h d e"], Float[Array, "b m h e"]]:
    q, k, v, log_decay, reads, *more = (chunks(x, chunk)[:, :, 0] for x in inputs)
    e = v.shape[-1]
    pairs, rows, keys, whole = faded(
        jnp.stack([reads, q], axis=3), jnp.stack([k, *more], axis=3), log_decay
    )
    # With one kind of keys, what is erased is what is written.
    of_k, by_q = pairs[:, :, :, 0, :, 0], pairs[:, :, :, 1, :, 0]
    of_w, erased_by_q = pairs[:, :, :, 0, :, -1], pairs[:, :, :, 1, :, -1]
    # What a position reads comes before what it writes.
    earlier = jnp.tril(jnp.ones((chunk, chunk), bool), -1)[None, None, None]
    right = jnp.concatenate([jnp.where(earlier, of_k, 0) @ v, rows[:, :, :, 0]], axis=-1)
    # Only what stands below the diagonal is read of `of_w`.
    solved = jax.lax.linalg.triangular_solve(
        of_w, right, left_side=True, lower=True, unit_diagonal=True
    )
    u, w = solved[..., :e], solved[..., e:]  # p = u + w S
    added, erased = keys[:, :, :, 0].mT, keys[:, :, :, -1].mT
    moves = whole[..., None], erased @ w, added @ v - erased @ u
    state, states = jax.lax.scan(moved_by, state, tuple(jnp.moveaxis(x, 2, 0) for x in moves))
    states = jnp.moveaxis(states, 0, 2)
    out = rows[:, :, :, 1] @ states + by_q @ v - erased_by_q @ (u + w @ states)
    return state, joined(out[:, :, None])


def channel_step(
    state: Float[Array, "b h d e"],
    q: Float[Array, "b h d"],
    k: Float[Array, "b h d"],
    v: Float[Array, "b h e"],
    log_decay: Float[Array, "b h d"],
    reads: Float[Array, "b h d"],
    erases: Float[Array, "b h d"] | None = None,
) -> tuple[Float[Array, "b h d e"], Float[Array, "b h e"]]:
    """The next position; reproduces `channel_scan`."""
    state = jnp.exp(log_decay)[..., None] * state
    held = read(state, reads[:, None])[:, 0]
    erases = k if erases is None else erases
    state = state + k[..., None] * v[..., None, :] - erases[..., None] * held[..., None, :]
    return state, read(state, q[:, None])[:, 0]
