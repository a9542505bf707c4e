"""Ring attention: keys and values pass from shard to shard, and no shard holds more than a part.

    out = sum_n share_n out_n    share_n = exp(lse_n - lse)      of the keys of shard n

Its derivative is a ring too, in which the parts are computed again. With the cotangents of output
and log-sum-exp, those of a part are

    c_out_n = share_n c_out      c_lse_n = share_n (c_out . (out_n - out) + c_lse)

and cotangents of keys and values travel beside them, until they are home. So the memory is that of
a part, backward as forward. Second derivatives are JAX's own.

Reference: Liu et al. 2023, arXiv:2310.01889, section 3.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from attention_jax.core import merging, scores
from attention_jax.core.merging import Merge, Part, merged, moved, pulled, to_pull
from attention_jax.engine import custom_transpose
from attention_jax.engine.context_layout import Layout, per_chunk
from attention_jax.engine.implementation import Output, named_output, named_rows
from attention_jax.engine.request import Offsets, Request, make_request

Run = Callable[[Request], Output]

# Queries and keys of a shard that are taken together, at most: what is computed beside them is
# held for these alone.
PIECE = 1024


def refuse(request: Request) -> str | None:
    """Needs a normalizer whose parts merge."""
    if merging.merge_of(request.normalizer) is not None:
        return None
    return f"{request.normalizer.name} needs whole rows of logits."


def piece_rows(length: int, layout: Layout) -> int:
    """Rows of a piece, where a shard holds so many."""
    whole = length // layout.context.chunks
    size = next(n for n in range(min(PIECE, whole), 0, -1) if whole % n == 0)
    # Short pieces, of lengths that little divides, would take long.
    return size if 2 * size > PIECE else whole


def attend(request: Request, layout: Layout, run: Run) -> Output:
    """The rows of this shard's queries, with the keys of one shard after another."""
    return request.apart(partial(_attend, layout=layout, run=run), request.arrays[0])


def _attend(request: Request, *, layout: Layout, run: Run) -> Output:
    merge, form = merging.merge_of(request.normalizer), request.normalizer.online
    assert merge is not None
    count = None if merge.count is None else _visible(request, layout, run)
    rows: Any = _rows(_partial(request, merge, layout, count), layout, run)
    out, lse = rows
    if count is not None and merge.count == "divides":
        out = out / count[..., None]
    if form is not None and form.after is not None:
        out, lse = form.after(out, lse)
    out = out.astype(request.query.dtype)
    return (out, lse) if request.return_lse else out


def _visible(request: Request, layout: Layout, run: Run) -> Float[Array, "b t h"]:
    """How many keys of the whole sequence each query sees, at least 1."""
    query, key, _ = request.arrays
    b, s, g, _ = key.shape
    nothing = jnp.zeros((b, s * layout.shards, g, 1), request.dtype)

    def rows(first: Array, query: Array) -> Output:
        return run(
            make_request(
                jnp.zeros((*query.shape[:3], 1), request.dtype),
                nothing,
                nothing + 1,
                score=scores.dot,
                mask=request.mask,
                normalizer=merging.COUNT,
                query_offset=request.offsets.query + first,
                key_offset=request.offsets.key,
            )
        )

    return jnp.maximum(per_chunk(layout, query, rows)[..., 0], 1)


def _partial(request: Request, merge: Merge, layout: Layout, count: Array | None) -> Request:
    """The request whose normalizer is that of a part."""
    score_mod: Any = request.score_mod
    if count is not None and merge.count == "lowers":
        lowered, start = jnp.log(layout.gathered(count)), request.offsets.query
        before = score_mod or (lambda score, b, h, i, j: score)

        def score_mod(score: Array, b: Array, h: Array, i: Array, j: Array) -> Array:
            return before(score, b, h, i, j) - lowered[b, i - start, h]

    return request.changed(score_mod=score_mod, normalizer=merge.part, return_lse=merge.by_lse)


class _Piece(NamedTuple):
    """Some rows of this shard's queries, and some of the keys that are here.

    Attributes:
      row, column: the first of each.
      rows, columns: how many.
      starts: their global positions.
    """

    row: Array
    column: Array
    rows: int
    columns: int
    starts: tuple[Array, Array]

    def of_queries(self, tree: PyTree) -> PyTree:
        return _slices(tree, self.row, self.rows)

    def of_keys(self, tree: PyTree) -> PyTree:
        return _slices(tree, self.column, self.columns)

    def with_queries(self, tree: PyTree, own: PyTree) -> PyTree:
        """The arrays with these rows in place of their own."""
        return _updated(tree, own, self.row)

    def with_keys(self, tree: PyTree, own: PyTree) -> PyTree:
        return _updated(tree, own, self.column)


def _slices(tree: PyTree, first: Array, count: int) -> PyTree:
    return jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, first, count, axis=1), tree)


def _updated(tree: PyTree, own: PyTree, first: Array) -> PyTree:
    put = partial(jax.lax.dynamic_update_slice_in_dim, start_index=first, axis=1)
    return jax.tree.map(put, tree, own)


class _Ring(NamedTuple):
    """Rows whose keys come by, as a function of arrays, with its derivatives.

    Attributes:
      part: `(query, captured, keys, others, starts) -> Part` of some queries and some keys.
      lengths: of the queries and of the keys of a shard.
    """

    part: Callable[..., Part]
    layout: Layout
    lengths: tuple[int, int]

    def rows(self, query: Array, captured: PyTree, keys: PyTree, others: PyTree) -> Part:
        """The forward pass."""

        def add(whole: Part, home: PyTree, keys: PyTree, piece: _Piece) -> tuple[Part, PyTree]:
            own = self._part(query, captured, keys, others, piece)
            return piece.with_queries(whole, merged(piece.of_queries(whole), own)), home

        return self._turns(add, self._nothing(query, captured, keys, others), (), keys)[0]

    def tangents(self, residuals: PyTree, moves: PyTree) -> Part:
        """The tangents of the rows; linear in those of queries, captured arrays and keys."""
        query, captured, keys, others, whole = residuals
        d_query, d_captured, d_keys = moves

        def add(sums: Part, home: PyTree, both: PyTree, piece: _Piece) -> tuple[Part, PyTree]:
            given = piece.of_queries(query), captured, piece.of_keys(both[0])
            moved_by = piece.of_queries(d_query), d_captured, piece.of_keys(both[1])
            function = lambda *x: self.part(*x, others, piece.starts)  # noqa: E731
            own, move = jax.jvp(function, given, moved_by)
            more = moved(own, move, piece.of_queries(whole))
            more = jax.tree.map(jnp.add, piece.of_queries(sums), more)
            return piece.with_queries(sums, more), home

        nothing = jax.tree.map(jnp.zeros_like, whole)
        return self._turns(add, nothing, (), (keys, d_keys))[0]

    def cotangents(
        self, needed: tuple[bool, ...], residuals: PyTree, given: Part
    ) -> tuple[PyTree, ...]:
        """The cotangents of queries, captured arrays and keys."""
        del needed
        query, captured, keys, others, whole = residuals
        given, lse = to_pull(given, whole), whole.lse

        def add(sums: Any, home: PyTree, keys: PyTree, piece: _Piece) -> tuple[Any, PyTree]:
            function = lambda *x: self.part(*x, others, piece.starts)  # noqa: E731
            primals = piece.of_queries(query), captured, piece.of_keys(keys)
            own, pull = jax.vjp(function, *primals)
            more = pull(pulled(own, *piece.of_queries((given, lse))))
            before = piece.of_queries(sums[0]), sums[1], piece.of_keys(home)
            of_query, of_captured, of_keys = jax.tree.map(jnp.add, before, more)
            sums = piece.with_queries(sums[0], of_query), of_captured
            return sums, piece.with_keys(home, of_keys)

        zeros = jax.tree.map(jnp.zeros_like, (query, captured, keys))
        (of_query, of_captured), of_keys = self._turns(add, zeros[:2], zeros[2], keys)
        return of_query, of_captured, of_keys

    def _part(
        self, query: Array, captured: PyTree, keys: PyTree, others: PyTree, piece: _Piece
    ) -> Part:
        own = piece.of_queries(query), captured, piece.of_keys(keys)
        return self.part(*own, others, piece.starts)

    def _turns(
        self, add: Callable[..., tuple[PyTree, PyTree]], sums: PyTree, home: PyTree, keys: PyTree
    ) -> tuple[PyTree, PyTree]:
        """`add(sums, home, keys, piece)` of all pieces of the keys of one shard after another.

        What is `home` at the end has travelled with the keys that it belongs to.
        """
        (rows, columns), (t, s) = (piece_rows(n, self.layout) for n in self.lengths), self.lengths
        pieces = jnp.arange(t // rows * (s // columns), dtype=jnp.int32)

        def turn(carry: Any, number: Array) -> tuple[Any, None]:
            sums, home, keys = carry
            holder = (self.layout.shard - number) % self.layout.shards

            def one(carry: Any, piece: Array) -> tuple[Any, None]:
                row, column = piece // (s // columns) * rows, piece % (s // columns) * columns
                starts = self.layout.first(self.layout.shard, row, t)
                at = _Piece(
                    row, column, rows, columns, (starts, self.layout.first(holder, column, s))
                )
                return add(*carry, keys, at), None

            # Sent before they are read, so that they travel meanwhile.
            following = self.layout.from_shard(keys)
            (sums, home), _ = jax.lax.scan(one, (sums, home), pieces)
            return (sums, self.layout.from_shard(home), following), None

        turns = jnp.arange(self.layout.shards, dtype=jnp.int32)
        return jax.lax.scan(turn, (sums, home, keys), turns)[0][:2]

    def _nothing(self, query: Array, *rest: PyTree) -> Part:
        start = jax.ShapeDtypeStruct((), jnp.int32)
        like = jax.eval_shape(self.part, query, *rest, (start, start))
        out = jnp.zeros(like.out.shape, like.out.dtype)
        # Not `full_like` of a channel of the output, for values may have none.
        lse = None if like.lse is None else jnp.full(like.lse.shape, -jnp.inf, like.lse.dtype)
        return Part(out, lse)


def _rows(request: Request, layout: Layout, run: Run) -> Part:
    """The rows of a request whose parts merge, with derivatives."""
    ((query, *keys), *rest), rebuild = request.lifted()
    leaves, tree = jax.tree.flatten(rest)
    moves = [jnp.issubdtype(jnp.result_type(x), jnp.inexact) for x in leaves]

    def part(
        query: Array, captured: PyTree, keys: PyTree, others: PyTree, starts: tuple[Any, Any]
    ) -> Part:
        both = {True: iter(captured), False: iter(others)}
        own = rebuild(((query, *keys), *jax.tree.unflatten(tree, [next(both[x]) for x in moves])))
        offsets = Offsets(*(x + n for x, n in zip(own.offsets, starts, strict=True)))
        made = run(own._replace(offsets=offsets))
        out, lse = made if isinstance(made, tuple) else (made, None)
        return Part(out.astype(own.dtype), lse)

    rows = _ruled(_Ring(part, layout, (query.shape[1], keys[0].shape[1])))
    captured, others = (
        [x for x, move in zip(leaves, moves, strict=True) if move is wanted]
        for wanted in (True, False)
    )
    return rows(query, captured, keys, others)


def _ruled(ring: _Ring) -> Callable[..., Part]:
    """The rows of a ring, as a function with a derivative."""

    @jax.custom_jvp
    def rows(query: Array, captured: PyTree, keys: PyTree, others: PyTree) -> Part:
        return ring.rows(query, captured, keys, others)

    @rows.defjvp
    def rows_jvp(primals: Any, tangents: Any) -> Any:
        whole = rows(*primals)
        whole = Part(named_output(whole.out), named_rows(whole.lse))
        given = (*primals, whole), tangents[:3]
        return whole, custom_transpose.apply(ring.tangents, ring.cotangents, *given)

    return rows
