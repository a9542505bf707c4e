"""Matrices that are trained by gradient descent with momentum, and that fade.

    u_j = -2 rate_j (M^T k_j - v_j)
    S_j = exp(log_momentum_j) S_(j-1) + k_j u_j^T
    M_j = exp(log_keep_j) M_(j-1) + adds_j S_j        out_j = M_j^T q_j

`adds` is 1, and 0 at a position that changes nothing. The gradient k_j u_j^T of |M^T k_j - v_j|^2
is taken at M = M_(j-1), or at the M before the batch of j, which is 0 where a document begins.
`momentum_scan` takes blocks of positions, for training, `momentum_step` one, for decoding. Arrays
are in the dtype of the computation already.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int, PyTree

from attention_jax.variants._builders.chunked_scan import by_blocks, chunks, decay_of, joined, read
from attention_jax.variants._builders.documents import numbers

CHUNK = 32

# M, S, and M before the batch, if there are batches.
Matrices = tuple[Array, Array, Array | None]


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
    """How much is in M at i of what is written at j <= i, and of M and S before the chunk."""

    of_writes: Float[Array, "b h c n n"]
    of_memory: Float[Array, "b h c n 1"]
    of_momentum: Float[Array, "b h c n 1"]


class Chunk(NamedTuple):
    """Positions of a chunk: how they move the matrices, and write to them.

    Attributes:
      k: keys.
      u, by: what is written, less `by` products with M, S and M before the batch, of those before
        the chunk.
      last: of M, the shares after the chunk.
      batch: of M, the shares before the last batch that begins in the chunk.
      begins: whether one does.
      writes, momentum: how much is in S after the chunk of what is written, and of S before.
    """

    k: Float[Array, "b h c n d"]
    u: Float[Array, "b h c n e"]
    by: tuple[Float[Array, "b h c n d"], ...]
    last: Shares
    batch: Shares
    begins: Bool[Array, "b 1 c"]
    writes: Float[Array, "b h c n 1"]
    momentum: Float[Array, "b h c 1"]


def momentum_scan(
    q: Float[Array, "b t h d"],
    k: Float[Array, "b t h d"],
    v: Float[Array, "b t h e"],
    *gates: Float[Array, "b t h"],
    since: Int[Array, "b t"] | None = None,
    start: MomentumState | None = None,
    batch: int | None = None,
) -> tuple[MomentumState, Float[Array, "b t h e"]]:
    """The causal pass, block by block, as the last state and the outputs.

    Within a chunk all u are one triangular system, whose solution is linear in M and S before it:

        (I + L) u = 2 rate (v - m k^T M - s k^T S)    L[i, j] = 2 rate_i g[i - 1, j] k_i . k_j
        out = m q^T M + s q^T S + (q k^T g) u         g, m, s: the `Shares` of M

    with m and s at the position before, or in place of all rows i - 1 those before the batch of i;
    of a batch that begins before the chunk, L and s are 0, m is 1 and M is the one before it.

    Args:
      gates: rate, log_keep, log_momentum and adds; of the two logarithms none above 0, and both
        lowest where a document begins.
      since: positions since the document began; None where no documents are packed.
      start: the state before the first position; None for zeros.
      batch: positions whose gradients are taken at one M; None for each at the M before it.
    """
    shape = v.shape[0], k.shape[2], k.shape[-1], v.shape[-1]
    before = momentum_empty(shape, q.dtype, batch) if start is None else start
    at = numbers(since, before.position, q.shape[1])
    inputs = q, k, v, *(x[..., None] for x in gates), at[:, :, None, None]
    state, out = by_blocks(partial(_block, batch), before[:3], inputs, CHUNK)
    position, (memory, momentum, first) = before.position + q.shape[1], state
    return MomentumState(memory, momentum, _renewed(first, memory, position, batch), position), out


def _renewed(
    first: Array | None, memory: Array, position: Array, batch: int | None
) -> Float[Array, "b h d e"] | None:
    """M before the batch of the next position, by that of the last."""
    if first is None or batch is None:
        return None
    return jnp.where((position % batch == 0)[:, None, None, None], memory, first)


def _block(
    batch: int | None, chunk: int, state: Matrices, *inputs: Array
) -> tuple[Matrices, Float[Array, "b m h e"]]:
    q, k, v, rate, *gates, number = (chunks(x, chunk)[:, :, 0] for x in inputs)
    log_keep, log_momentum, adds = gates
    # By way of S at each m: of writes at j by momentum until m, in M at i by what fades.
    keep, momentum = (decay_of(x).factors() for x in (log_keep, log_momentum))
    fades = keep.between[..., 0] * adds.mT
    shares = Shares(fades @ momentum.between[..., 0], keep.before, fades @ momentum.before)
    known, begins = _known(batch, shares, number[..., 0])
    sides = [v, known.of_memory * k, known.of_momentum * k]
    if batch is not None:
        sides.append(jnp.where(begins[..., None], 0, k))
    alike = 2 * rate * (k @ k.mT) * known.of_writes
    right = 2 * rate * jnp.concatenate(sides, axis=-1)
    # Only what stands below the diagonal is read of the matrix.
    solved = jax.lax.linalg.triangular_solve(
        alike, right, left_side=True, lower=True, unit_diagonal=True
    )
    widths = list(range(v.shape[-1], solved.shape[-1], k.shape[-1]))
    u, *by = jnp.split(solved, widths, axis=-1)
    last, before = (jax.tree.map(lambda x: x[..., -1:, :], x) for x in (shares, known))
    own = Chunk(k, u, tuple(by), last, before, begins[..., -1], momentum.after, momentum.whole)
    state, (befores, written) = jax.lax.scan(_turn, state, _moved_axis(own, 2, 0))
    (memory, moving), written = _moved_axis((befores, written), 0, 2)
    out = shares.of_memory * (q @ memory) + shares.of_momentum * (q @ moving)
    return state, joined((out + (q @ k.mT * shares.of_writes) @ written)[:, :, None])


def _known(
    batch: int | None, shares: Shares, number: Int[Array, "b 1 c n"]
) -> tuple[Shares, Bool[Array, "b 1 c n"]]:
    """The shares of the M at which gradients are taken, and whether its batch is of this chunk."""
    # Before a document there is nothing.
    follows = (number != 1)[..., None]
    each = (_shifted(x, first) for x, first in zip(shares, (0.0, 1.0, 0.0), strict=True))
    before = Shares(*(jnp.where(follows, x, 0) for x in each))
    if batch is None:
        return before, jnp.ones_like(number, bool)
    place = jnp.arange(number.shape[-1], dtype=jnp.int32)[None, None, None]
    starts = (number > 0) & ((number - 1) % batch == 0)
    row = jax.lax.cummax(jnp.where(starts, place, -1), axis=number.ndim - 1)
    pick = (row[..., None] == place[..., None, :]).astype(shares.of_writes.dtype)
    return Shares(*(pick @ x for x in before)), row >= 0


def _shifted(shares: Float[Array, "*b n _"], first: float) -> Float[Array, "*b n _"]:
    """The shares at the position before each."""
    shape = *shares.shape[:-2], 1, shares.shape[-1]
    return jnp.concatenate([jnp.full(shape, first, shares.dtype), shares[..., :-1, :]], axis=-2)


def _moved_axis(tree: PyTree, source: int, to: int) -> Any:
    return jax.tree.map(lambda x: jnp.moveaxis(x, source, to), tree)


def _turn(state: Matrices, own: Chunk) -> tuple[tuple, tuple]:
    """The matrices after a chunk; those before it, and what it writes."""
    memory, momentum, first = state
    written = own.u
    for by, x in zip(own.by, (x for x in state if x is not None), strict=True):
        written = written - by @ x

    def held(of: Shares) -> Float[Array, "b h d e"]:
        add = (own.k * of.of_writes[..., 0, :, None]).mT @ written
        return of.of_memory * memory + of.of_momentum * momentum + add

    after = own.momentum[..., None] * momentum + (own.k * own.writes).mT @ written
    if first is not None:
        first = jnp.where(own.begins[..., None, None], held(own.batch), first)
    return (held(own.last), after, first), ((memory, momentum), written)


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
    position = state.position + 1
    start = _renewed(state.start, memory, position, batch)
    return MomentumState(memory, momentum, start, position), read(memory, q[:, None])[:, 0]
