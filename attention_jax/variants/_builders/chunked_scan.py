"""Recurrent states of one matrix a head, updated by one key after another.

Each key adds its value to the matrix, after what is there decays; or, by the delta rule, first
takes away what the matrix holds for that key:

    S_j = a_j S_{j-1} + k_j v_j^T                              out_j = S_j^T q_j
    S_j = a_j S_{j-1} + b_j k_j (v_j - a_j S_{j-1}^T k_j)^T    a_j = exp(log_decay_j)

`scan` and `delta_scan` take blocks of positions, and within them all chunks at once, for training;
`step` and `delta_step` one position, for decoding. Arrays are in the dtype of the computation
already.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num, PyTree

from attention_jax.core.types import Length
from attention_jax.variants._builders.channel_decay import faded

# Positions in a chunk, within which pairs are weighed, and of which the delta rule solves a system.
CHUNK = 32
# Chunks of a block, which is computed at once and holds that much memory.
CHUNKS_OF_BLOCK = 16
# Below any log-decay that counts, and far enough from -inf, which times 0 would be NaN.
LOWEST = -1e30
_EXACT = jax.lax.Precision.HIGHEST  # of sums that an exponential follows


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

    def factors(self) -> "Decay":
        """The decays themselves."""
        return Decay(*map(jnp.exp, self))


def decay_of(log_decay: Float[Array, "*b n #d"]) -> Decay:
    """Each sum by itself: differences of one running sum would cancel after a hard forgetting.

    They are products with zeros and ones, which take a tenth of the time of running sums.
    """
    n, dtype = log_decay.shape[-2], log_decay.dtype
    i, j, at = np.ogrid[:n, :n, :n]
    addends = jnp.asarray((j < at) & (at <= i), dtype)
    log_decay = jnp.maximum(log_decay, LOWEST)
    sums = jnp.einsum("ijl,...ld->...ijd", addends, log_decay, precision=_EXACT)
    shown = _earlier(n).reshape(*[1] * (log_decay.ndim - 2), n, n, 1)
    before = jnp.einsum("il,...ld->...id", _earlier(n).astype(dtype), log_decay, precision=_EXACT)
    between = jnp.where(shown, sums, -jnp.inf)
    return Decay(between, before, sums[..., -1, :, :], before[..., -1, :])


def _earlier(n: int) -> np.ndarray:
    """Which of n positions, or chunks, a later one or the same sees."""
    return np.tril(np.ones((n, n), bool))


def scan(
    q: Float[Array, "b t h d"],
    k: Float[Array, "b t g d"],
    v: Float[Array, "b t g e"],
    log_decay: Float[Array, "b t g #d"] | None = None,
    *,
    start: Float[Array, "b g d e"] | None = None,
    chunk: int = CHUNK,
) -> tuple[Float[Array, "b g d e"], Float[Array, "b t h e"]]:
    """The causal pass, as the last state and the outputs.

    Within a block it is products of matrices, and the state goes from one block to the next. Every
    exponent is a sum of log-decays, so nothing overflows. The backward pass computes each
    block again from the state before it, so memory holds t / (16 chunk) states, and the pairs of
    one block.

    Args:
      log_decay: at most 0; of length 1 in its last axis for one decay a head, None for no decay.
      start: the state before the first position; None for zeros.
      chunk: positions in a chunk.
    """
    if start is None:
        start = jnp.zeros((v.shape[0], k.shape[2], q.shape[-1], v.shape[-1]), q.dtype)
    inputs = q, k, v, *([] if log_decay is None else [log_decay])
    return by_blocks(_block, start, inputs, chunk)


def added(
    k: Float[Array, "b t g d"],
    v: Float[Array, "b t g e"],
    log_decay: Float[Array, "b t g #d"] | None = None,
) -> tuple[Float[Array, "b g #d"], Float[Array, "b g d e"]]:
    """How the state before all positions decays until after them, and what they add to it.

    S_after = exp(whole) S_before + sum_j exp(after_j) k_j v_j^T
    """
    if log_decay is None:
        return jnp.ones((k.shape[0], k.shape[2], 1), k.dtype), jnp.einsum("btgd,btge->bgde", k, v)
    log_decay = jnp.maximum(log_decay, LOWEST)
    until = jnp.cumsum(log_decay[:, ::-1], axis=1)[:, ::-1]
    after = jnp.concatenate([until[:, 1:], jnp.zeros_like(until[:, :1])], axis=1)
    return jnp.exp(until[:, 0]), jnp.einsum("btgd,btge->bgde", k * jnp.exp(after), v)


def by_blocks(
    block: Callable[..., tuple[PyTree, Array]],
    start: PyTree,
    inputs: tuple[Array, ...],
    chunk: int,
) -> tuple[PyTree, Float[Array, "b t h e"]]:
    """The last state and the outputs of `block(chunk, state, *inputs)`, one after another."""
    b, t, h, _ = inputs[0].shape
    chunk, count, size = _sizes(t, chunk)

    def body(state: PyTree, each: tuple[Array, ...]) -> tuple[PyTree, Array]:
        return block(chunk, state, *each)

    def parts(x: Array) -> Array:
        x = jnp.pad(x, ((0, 0), (0, count * size - t), (0, 0), (0, 0)))
        return x.reshape(b, count, size, *x.shape[2:]).swapaxes(0, 1)

    last, out = jax.lax.scan(
        jax.checkpoint(body, prevent_cse=False), start, tuple(map(parts, inputs))
    )
    return last, out.swapaxes(0, 1).reshape(b, count * size, h, -1)[:, :t]


def _sizes(t: Length, chunk: int) -> tuple[int, Length, int]:
    """Positions in a chunk, blocks, and positions in a block."""
    if not isinstance(t, int):  # symbolic: a block is a chunk, so that short texts stay short
        return chunk, -(-t // chunk), chunk
    chunk = max(1, min(chunk, t))
    count = max(1, -(-t // (chunk * CHUNKS_OF_BLOCK)))
    # Blocks as long as each other, so that the last is not filled up in vain.
    return chunk, count, chunk * max(1, -(-t // (chunk * count)))


def _block(
    chunk: int,
    state: Float[Array, "b g d e"],
    q: Float[Array, "b m h d"],
    k: Float[Array, "b m g d"],
    v: Float[Array, "b m g e"],
    log_decay: Float[Array, "b m g #d"] | None = None,
) -> tuple[Float[Array, "b g d e"], Float[Array, "b m h e"]]:
    q = chunks(q, chunk, groups=k.shape[2])
    k, v = (chunks(x, chunk)[:, :, 0] for x in (k, v))
    before = state[:, :, None]
    if log_decay is None:
        shown = _earlier(k.shape[3])[None, None, None, None]
        weights = jnp.where(shown, jnp.einsum("bgrcid,bgcjd->bgrcij", q, k), 0)
        added = jnp.einsum("bgcjd,bgcje->bgcde", k, v)
        sums = jnp.asarray(_earlier(k.shape[2]), q.dtype)
        states = jnp.einsum("cu,bgude->bgcde", sums, added) + before
    else:
        log_decay = chunks(log_decay, chunk)[:, :, 0]
        q, weights, faded_k, whole = _faded(q, k, log_decay)
        added = jnp.einsum("bgcjd,bgcje->bgcde", faded_k, v)
        outer = decay_of(whole).factors()
        states = _faded_sums(outer.between, added) + outer.before[..., None] * before
    earlier = jnp.concatenate([before, states[:, :, :-1]], axis=2)
    out = jnp.einsum("bgrcid,bgcde->bgrcie", q, earlier)
    out = out + jnp.einsum("bgrcij,bgcje->bgrcie", weights, v)
    return states[:, :, -1], joined(out)


def _faded(
    q: Float[Array, "b g r c n d"],
    k: Float[Array, "b g c n d"],
    log_decay: Float[Array, "b g c n #d"],
) -> tuple[
    Float[Array, "b g r c n d"],
    Float[Array, "b g r c n n"],
    Float[Array, "b g c n d"],
    Float[Array, "b g c #d"],
]:
    """Queries, their products with keys, and keys, after what decays; and a chunk's log-decay."""
    if log_decay.shape[-1] == 1:
        logs = decay_of(log_decay)
        decay = logs.factors()
        weights = jnp.einsum("bgrcid,bgcjd->bgrcij", q, k) * decay.between[:, :, None, ..., 0]
        return q * decay.before[:, :, None], weights, k * decay.after, logs.whole
    found = faded(q.swapaxes(2, 3), k[:, :, :, None], log_decay)
    weights = found.pairs[..., 0, :].swapaxes(2, 3)
    return found.rows.swapaxes(2, 3), weights, found.keys[:, :, :, 0], log_decay.sum(-2)


def _faded_sums(
    between: Float[Array, "b g c c #d"], added: Float[Array, "b g c d e"]
) -> Float[Array, "b g c d e"]:
    """The sums after each chunk of what it and the chunks before it added and has not decayed."""
    if between.shape[-1] == 1:
        return jnp.einsum("bgcu,bgude->bgcde", between[..., 0], added)
    return jnp.einsum("bgcud,bgude->bgcde", between, added)


def chunks(
    x: Num[Array, "b m h d"], n: int, *, groups: int | None = None
) -> Num[Array, "b g r c n d"]:
    """Chunks of `n` positions for each head, where the heads are `groups` of as many."""
    b, m, h, d = x.shape
    g = h if groups is None else groups
    return x.reshape(b, m // n, n, g, h // g, d).transpose(0, 3, 4, 1, 2, 5)


def joined(x: Float[Array, "b g r c n d"]) -> Float[Array, "b m h d"]:
    """The positions of chunks, one after another."""
    b, g, r, c, n, d = x.shape
    return x.transpose(0, 3, 4, 1, 2, 5).reshape(b, c * n, g * r, d)


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
    start: Float[Array, "b h d e"] | None = None,
    chunk: int = CHUNK,
) -> tuple[Float[Array, "b h d e"], Float[Array, "b t h e"]]:
    """The causal pass of the delta rule, gated or not, as the last state and the outputs.

    What a key writes depends on all that was written before. Within a chunk that is a triangular
    system, whose solution is linear in the state before the chunk, so all chunks of a block are
    solved at once and the states follow one from another by products of matrices alone:

        written = u - w S    (I + L) u = b v    (I + L) w = b exp(before) k
        L[i, j] = b_i exp(between[i, j]) k_i . k_j    where j < i
        S <- exp(whole) S - k'^T w S + k'^T u    k' = exp(after) k

    Args:
      strength: b above; the share of the old value that the new one takes the place of.
      log_decay: at most 0; None for no decay.
      start: the state before the first position; None for zeros.
      chunk: positions in a chunk.

    Reference: the WY representation of Yang et al. 2024, arXiv:2406.06484, section 3.2; with
    decay, Yang et al. 2024, arXiv:2412.06464, section 3.3.
    """
    if start is None:
        start = jnp.zeros((*strength.shape[::2], q.shape[-1], v.shape[-1]), q.dtype)
    log_decay = jnp.zeros_like(strength) if log_decay is None else log_decay
    inputs = q, k, v, strength[..., None], log_decay[..., None]
    return by_blocks(_delta_block, start, inputs, chunk)


def delta_added(
    k: Float[Array, "b t h d"],
    v: Float[Array, "b t h e"],
    strength: Float[Array, "b t h"],
    log_decay: Float[Array, "b t h"] | None = None,
) -> tuple[Float[Array, "b h d d"], Float[Array, "b h d e"]]:
    """The matrix by which all positions move the state before them, and what they add to it.

    S_after = moves S_before + added          moves = prod_j a_j (I - b_j k_j k_j^T)

    A pass with a wider state gives both: its columns are independent of each other.
    """
    b, t, h, d = k.shape
    unit = jnp.broadcast_to(jnp.eye(d, dtype=k.dtype), (b, h, d, d))
    start = jnp.concatenate([unit, jnp.zeros((b, h, d, v.shape[-1]), k.dtype)], axis=-1)
    wide = jnp.concatenate([jnp.zeros_like(k), v], axis=-1)
    log_decay = jnp.zeros_like(strength) if log_decay is None else log_decay
    inputs = k, k, wide, strength[..., None], log_decay[..., None]
    last, _ = by_blocks(_delta_block, start, inputs, CHUNK)
    return last[..., :d], last[..., d:]


def _delta_block(
    chunk: int, state: Float[Array, "b h d e"], *inputs: Float[Array, "b m h _"]
) -> tuple[Float[Array, "b h d e"], Float[Array, "b m h e"]]:
    q, k, v, strength, log_decay = (chunks(x, chunk)[:, :, 0] for x in inputs)
    decay = decay_of(log_decay).factors()
    between, e = decay.between[..., 0], v.shape[-1]
    alike = jnp.einsum("bhcid,bhcjd->bhcij", k, k) * between * strength
    right = strength * jnp.concatenate([v, k * decay.before], axis=-1)
    # Only what stands below the diagonal is read of `alike`.
    solved = jax.lax.linalg.triangular_solve(
        alike, right, left_side=True, lower=True, unit_diagonal=True
    )
    u, w = solved[..., :e], solved[..., e:]
    faded = (k * decay.after).mT
    moves = decay.whole[..., None], faded @ w, faded @ u
    state, states = jax.lax.scan(moved_by, state, tuple(jnp.moveaxis(x, 2, 0) for x in moves))
    states = jnp.moveaxis(states, 0, 2)
    weights = jnp.einsum("bhcid,bhcjd->bhcij", q, k) * between
    out = (q * decay.before) @ states + weights @ (u - w @ states)
    return state, joined(out[:, :, None])


def moved_by(state: Array, move: tuple[Array, ...]) -> tuple[Array, Array]:
    """The state after a chunk, and the one before it."""
    whole, by, added = move
    # What is only kept is not rounded, as a product on an accelerator would.
    return whole * state - by @ state + added, state


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
