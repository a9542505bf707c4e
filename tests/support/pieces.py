"""A causal pass in pieces, and of packed documents, to be compared with an oracle."""

import jax
import jax.numpy as jnp
import numpy as np

from attention_jax import masks
from attention_jax.core.types import Options

SIZES = {"heads": 4, "kv_heads": 2, "head_width": 8}


def inputs(draw, length):
    """A layer's input, queries, keys and values of two sequences."""
    x = draw(2, length, 12)
    return x, (draw(2, length, 4, 8), draw(2, length, 2, 8), draw(2, length, 2, 6))


def in_pieces(variant, params, x, qkv, cuts):
    """The outputs of `extend` of one piece after another, and of `step` where it is one position.

    The second sequence begins at the first cut, so that the two are never at the same position; its
    outputs come first, and zeros after them.
    """
    late, sizes = cuts[0], SIZES | {"value_width": qkv[2].shape[-1], "dtype": jnp.float32}
    start = variant.start(params, 2, x.shape[1], **sizes)
    extend, step = jax.jit(variant.extend), jax.jit(variant.step)
    more = {} if variant.features is None else {"features": variant.features(params, x)}
    arrays = more, qkv

    def of_piece(state, first, end):
        more, own = jax.tree.map(lambda a: a[:, first:end], arrays)
        if end - first > 1:
            return extend(params, state, *own, **more)
        more, own = jax.tree.map(lambda a: a[:, 0], (more, own))
        state, out = step(params, state, *own, **more)
        return state, out[:, None]

    ahead, found = of_piece(start, 0, late)
    state = jax.tree.map(lambda a, b: jnp.concatenate([a[:1], b[1:]]), ahead, start)
    # From here on the second sequence is read from its beginning.
    shifted = jax.tree.map(lambda a: a.at[1, late:].set(a[1, :-late]), arrays)
    rows = [found.at[1].set(0)]
    arrays = shifted
    for first, end in zip(cuts, (*cuts[1:], x.shape[1]), strict=True):
        state, out = of_piece(state, first, end)
        rows.append(out)
    whole = np.array(jnp.concatenate(rows, axis=1))
    whole[1] = np.roll(whole[1], -late, axis=0)
    return whole


def of_documents(variant, params, x, qkv, lengths):
    """The pass of packed documents, of which each sequence has its own lengths."""
    ids = jnp.asarray([np.repeat(np.arange(len(own)), own) for own in lengths], jnp.int32)
    options = Options(masks.causal & masks.documents(ids, ids))
    run = jax.jit(
        lambda params, x, *qkv: variant.attend(
            params, *qkv, options, features=variant.features(params, x)
        )
    )
    return np.asarray(run(params, x, *qkv))


def by_documents(oracle, x, qkv, lengths):
    """What an oracle `(x, q, k, v) -> out` gives for each document alone."""
    out = np.zeros((*qkv[0].shape[:3], qkv[2].shape[-1]))
    for row, own in enumerate(lengths):
        ends = np.cumsum(own)
        for first, end in zip(ends - own, ends, strict=True):
            cut = (np.asarray(a)[row : row + 1, first:end] for a in (x, *qkv))
            out[row, first:end] = oracle(*cut)[0]
    return out
