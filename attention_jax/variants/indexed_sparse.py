"""DeepSeek sparse attention (DSA): a light indexer chooses the keys that a query reads.

    I[i, j] = sum_n w_(i n) relu(a_(i n) . c_j / sqrt(width))
    a_i = A x_i, w_i = W x_i, c_j = norm(C x_j)
    chosen(i) = the `keys` visible j of the highest I[i, j], for all heads alike
    out_i = softmax over j in chosen(i) of (q_i . k_j / sqrt(d)), times v_j

The indexer looks at all pairs, with few narrow heads; attention itself at few keys. The choice has
no derivative: the authors train the indexer apart, to foretell the weights. Here the logit of a
chosen key gets I - stop_gradient(I), which is 0, so that the loss itself moves the indexer, as if
its score were a bias. The authors compute a from the latent of the query, and rotate a and c.

Reference: DeepSeek-AI 2025, "DeepSeek-V3.2", section 2.1, equations 1 and 2.
Cost: t s `indexers` `width` products, and t `keys` (d + e) a head; a state of g (d + e) + `width`
numbers a position.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from attention_jax.core import checks, numerics
from attention_jax.core.types import Options, Output, Params, Variant
from attention_jax.engine.context_layout import layout_of
from attention_jax.variants._builders import chosen_keys, exchange, inputs, kept, keywise
from attention_jax.variants._builders.chosen_keys import Index
from attention_jax.variants._builders.linear import root_mean_square_norm
from attention_jax.variants._builders.options import check_request, refuse, refuse_hidden

ALIASES = ("dsa", "deepseek_sparse")


class Cache(NamedTuple):
    """Keys, values and the indexer's keys so far, and the position of the next."""

    k: Float[Array, "b s g d"]
    v: Float[Array, "b s g e"]
    index: Float[Array, "b s c"]
    position: Int[Array, " b"]


def indexed_sparse(*, keys: int = 64, indexers: int = 4, width: int = 16) -> Variant:
    """The scaled dot product over the keys that an indexer chooses.

    Args:
      keys: that a query reads; the authors have 2,048.
      indexers: heads of the indexer; the authors have 64.
      width: of each; the authors have 128.
    """
    for name, value in (("keys", keys), ("indexers", indexers), ("width", width)):
        checks.positive(name, value)
    extend = partial(_extend, keys)
    return Variant(
        partial(_init, indexers, width),
        partial(_attend, keys),
        _start,
        kept.step_of(extend),
        roles=("causal",),
        divides=True,
        features=_features,
        extend=extend,
    )


def _init(
    n: int, c: int, key: PRNGKeyArray, *, width: int, heads: int, kv_heads: int, head_width: int
) -> Params:
    del heads, kv_heads, head_width
    query, weight, keys = jax.random.split(key, 3)
    return {
        "query": inputs.linear(query, width, n, c),
        "weight": inputs.linear(weight, width, n),
        "key": inputs.linear(keys, width, c),
    }


def _features(params: Params, x: Float[Array, "b t m"]) -> Index:
    wide = x.astype(numerics.wide_dtype(x))
    query, weight, key = (inputs.mapped(params[name], wide) for name in Index._fields)
    return Index(query * query.shape[-1] ** -0.5, weight, root_mean_square_norm(key))


def _attend(
    count: int,
    params: Params,
    q: Array,
    k: Array,
    v: Array,
    options: Options = Options(),
    *,
    features: Index,
) -> Output:
    del params
    check_request(q, k, v, options)
    refuse("indexed_sparse", options, "implementation")
    at = options.query_offset, options.key_offset
    keywise.only_causal("indexed_sparse", keywise.is_causal(options.mask))
    keywise.aligned("indexed_sparse", q.shape[1], k.shape[1], *at)
    if options.context is not None:
        gathered, start = layout_of(options.context).gathered, options.key_offset
        options, _ = exchange.of_shard("indexed_sparse", options, q.shape[1], k.shape[1])
        k, v, options = gathered(k), gathered(v), options._replace(key_offset=start)
        features = features._replace(key=gathered(features.key))
    out, lse = chosen_keys.attend(count, q, k, v, features, options)
    return (out, lse) if options.return_lse else out


def _start(
    params: Params, batch: int, length: int, *, heads: int, dtype: Any, **sizes: int
) -> Cache:
    del heads
    k, v, at = kept.empty(batch, length, dtype=dtype, **sizes)
    return Cache(k, v, jnp.zeros((batch, length, params["key"].shape[-1]), dtype), at)


def _extend(
    count: int,
    params: Params,
    state: Cache,
    q: Array,
    k: Array,
    v: Array,
    visible: Array | None = None,
    *,
    features: Index,
) -> tuple[Cache, Float[Array, "b t h e"]]:
    del params
    refuse_hidden("indexed_sparse", visible)
    first = state.position
    arrays, room = kept.put(state[:3], (k, v, features.key), first)
    index = features._replace(key=arrays[2])
    out, _ = chosen_keys.attend(count, q, *arrays[:2], index, Options(kept.up_to(first)))
    return Cache(*arrays, first + q.shape[1]), jnp.where(room, out, jnp.nan)
