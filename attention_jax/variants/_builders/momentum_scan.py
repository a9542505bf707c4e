"""Matrices that are trained by gradient descent with momentum, and that fade.

    u_j = -2 rate_j (M^T k_j - v_j)
    S_j = exp(log_momentum_j) S_(j-1) + k_j u_j^T
    M_j = exp(log_keep_j) M_(j-1) + adds_j S_j        out_j = M_j^T q_j

`adds` is 1, and 0 at a position that changes nothing. The gradient k_j u_j^T of |M^T k_j - v_j|^2
is taken at M = M_(j-1), or at the M before the batch of j. `momentum_scan` takes blocks of
positions, for training, `momentum_step` one, for decoding. Arrays are in the dtype of the
computation already.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from attention_jax.variants._builders.chunked_scan import by_blocks, chunks, decay_of, joined, read

CHUNK = 32


class MomentumState(NamedTuple):
    """The matrices.

    Attributes:
      memory, momentum: M and S.
      start: M before the batch; None without batches.
      position: of the next query.
    """

    memory: Float[Array, "b h d e"]
    momentum: Float[Array, "b h d e"]
    start: Float[Array, "b h d e"] | None
    position: Int[Array, " b"]


class Shares(NamedTuple):
    """How much is in M at i of what is written at j <= i, and of M and S before the chunk.

    The last two: how much is in S after the chunk of what is written, and of S before.
    """

    of_writes: Float[Array, "b h c n n"]
    of_memory: Float[Array, "b h c n 1"]
    of_momentum: Float[Array, "b h c n 1"]
    writes_after: Float[Array, "b h c n 1"]
    momentum_after: Float[Array, "b h c 1"]


def _shares(*gates: Float[Array, "b h c n 1"]) -> Shares:
    """Shares by way of S at each m: of writes at j by momentum until m, in M at i by what fades."""
    log_keep, log_momentum, adds = gates
    keep, momentum = (decay_of(x).factors() for x in (log_keep, log_momentum))
    fades = keep.between[..., 0] * adds.mT
    of_momentum = fades @ momentum.before
    of_writes = fades @ momentum.between[..., 0]
    return Shares(of_writes, keep.before, of_momentum, momentum.after, momentum.whole)


def _before(shares: Float[Array, "*b n _"], first: float) -> Float[Array, "*b n _"]:
    """The shares at the position before each."""
    shape = *shares.shape[:-2], 1, shares.shape[-1]
    return jnp.concatenate([jnp.full(shape, first, shares.dtype), shares[..., :-1, :]], axis=-2)


def momentum_scan(
    q: Float[Array, "b t h d"],
    k: Float[Array, "b t h d"],
    v: Float[Array, "b t h e"],
    *gates: Float[Array, "b t h"],
    batch: int | None = None,
) -> Float[Array, "b t h e"]:
    """The causal pass, block by block.

    Within a chunk all u are one triangular system, whose solution is linear in M and S before it:

        (I + L) u = 2 rate (v - m k^T M - s k^T S)    L[i, j] = 2 rate_i g[i - 1, j] k_i . k_j
        out = m q^T M + s q^T S + (q k^T g) u         g, m, s: the `Shares` of M

    with m and s at the position before. Of gradients at the M before a batch L is 0, m 1 and s 0.

    Args:
      gates: rate, log_keep, log_momentum and adds; of the two logarithms none above 0.
      batch: positions whose gradients are taken at one M; None for each at the M before it.
    """
    shape = v.shape[0], k.shape[2], k.shape[-1], v.shape[-1]
    start = jnp.zeros(shape, q.dtype), jnp.zeros(shape, q.dtype)
    inputs = q, k, v, *(x[..., None] for x in gates)
    return by_blocks(partial(_block, batch is None), start, inputs, batch or CHUNK)[1]


def _block(
    exact: bool, chunk: int, state: tuple[Array, Array], *inputs: Float[Array, "b m h _"]
) -> tuple[tuple[Array, Array], Float[Array, "b m h e"]]:
    q, k, v, rate, *gates = (chunks(x, chunk)[:, :, 0] for x in inputs)
    shares, e, d = _shares(*gates), v.shape[-1], k.shape[-1]
    if exact:
        known = _before(shares.of_memory, 1.0), _before(shares.of_momentum, 0.0)
        right = 2 * rate * jnp.concatenate([v, known[0] * k, known[1] * k], axis=-1)
        alike = 2 * rate * (k @ k.mT) * _before(shares.of_writes, 0.0)
        # Only what stands below the diagonal is read of the matrix.
        right = jax.lax.linalg.triangular_solve(
            alike, right, left_side=True, lower=True, unit_diagonal=True
        )
    else:
        right = 2 * rate * jnp.concatenate([v, k, jnp.zeros_like(k)], axis=-1)
    u, by_memory, by_momentum = right[..., :e], right[..., e : e + d], right[..., e + d :]

    def turn(state: tuple[Array, Array], one: tuple[Array, ...]) -> tuple[tuple, tuple]:
        (memory, momentum), (k, u, by_memory, by_momentum, *rest) = state, one
        of = Shares(*rest)
        written = u - by_memory @ memory - by_momentum @ momentum
        add = (k * of.of_writes[..., -1, :, None]).mT @ written
        kept = of.of_memory[..., -1:, :] * memory + of.of_momentum[..., -1:, :] * momentum
        after = of.momentum_after[..., None] * momentum + (k * of.writes_after).mT @ written
        return (kept + add, after), (memory, momentum, written)

    each = jax.tree.map(lambda x: jnp.moveaxis(x, 2, 0), (k, u, by_memory, by_momentum, *shares))
    state, found = jax.lax.scan(turn, state, each)
    memory, momentum, written = (jnp.moveaxis(x, 0, 2) for x in found)
    out = shares.of_memory * (q @ memory) + shares.of_momentum * (q @ momentum)
    return state, joined((out + (q @ k.mT * shares.of_writes) @ written)[:, :, None])


def momentum_empty(shape: tuple[int, ...], dtype: DTypeLike, batch: int | None) -> MomentumState:
    """The state before the first position, of heads of a shape [b h d e]."""
    zeros, position = jnp.zeros(shape, dtype), jnp.zeros(shape[0], jnp.int32)
    return MomentumState(zeros, zeros, None if batch is None else zeros, position)


def momentum_step(
    state: MomentumState,
    q: Float[Array, "b h d"],
    k: Float[Array, "b h d"],
    v: Float[Array, "b h e"],
    *gates: Float[Array, "b h"],
    batch: int | None = None,
) -> tuple[MomentumState, Float[Array, "b h e"]]:
    """The next position; reproduces `momentum_scan`."""
    rate, log_keep, log_momentum, adds = (x[..., None, None] for x in gates)
    at = state.memory if state.start is None else state.start
    error = v - read(at, k[:, None])[:, 0]
    write = 2 * rate * k[..., None] * error[..., None, :]
    momentum = jnp.exp(log_momentum) * state.momentum + write
    memory = jnp.exp(log_keep) * state.memory + adds * momentum
    start, position = state.start, state.position + 1
    if start is not None and batch is not None:
        ends = position % batch == 0
        start = jnp.where(ends[:, None, None, None], memory, start)
    return MomentumState(memory, momentum, start, position), read(memory, q[:, None])[:, 0]
