"""Attention whose sequence is divided over an axis of a mesh.

Each shard holds some positions of queries, keys and values, and computes the rows of its queries:

    gather      keys and values of all shards are brought to each        (Llama 3)
    ring        they are passed on from shard to shard                   (`context_ring`)
    neighbors   those alone that a sliding window reaches are fetched    (`context_neighbors`)

Functions see global positions, so scores, modifiers, masks, normalizers and dropout mean what they
mean on one device, and so do their gradients. What functions capture is whole on every shard.

References: all-gather: Dubey et al. 2024, arXiv:2407.21783, section 3.3.2; ring: Liu et al. 2023,
arXiv:2310.01889, section 3.
"""

from collections.abc import Callable
from functools import partial

from jaxtyping import Array, PyTree

from attention_jax.core import lookups
from attention_jax.core.types import Context
from attention_jax.engine import context_neighbors, context_ring
from attention_jax.engine.context_layout import Layout, divided, layout_of, per_chunk, whole_shapes
from attention_jax.engine.implementation import Output
from attention_jax.engine.request import Offsets, Request

Run = Callable[[Request], Output]


def attend(request: Request, context: Context | str, run: Run) -> Output:
    """The rows of the queries of a call that is divided.

    Args:
      request: of whole arrays, or inside `jax.shard_map` of those of a shard; offsets are those of
        the whole sequence.
      run: computes a request on one device.

    Raises:
      ValueError: the mesh has no such axis, it does not divide a length, or the strategy cannot
        honor the request.
    """
    layout = layout_of(context)
    check(request, layout)
    if layout.is_explicit:
        # Types that tell how arrays are divided end here, and begin again at the output.
        query = layout.along(request.arrays[0])
        again = partial(attend, context=layout.context, run=run)
        return request._replace(query=query).apart(again, query)
    strategy = _STRATEGIES[layout.context.strategy]
    if layout.is_manual:
        return strategy(request, layout, run)
    inside = layout._replace(is_manual=True)
    (qkv, *rest), rebuild = request.lifted()

    def of_shard(qkv: PyTree, rest: PyTree) -> Output:
        return strategy(rebuild((qkv, *rest)), inside, run)

    return divided(layout.axis, of_shard, qkv, rest)


def check(request: Request, layout: Layout) -> None:
    """Raises unless a request can be divided so."""
    whole = whole_shapes(layout, query=request.query, key=request.key)
    if layout.is_manual:
        for name in ("mask", "score_mod"):
            lookups.check(name, getattr(request, name), *whole, *request.offsets)
    refusal = {"ring": context_ring.refuse, "neighbors": context_neighbors.refuse}
    reason = refusal.get(layout.context.strategy, lambda request: None)(request)
    if reason is not None:
        raise ValueError(
            f"`strategy` {layout.context.strategy!r} of `context` cannot honor this request: "
            f"{reason} Use `context={layout.axis!r}`, which gathers keys and values."
        )


def gather(request: Request, layout: Layout, run: Run) -> Output:
    """The rows of this shard's queries, with the keys and values of all shards."""
    key, value = (layout.gathered(x) for x in request.arrays[1:])

    def rows(first: Array, query: Array) -> Output:
        offsets = Offsets(request.offsets.query + first, request.offsets.key)
        return run(request._replace(query=query, key=key, value=value, offsets=offsets))

    return per_chunk(layout, request.arrays[0], rows)


_STRATEGIES: dict[str, Callable[[Request, Layout, Run], Output]] = {
    "gather": gather,
    "ring": context_ring.attend,
    "neighbors": context_neighbors.attend,
}
