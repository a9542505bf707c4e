"""The best linear map from keys to values of the past, by least squares, read by each query.

    H_i = exp(log_decay_i) H_(i-1) + b_i k_i k_i^T    G_i = exp(log_decay_i) G_(i-1) + b_i k_i v_i^T
    out_i = G_i^T x_i        (H_i + diag(ridge)) x_i = q_i

H and G are one state [H G]. Each x is found by conjugate gradients, for all positions of a block at
once: H_i x is a product with the state before a chunk, and with pairs inside, so that no H_i is
made but one a chunk. Derivatives are those of the solution, by a second such search.
`mesa_scan` takes blocks of positions, for training, `mesa_step` one, for decoding. Arrays are in
the dtype of the computation already.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from attention_jax.variants._builders.chunked_scan import (
    CHUNK,
    by_blocks,
    chunks,
    decay_of,
    joined,
    moved_by,
)


def mesa_scan(
    q: Float[Array, "b t h d"],
    writes: Float[Array, "b t h d"],
    kv: Float[Array, "b t h _"],
    log_decay: Float[Array, "b t h 1"],
    ridge: Float[Array, "h d"],
    *,
    start: Float[Array, "b h d _"] | None = None,
    iterations: int,
) -> tuple[Float[Array, "b h d _"], Float[Array, "b t h e"]]:
    """The causal pass, block by block, as the last state and the outputs.

    Args:
      writes: b k above.
      kv: keys, and values behind them.
      log_decay: at most 0.
      ridge: above 0.
      start: the state before the first position; None for zeros.
      iterations: of conjugate gradients; as many as keys are wide find x but for rounding.
    """
    if start is None:
        start = jnp.zeros((q.shape[0], *q.shape[2:], kv.shape[-1]), q.dtype)
    block = partial(_block, ridge[None, :, None, None], iterations)
    return by_blocks(block, start, (q, writes, kv, log_decay), CHUNK)


def _block(
    ridge: Float[Array, "1 h 1 1 d"],
    iterations: int,
    chunk: int,
    state: Float[Array, "b h d _"],
    *inputs: Float[Array, "b m h _"],
) -> tuple[Float[Array, "b h d _"], Float[Array, "b m h e"]]:
    q, writes, kv, log_decay = (chunks(x, chunk)[:, :, 0] for x in inputs)
    decay, d = decay_of(log_decay).factors(), q.shape[-1]
    added = (writes * decay.after).mT @ kv
    # Nothing but the decay moves a state.
    moves = decay.whole[..., None], jnp.zeros((*added.shape[:-1], d), q.dtype), added
    state, states = jax.lax.scan(moved_by, state, tuple(jnp.moveaxis(x, 2, 0) for x in moves))
    states = jnp.moveaxis(states, 0, 2)

    def read(x: Array, first: int, end: int | None) -> Float[Array, "b h c n _"]:
        """Columns of the states at all positions, by what reads each."""
        before = (x * decay.before) @ states[..., first:end]
        return before + (x @ writes.mT * decay.between[..., 0]) @ kv[..., first:end]

    x = solved(lambda x: read(x, 0, d) + ridge * x, q, iterations)
    return state, joined(read(x, d, None)[:, :, None])


def solved(
    apply: Callable[[Array], Array], right: Float[Array, "*b d"], iterations: int
) -> Float[Array, "*b d"]:
    """x of `apply(x)` = right, a symmetric positive matrix times each vector."""

    def search(apply: Callable[[Array], Array], right: Array) -> Array:
        def turn(_: Array, carry: tuple[Array, ...]) -> tuple[Array, ...]:
            x, rest, way, size = carry
            along = apply(way)
            far = _ratio(size, (way * along).sum(-1, keepdims=True))
            x, rest = x + far * way, rest - far * along
            left = (rest * rest).sum(-1, keepdims=True)
            return x, rest, rest + _ratio(left, size) * way, left

        size = (right * right).sum(-1, keepdims=True)
        first = jnp.zeros_like(right), right, right, size
        return jax.lax.fori_loop(0, iterations, turn, first)[0]

    return jax.lax.custom_linear_solve(apply, right, search, symmetric=True)


def _ratio(one: Array, other: Array) -> Array:
    """one / other; 0 where the search has ended."""
    return jnp.where(other > 0, one / jnp.where(other > 0, other, 1), 0)


def mesa_step(
    state: Float[Array, "b h d _"],
    q: Float[Array, "b h d"],
    writes: Float[Array, "b h d"],
    kv: Float[Array, "b h _"],
    log_decay: Float[Array, "b h 1"],
    ridge: Float[Array, "1 h d"],
    *,
    iterations: int,
) -> tuple[Float[Array, "b h d _"], Float[Array, "b h e"]]:
    """The next position; reproduces `mesa_scan`."""
    state = jnp.exp(log_decay)[..., None] * state + writes[..., None] * kv[..., None, :]
    d = q.shape[-1]

    def read(x: Array, first: int, end: int | None) -> Float[Array, "b h _"]:
        return jnp.einsum("bhd,bhde->bhe", x, state[..., first:end])

    x = solved(lambda x: read(x, 0, d) + ridge * x, q, iterations)
    return state, read(x, d, None)
