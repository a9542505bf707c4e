"""Ring attention: keys and values pass from shard to shard, and no shard holds more than a part.

    out = sum_n share_n out_n    share_n = exp(lse_n - lse)      of the keys of shard n

Its derivative is a ring too, in which the parts are computed again. With the cotangents of output
and log-sum-exp, those of a part are

    c_out_n = share_n c_out      c_lse_n = share_n (c_out . (out_n - out) + c_lse)

and cotangents of keys and values travel beside them, until they are home. So the memory is that of
a part, backward as forward. Second derivatives are JAX's own.

Reference: Liu et al. 2023, arXiv:2310.01889, section 3.
"""

import functools
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from attention_jax.core import merging, scores
from attention_jax.core.merging import Merge, Part, merged, moved, pulled
from attention_jax.engine import custom_transpose
from attention_jax.engine.context_layout import Layout, per_chunk
from attention_jax.engine.implementation import Output, named_output, named_rows
from attention_jax.engine.request import Offsets, Request, make_request

Run = Callable[[Request], Output]


def refuse(request: Request) -> str | None:
    """Needs a normalizer whose parts merge."""
    if merging.merge_of(request.normalizer) is not None:
        return None
    return f"{request.normalizer.name} needs whole rows of logits."


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


class _Ring(NamedTuple):
    """Rows whose keys come by, as a function of arrays.

    Attributes:
      part: `(floats, keys, others, shard) -> Part` of the keys of one shard.
    """

    part: Callable[..., Part]
    layout: Layout

    def rows(self, floats: PyTree, keys: PyTree, others: PyTree) -> Part:
        """The forward pass."""

        def add(whole: Part, keys: PyTree, shard: Array) -> Part:
            return merged(whole, self.part(floats, keys, others, shard))

        return self._turns(add, self._nothing(floats, keys, others), keys)

    def tangents(self, residuals: Any, moves: Any) -> Part:
        """The tangents of the rows; linear in those of floats and keys."""
        floats, keys, others, whole = residuals
        d_floats, d_keys = moves

        def add(sums: Part, both: PyTree, shard: Array) -> Part:
            keys, d_keys = both
            function = lambda *x: self.part(*x, others, shard)  # noqa: E731
            own, move = jax.jvp(function, (floats, keys), (d_floats, d_keys))
            return jax.tree.map(jnp.add, sums, moved(own, move, whole))

        return self._turns(add, jax.tree.map(jnp.zeros_like, whole), (keys, d_keys))

    def cotangents(self, needed: Any, residuals: Any, given: Part) -> tuple[PyTree, PyTree]:
        """The cotangents of floats and keys."""
        del needed
        floats, keys, others, whole = residuals

        def turn(carry: Any, number: Array) -> tuple[Any, None]:
            of_floats, keys, of_keys = carry
            shard = self._holder(number)
            following = self.layout.from_shard(keys)
            function = lambda *x: self.part(*x, others, shard)  # noqa: E731
            own, pull = jax.vjp(function, floats, keys)
            more, of_these = pull(pulled(own, given, whole))
            of_floats, of_keys = (
                jax.tree.map(jnp.add, x, y) for x, y in ((of_floats, more), (of_keys, of_these))
            )
            return (of_floats, following, self.layout.from_shard(of_keys)), None

        zeros = jax.tree.map(jnp.zeros_like, (floats, keys))
        (of_floats, _, of_keys), _ = jax.lax.scan(turn, (zeros[0], keys, zeros[1]), self._numbers)
        return of_floats, of_keys

    def _turns(self, add: Callable[..., Part], start: Part, keys: PyTree) -> Part:
        """What has been added to `start` after the keys of all shards."""

        def turn(carry: Any, number: Array) -> tuple[Any, None]:
            whole, keys = carry
            # Sent before they are read, so that they travel meanwhile.
            following = self.layout.from_shard(keys)
            return (add(whole, keys, self._holder(number)), following), None

        return jax.lax.scan(turn, (start, keys), self._numbers)[0][0]

    def _nothing(self, floats: PyTree, keys: PyTree, others: PyTree) -> Part:
        like = jax.eval_shape(self.part, floats, keys, others, self.layout.shard)
        out = jnp.zeros(like.out.shape, like.out.dtype)
        return Part(out, None if like.lse is None else jnp.full_like(out[..., 0], -jnp.inf))

    @property
    def _numbers(self) -> Array:
        return jnp.arange(self.layout.shards, dtype=jnp.int32)

    def _holder(self, number: Array) -> Array:
        """The shard whose keys are here at a turn."""
        return (self.layout.shard - number) % self.layout.shards


def _rows(request: Request, layout: Layout, run: Run) -> Part:
    """The rows of a request whose parts merge, with derivatives."""
    (qkv, *rest), rebuild = request.lifted()
    leaves, tree = jax.tree.flatten((qkv[0], rest))
    moves = [jnp.issubdtype(jnp.result_type(x), jnp.inexact) for x in leaves]

    def part(floats: PyTree, keys: PyTree, others: PyTree, shard: Array) -> Part:
        both = iter(floats), iter(others)
        query, rest = jax.tree.unflatten(tree, [next(both[not x]) for x in moves])
        return _part(rebuild(((query, *keys), *rest)), layout, shard, run)

    ring = _Ring(part, layout)

    @jax.custom_jvp
    def rows(floats: PyTree, keys: PyTree, others: PyTree) -> Part:
        return ring.rows(floats, keys, others)

    @rows.defjvp
    def rows_jvp(primals: Any, tangents: Any) -> Any:
        whole = rows(*primals)
        whole = Part(named_output(whole.out), named_rows(whole.lse))
        given = (*primals, whole), tangents[:2]
        return whole, custom_transpose.apply(ring.tangents, ring.cotangents, *given)

    split = [
        [x for x, move in zip(leaves, moves, strict=True) if move is want] for want in (True, False)
    ]
    return rows(split[0], qkv[1:], split[1])


def _part(request: Request, layout: Layout, shard: Array, run: Run) -> Part:
    """The rows of this shard's queries, with the keys that a shard holds."""
    query, *own = request.arrays
    keys, values = (layout.chunks(x, shard) for x in own)

    def rows(first: Array, query: Array) -> Part:
        found: list[Part] = []
        for (start, key), (_, value) in zip(keys, values, strict=True):
            starts = Offsets(request.offsets.query + first, request.offsets.key + start)
            made = run(request._replace(query=query, key=key, value=value, offsets=starts))
            found.append(_wide(made, request))
        return functools.reduce(merged, found)

    return per_chunk(layout, query, rows)


def _wide(made: Output, request: Request) -> Part:
    """What a part returned, in the dtype of the computation."""
    out, lse = made if isinstance(made, tuple) else (made, None)
    return Part(out.astype(request.dtype), lse)
