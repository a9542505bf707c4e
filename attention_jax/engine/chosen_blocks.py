"""Attention of each query to blocks of keys that were chosen for it, and to no others.

    out_i = softmax over visible j in the chosen blocks of i of (q_i . k_j / sqrt(d)), times v_j

Queries are sorted by the block that they chose: those of one block stand together in groups, so
that a group is one product of matrices, and what nobody chose is never read. A query with n blocks
stands in n groups; its parts are weighted by their log-sum-exps and added.

Cost: t n `size` (d + e) products a head, and t n (d + e) numbers moved into groups and back.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from attention_jax.core import captured_arrays
from attention_jax.core.numerics import Offset, dropped
from attention_jax.core.types import MaskFunction
from attention_jax.engine import reference

# Queries in a group: enough for a fast product, few enough that the last of a block is not empty.
GROUP = 32
# Scores that are held at once.
HELD = 2**20


class Pairs(NamedTuple):
    """By which rules a pair of query and key is seen.

    Attributes:
      mask: as of `attention`; None where all pairs of a chosen block are seen.
      query_offset, key_offset: global positions of the first query and the first key.
      dropout_rate, dropout_key: as of `attention`.
    """

    mask: MaskFunction | None = None
    query_offset: Offset = 0
    key_offset: Offset = 0
    dropout_rate: float = 0.0
    dropout_key: PRNGKeyArray | None = None


def attend(
    q: Float[Array, "b t h d"],
    k: Float[Array, "b s g d"],
    v: Float[Array, "b s g e"],
    chosen: Int[Array, "b t c n"],
    size: int,
    pairs: Pairs,
) -> tuple[Float[Array, "b t h e"], Float[Array, "b t h"]]:
    """The output and the log-sum-exp of each query over its blocks.

    Args:
      chosen: numbers of blocks, counted from the first key; all of a query differ, and -1 is none.
        Its axis c is g, where the queries of a key head choose together, or h.
      size: keys in a block; the last block may be shorter.
      pairs: which of these keys are seen.
    """
    (b, t, h, _), s, c = q.shape, k.shape[1], chosen.shape[2]
    q, k, v, of_query, of_key = reference.finite_parts(q, k, v)
    plan = jax.vmap(partial(_groups, -(-s // size)))(_first(chosen, b * c))
    # Of each choosing head: the queries of its h/c heads, and the keys of its key head.
    queries = _first(q.reshape(b, t, c, h // c, -1), b * c)
    keys, values, bad = (_blocks(x, size, c) for x in (k, v, of_key[..., None]))
    take = jax.vmap(lambda x, at: x.at[at].get(mode="clip"))
    groups = (
        take(queries, plan.query),
        *(take(x, plan.block) for x in (keys, values, bad[..., 0])),
        *(plan.query, plan.block),
        jnp.broadcast_to(jnp.arange(b * c, dtype=jnp.int32)[:, None], plan.block.shape),
    )
    sizes = _Sizes(s, size, t, c, h // c)
    out, lse = _over_groups(partial(_group, sizes, pairs), groups)
    parts = [take(x.reshape(b * c, -1, *x.shape[3:]), plan.slot) for x in (out, lse)]
    gone = (plan.slot >= plan.query.shape[1] * GROUP)[..., None]
    out, lse = _merged(parts[0], jnp.where(gone, -jnp.inf, parts[1]))
    out, lse = (
        x.reshape(b, c, t, h // c, -1).swapaxes(1, 2).reshape(b, t, h, -1) for x in (out, lse)
    )
    seen = lse[..., 0] != -jnp.inf
    return out + jnp.where(seen, of_query, 0)[..., None], lse[..., 0]


class _Groups(NamedTuple):
    """The groups of one choosing head.

    Attributes:
      query: of each slot of each group; t where the slot is empty.
      block: of each group.
      slot: of each query and each of its blocks, over all groups; their number where it has none.
    """

    query: Int[Array, "*b m p"]
    block: Int[Array, "*b m"]
    slot: Int[Array, "*b t n"]


def _groups(blocks: int, chosen: Int[Array, "t n"]) -> _Groups:
    """Sorts queries by their blocks, each of which begins a group of its own."""
    t, n = chosen.shape
    count = t * n // GROUP + min(blocks, t * n)
    flat = jnp.where(chosen < 0, blocks, chosen).reshape(-1).astype(jnp.int32)
    order = jnp.argsort(flat, stable=True)
    own = flat[order]
    many = jnp.bincount(flat, length=blocks + 1)[:blocks]
    groups = -(-many // GROUP)
    ends, first = jnp.cumsum(groups), jnp.cumsum(many) - many
    at = jnp.minimum(own, blocks - 1)
    slot = (ends - groups)[at] * GROUP + jnp.arange(t * n) - first[at]
    slot = jnp.where(own < blocks, slot, count * GROUP).astype(jnp.int32)
    query = jnp.full(count * GROUP, t, jnp.int32)
    query = query.at[slot].set((order // n).astype(jnp.int32), mode="drop")
    block = jnp.searchsorted(ends, jnp.arange(count), side="right")
    return _Groups(
        query.reshape(count, GROUP),
        jnp.minimum(block, blocks - 1).astype(jnp.int32),
        jnp.zeros_like(slot).at[order].set(slot).reshape(t, n),
    )


class _Sizes(NamedTuple):
    keys: int
    block: int
    queries: int
    choosing: int
    heads: int  # of queries, of each that chooses


def _group(sizes: _Sizes, pairs: Pairs, group: Any) -> tuple[Array, Array]:
    """The output [p r e] and the log-sum-exp [p r] of one group."""
    q, k, v, bad, query, block, head = group
    logits = jnp.einsum("prd,sd->prs", q, k) * q.shape[-1] ** -0.5 + bad[None, None]
    key = block * sizes.block + jnp.arange(sizes.block, dtype=jnp.int32)
    b, first = head // sizes.choosing, head % sizes.choosing * sizes.heads
    h = first + jnp.arange(sizes.heads, dtype=jnp.int32)
    i = jnp.asarray(pairs.query_offset, jnp.int32) + jnp.minimum(query, sizes.queries - 1)
    j = jnp.asarray(pairs.key_offset, jnp.int32) + jnp.minimum(key, sizes.keys - 1)
    real = (query < sizes.queries)[:, None, None] & (key < sizes.keys)[None, None]
    seen = real if pairs.mask is None else real & _seen(pairs.mask, b, h, i, j)
    weights, lse = reference.softmax(logits[None], seen[None])
    if pairs.dropout_rate and pairs.dropout_key is not None:
        at = b[None, None, None], h[None, :, None], i[:, None, None], j[None, None]
        weights = dropped(weights[0], pairs.dropout_key, pairs.dropout_rate, at)[None]
    return jnp.einsum("prs,se->pre", weights[0], v), lse[0]


def _seen(mask: MaskFunction, b: Array, h: Array, i: Array, j: Array) -> Bool[Array, "p r s"]:
    each = partial(captured_arrays.call, mask)
    for over in ((None, None, None, 0), (None, 0, None, None), (None, None, 0, None)):
        each = jax.vmap(each, over)
    return each(b, h, i, j)


def _over_groups(of_group: Any, groups: Any) -> tuple[Array, Array]:
    """`of_group` of all groups [n m ...], some at once."""
    n, m, _, r, _ = groups[0].shape
    together = max(HELD // (GROUP * r * groups[1].shape[2]), 1)
    together = min(together, n * m)
    rest = -n * m % together

    def cut(x: Array) -> Array:
        x = x.reshape(n * m, *x.shape[2:])
        x = jnp.pad(x, [(0, rest)] + [(0, 0)] * (x.ndim - 1))
        return x.reshape(-1, together, *x.shape[1:])

    # The backward pass computes the scores of a turn again.
    turn = jax.checkpoint(jax.vmap(of_group), prevent_cse=False)
    found = jax.lax.map(turn, jax.tree.map(cut, groups))
    return jax.tree.map(
        lambda x: x.reshape(-1, *x.shape[2:])[: n * m].reshape(n, m, *x.shape[2:]), found
    )


def _merged(out: Float[Array, "m t n r e"], lse: Float[Array, "m t n r"]) -> tuple[Array, Array]:
    """The parts of each query as one."""
    there = lse != -jnp.inf
    parts, seen = (x.swapaxes(2, 3) for x in (jnp.where(there, lse, 0), there))
    shares, whole = reference.softmax(parts, seen)
    return jnp.einsum("mtrn,mtnre->mtre", shares, jnp.where(there[..., None], out, 0)), whole


def _first(x: Array, rows: int) -> Array:
    """[b t c ...] as [b*c t ...]."""
    return x.swapaxes(1, 2).reshape(rows, x.shape[1], *x.shape[3:])


def _blocks(x: Float[Array, "b s g d"], size: int, c: int) -> Float[Array, "m n size d"]:
    """Keys or values in blocks, for each head that chooses; copies of the last fill the end."""
    b, s, g, d = x.shape
    n = -(-s // size)
    x = jnp.pad(x, ((0, 0), (0, n * size - s), (0, 0), (0, 0)), mode="edge")
    x = x.swapaxes(1, 2).reshape(b, g, n, size, d)
    return jnp.repeat(x, c // g, axis=1).reshape(b * c, n, size, d)
