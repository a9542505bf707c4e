"""Alignments: weights that depend on the weights of the queries before.

    past_i, weight_i = weigh(past_(i-1), q_i, keys)        out_i = sum_j dropout(weight_i[j]) v_j

A variant gives `weigh`; `from_weights` makes of it `attend`, a loop over the queries, and
`cross_step`, one turn of that loop. The rest is what several of them share: `additive_energy` of
one hidden layer, and `monotonic` weights of a walk along the keys that never turns back.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from attention_jax.core import checks, masks
from attention_jax.core.jaxprs import hoist_invariant
from attention_jax.core.numerics import dropped, wide_dtype
from attention_jax.core.types import Options, Params, State, Variant
from attention_jax.variants._builders.compiled import compiled
from attention_jax.variants._builders.keywise import finalize, is_causal, prepare
from attention_jax.variants._builders.options import refuse

# (params, past [b h s], q [b h d], k [b s g d], visible [b s], key) -> (past, weights [b h s])
Weigh = Callable[..., tuple[Array, Array]]


def from_weights(
    name: str,
    weigh: Weigh,
    *,
    init: Callable[..., Params],
    before: Callable[..., Array] = jnp.zeros,
    stochastic: bool = False,
) -> Variant:
    """A variant for two sequences, whose queries follow one another.

    Args:
      name: of the variant, for errors.
      weigh: `(params, past, q, k, visible, key) -> (past, weights)` for one query; its arrays are
        wide, and 0 where hidden. Weights of hidden keys are made 0 after it.
      init: `(key, *, heads, kv_heads, head_width) -> params`.
      before: `(shape, dtype) -> past` before the first query, of shape [b h s].
      stochastic: whether `weigh` draws where it gets a key; else its `key` is None.
    """
    turn = partial(_turn, weigh)
    cross_step = partial(_cross_step, name, turn, stochastic)

    @compiled
    def attend(params: Params, q: Array, k: Array, v: Array, options: Options = Options()) -> Array:
        _check(name, options)
        got = prepare(name, q, k, v, Options(mask=options.mask, key_offset=options.key_offset))
        noise, drop = _split(options.dropout_key) if stochastic else (None, options.dropout_key)
        weights = _walk(turn, before, (params, got.k, got.visible), got.q, noise)
        weights = _drop(weights, options.dropout_rate, drop, options.key_offset)
        return finalize(got, _mixed(weights, got.v), q.dtype)

    def start(params: Params, batch: int, length: int, *, heads: int, **sizes: Any) -> State:
        del params
        dtype = wide_dtype(jax.ShapeDtypeStruct((), sizes["dtype"]))
        return before((batch, heads, length), dtype)

    return Variant(
        init,
        attend,
        start,
        cross_step=cross_step,
        roles=("cross",),
        mask_kind="keywise",
        stochastic=stochastic,
    )


# (fixed, past [b h s], q [b h d], key) -> (past, weights [b h s]); fixed are params, k and visible
Turn = Callable[[tuple, Array, Array, Any], tuple[Array, Array]]


def _turn(weigh: Weigh, fixed: tuple, past: Array, q: Array, key: Any) -> tuple[Array, Array]:
    """One query: `weigh` in the dtype of the query, with weight 0 where hidden."""
    params, k, visible = fixed
    after, weights = weigh(params, past.astype(q.dtype), q, k, visible, key)
    return after.astype(past.dtype), jnp.where(visible[:, None], weights, 0)


def _walk(
    turn: Turn,
    before: Callable[..., Array],
    fixed: tuple,
    q: Float[Array, "b t h d"],
    noise: PRNGKeyArray | None,
) -> Float[Array, "b h t s"]:
    """The weights of all queries, one turn after another."""
    (b, t, h, _), s = q.shape, fixed[1].shape[1]
    keys = None if noise is None else jax.random.split(noise, t)
    past, queries = before((b, h, s), q.dtype), q.swapaxes(0, 1)
    one = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), (queries, keys))
    rest = hoist_invariant(turn, fixed, past, *one)
    # The backward pass computes each turn again from what was past: t s numbers a head.
    body = jax.checkpoint(lambda past, x: rest(past, *x), prevent_cse=False)
    return jax.lax.scan(body, past, (queries, keys))[1].transpose(1, 2, 0, 3)


def _drop(
    weights: Float[Array, "b h t s"], rate: float, key: PRNGKeyArray | None, key_offset: int | Array
) -> Float[Array, "b h t s"]:
    """The weights after dropout, which goes by the global positions of keys."""
    if not rate or key is None:
        return weights
    b, h, t, s = map(jnp.arange, weights.shape)
    return dropped(weights, key, rate, jnp.ix_(b, h, t, key_offset + s))


def _cross_step(
    name: str,
    turn: Turn,
    stochastic: bool,
    params: Params,
    state: State,
    q: Array,
    k: Array,
    v: Array,
    *,
    visible: Bool[Array, "b s"],
    dropout_key: PRNGKeyArray | None = None,
) -> tuple[State, Array]:
    """The next query, over keys that stay."""
    got = prepare(name, q[:, None], k, v, Options(mask=masks.keys(visible)))
    key = dropout_key if stochastic else None
    state, weights = turn((params, got.k, got.visible), state, got.q[:, 0], key)
    out = finalize(got, _mixed(weights[:, :, None], got.v), q.dtype)
    return state, out[:, 0]


def _check(name: str, options: Options) -> None:
    """Refuses what a walk over the keys of another sequence cannot honor."""
    refuse(name, options, "return_lse", "implementation")
    query_offset = options.query_offset
    if is_causal(options.mask):
        raise ValueError(
            f"{name} looks from one sequence at all of another, so `mask` must not hold "
            "`masks.causal`; got one that does. Use it as `cross_attention`, and within one "
            "sequence another variant, such as scaled_dot."
        )
    checks.position("query_offset", query_offset)
    if not isinstance(query_offset, int) or query_offset:
        raise ValueError(
            f"`query_offset` must be 0 for {name}, whose queries depend on all those before; got "
            f"{query_offset}. Go on from a later query with its `start` and `cross_step`."
        )
    checks.dropout(options.dropout_rate, options.dropout_key)


def _split(key: PRNGKeyArray | None) -> tuple[PRNGKeyArray | None, PRNGKeyArray | None]:
    """Keys of the variant's own noise and of dropout."""
    if key is None:
        return None, None
    noise, drop = jax.random.split(key)
    return noise, drop


def _mixed(weights: Float[Array, "b h t s"], v: Float[Array, "b s g e"]) -> Float[Array, "b t h e"]:
    (b, h, t, s), (_, _, g, e) = weights.shape, v.shape
    grouped = weights.reshape(b, g, h // g * t, s)
    out = jnp.einsum("bgns,bsge->bgne", grouped, v)
    return out.reshape(b, h, t, e).transpose(0, 2, 1, 3)


def additive_energy(
    params: Params,
    q: Float[Array, "b h d"],
    k: Float[Array, "b s g d"],
    added: Float[Array, "b h s a"] | None = None,
) -> Float[Array, "b h s"]:
    """The score of one hidden layer, which may see more than query and key.

        energy_j = w . tanh(W_q q + W_k k_j + b + added_j)

    Reference: Bahdanau et al. 2014, arXiv:1409.0473, appendix A.1.2.
    """
    w_q, w_k, w, bias = (params[name].astype(q.dtype) for name in ("w_q", "w_k", "w", "b"))
    (b, h, _), (_, s, g, _) = q.shape, k.shape
    of_query = jnp.einsum("bhd,ad->bha", q, w_q) + bias[None, None]
    of_key = jnp.einsum("bsgd,ad->bgsa", k, w_k)
    hidden = of_query.reshape(b, g, h // g, 1, -1) + of_key[:, :, None]
    hidden = hidden.reshape(b, h, s, -1)
    return jnp.einsum("bhsa,a->bhs", jnp.tanh(hidden if added is None else hidden + added), w)


def init_additive_energy(key: PRNGKeyArray, head_width: int, width: int | None) -> dict[str, Array]:
    """The parameters of `additive_energy`; as wide as the heads where `width` is None."""
    hidden = width or head_width
    key_q, key_k, key_w = jax.random.split(key, 3)
    # The hidden layer adds two products, so each starts with half the variance.
    project = jax.nn.initializers.variance_scaling(0.5, "fan_in", "normal", in_axis=1, out_axis=0)
    return {
        "w_q": project(key_q, (hidden, head_width)),
        "w_k": project(key_k, (hidden, head_width)),
        "b": jnp.zeros(hidden),
        "w": hidden**-0.5 * jax.random.normal(key_w, (hidden,)),
    }


def stopping_probability(
    params: Params,
    q: Float[Array, "b h d"],
    k: Float[Array, "b s g d"],
    visible: Bool[Array, "b s"],
    key: PRNGKeyArray | None,
    *,
    hard: bool,
    noise: float,
) -> Float[Array, "b h s"]:
    """The probability that a walk which comes to a key stops there.

        stop_j = sigmoid(g w . tanh(W_q q + W_k k_j + b) / |w| + r + noise n_j)

    Args:
      key: draws n, standard normal; None for no noise.
      hard: without a key, 1 where the probability is above 1/2 and 0 elsewhere, with the
        derivative that the probability has.

    Reference: Raffel et al. 2017, arXiv:1704.00784, sections 2.4 and 2.5.
    """
    w, g, r = (params[name].astype(q.dtype) for name in ("w", "g", "r"))
    unit = w * jax.lax.rsqrt(jnp.maximum(w @ w, jnp.finfo(w.dtype).tiny))
    energy = additive_energy(params | {"w": g * unit}, q, k) + r
    if key is not None:
        energy = energy + noise * jax.random.normal(key, energy.shape, energy.dtype)
    stop = jax.nn.sigmoid(energy)
    if hard and key is None:
        stop = stop + jax.lax.stop_gradient((energy > 0).astype(stop.dtype) - stop)
    return jnp.where(visible[:, None], stop, 0)


def init_stopping_probability(
    key: PRNGKeyArray, head_width: int, width: int | None, bias: float
) -> dict[str, Array]:
    """The parameters of `stopping_probability`; `bias` is where r starts."""
    own = init_additive_energy(key, head_width, width)
    return own | {"g": jnp.float32(own["w"].size ** -0.5), "r": jnp.float32(bias)}


def monotonic(past: Float[Array, "b h s"], stop: Float[Array, "b h s"]) -> Float[Array, "b h s"]:
    """Stopping distribution of a walk from where the last one stopped, from key to key.

        come_j = (1 - stop_(j-1)) come_(j-1) + past_j        weight_j = stop_j come_j

    The recurrence over the keys is a composition of linear functions, in log2(s) rounds. The
    paper's closed form is as parallel, but divides by products of (1 - stop), which reach 0.

    Reference: Raffel et al. 2017, arXiv:1704.00784, equations 13 and 14.
    """
    going = jnp.concatenate([jnp.zeros_like(stop[..., :1]), 1 - stop[..., :-1]], axis=-1)

    def compose(first: tuple[Array, Array], then: tuple[Array, Array]) -> tuple[Array, Array]:
        return first[0] * then[0], then[0] * first[1] + then[1]

    _, come = jax.lax.associative_scan(compose, (going, past), axis=-1)
    return stop * come


def at_first(shape: tuple[int, ...], dtype: DTypeLike) -> Array:
    """The past of a walk that has not begun: all of it at the first key."""
    return jnp.zeros(shape, dtype).at[..., 0].set(1)
