"""Synthesizer: weights made by the query alone (dense), or by the positions alone (random).

    dense:   score[i, j] = W_2[j] . relu(W_1 q_i + b_1) + b_2[j]
    random:  score[i, j] = R[i, j]

Gives up what a key says of itself: keys play no part but for their positions and for being visible.
It also gives up sequences longer than those that it was made for.

Each head has its own network, or its own R. The network reads the query of the head, itself a
linear map of the paper's input.

Reference: Tay et al. 2020, arXiv:2005.00743, sections 3.1 and 3.2.
Cost: t d^2 + t s (d + e) products a head with `dense`; t s e with `random`, and t s numbers held.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from attention_jax.core import checks, scores
from attention_jax.core.numerics import wide_dtype
from attention_jax.core.types import Options, Output, Params, Variant
from attention_jax.engine.api import attention
from attention_jax.variants._builders.options import cast

# Beyond `max_length`, where only a run can tell: NaN, so that it shows.
OUTSIDE: dict[str, Any] = {"mode": "fill", "fill_value": jnp.nan, "wrap_negative_indices": False}


def synthesizer(*, kind: str = "dense", max_length: int = 512) -> Variant:
    """A softmax over scores that no key has a part in.

    Args:
      kind: "dense", where the query makes its scores; "random", where they are learned numbers.
      max_length: of the sequence; longer ones are refused.
    """
    checks.one_of("kind", kind, ("dense", "random"))
    checks.positive("max_length", max_length)
    make, run = {"dense": (_network, _dense), "random": (_table, _random)}[kind]

    def init(key: PRNGKeyArray, *, heads: int, kv_heads: int, head_width: int) -> dict[str, Array]:
        del kv_heads
        return make(key, heads, head_width, max_length)

    def attend(
        params: Params, q: Array, k: Array, v: Array, options: Options = Options()
    ) -> Output:
        checks.attention_arrays(q, k, v)
        offsets = options.query_offset, options.key_offset
        at_q = _positions("query_offset", q.shape[1], offsets[0], max_length)
        at_k = _positions("key_offset", k.shape[1], offsets[1], max_length)
        made = run(params, q, v, at_q, at_k, *offsets)
        return cast(attention(**made, **options._asdict()), q.dtype)

    return Variant(init=init, attend=attend)


def _network(key: PRNGKeyArray, heads: int, width: int, length: int) -> dict[str, Array]:
    key_1, key_2 = jax.random.split(key)
    return {
        "w_1": width**-0.5 * jax.random.normal(key_1, (heads, width, width)),
        "b_1": jnp.zeros((heads, width)),
        "w_2": width**-0.5 * jax.random.normal(key_2, (length, heads, width)),
        "b_2": jnp.zeros((length, heads)),
    }


def _dense(
    params: Params, q: Array, v: Array, at_q: Array, at_k: Array, *offsets: int | Array
) -> dict[str, Any]:
    """The scores as products of a hidden layer and the weights of a position."""
    del at_q, offsets
    dtype = wide_dtype(q, v)
    params = {name: x.astype(dtype) for name, x in params.items()}
    hidden = jnp.einsum("bthd,hcd->bthc", q.astype(dtype), params["w_1"])
    hidden = jax.nn.relu(hidden + params["b_1"][None, None])
    hidden = jnp.concatenate([hidden, jnp.ones_like(hidden[..., :1])], axis=-1)
    ends = jnp.concatenate([params["w_2"], params["b_2"][..., None]], axis=-1)
    ends = ends.at[at_k].get(**OUTSIDE)
    return {
        "query": hidden,
        "key": jnp.broadcast_to(ends[None], (q.shape[0], *ends.shape)),
        "value": jnp.repeat(v, q.shape[2] // v.shape[2], axis=2),
        "score": scores.dot,
    }


def _table(key: PRNGKeyArray, heads: int, width: int, length: int) -> dict[str, Array]:
    del width
    return {"scores": jax.random.normal(key, (heads, length, length))}


def _random(
    params: Params,
    q: Array,
    v: Array,
    at_q: Array,
    at_k: Array,
    query_offset: int | Array,
    key_offset: int | Array,
) -> dict[str, Any]:
    rows = params["scores"].at[:, at_q].get(**OUTSIDE).at[:, :, at_k].get(**OUTSIDE)

    def look_up(score: Array, b: Array, h: Array, i: Array, j: Array) -> Array:
        return rows[h, i - query_offset, j - key_offset].astype(score.dtype)

    # Of width 1, as their products are not looked at.
    nothing = {"query": jnp.zeros_like(q[..., :1]), "key": jnp.zeros_like(v[..., :1])}
    return {**nothing, "value": v, "score_mod": look_up}


def _positions(name: str, length: int, offset: int | Array, most: int) -> Array:
    """Positions of queries or keys."""
    checks.position(name, offset)
    start = offset if isinstance(offset, int) else 0
    if start < 0 or start + length > most:
        raise ValueError(
            f"Positions of synthesizer must be from 0 to `max_length` - 1; got {length} from "
            f"{name}={start} and max_length={most}. Raise `max_length`."
        )
    return offset + jnp.arange(length)
