"""States that are corrected rather than added to: `from_delta` builds a variant of that kind."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from attention_jax.core.numerics import wide_dtype
from attention_jax.core.types import Options, Params, Variant
from attention_jax.engine.context_layout import Layout
from attention_jax.variants._builders import exchange
from attention_jax.variants._builders.chunked_scan import delta_added, delta_scan, delta_step
from attention_jax.variants._builders.compiled import compiled
from attention_jax.variants._builders.keywise import Prepared, finalize, only_causal
from attention_jax.variants._builders.linear import root_mean_square_norm, spread


class DeltaState(NamedTuple):
    """Recurrent state of the delta rule.

    Attributes:
      sums: the state of each head.
      q, k, v: the last vectors that convolutions reach back to, the latest first.
    """

    sums: Float[Array, "b h d e"]
    q: Float[Array, "b n h d"]
    k: Float[Array, "b n h d"]
    v: Float[Array, "b n h e"]


class Inputs(NamedTuple):
    """Maps of the layer's input, in place of maps of the heads' keys.

    Attributes:
      init: `(key, *, width, heads, head_width) -> params`.
      features: `(params, x [b t m]) -> features`: "strength" and "log_decay" [b t h], and where
        the output has a gate, "gate" [b t h d].
    """

    init: Callable[..., Params]
    features: Callable[[Params, Array], dict[str, Array]]


def from_delta(
    name: str,
    *,
    convolution: int | None,
    normalize: bool,
    gate: tuple[Callable[..., Params], Callable[[Params, Array], Array]] | None = None,
    inputs: Inputs | None = None,
) -> Variant:
    """A state that is corrected rather than added to, for causal passes only.

    Queries, keys and values pass a short causal convolution and SiLU; queries and keys then have
    length 1. How strongly a key writes is a sigmoid of a learned product with the key, or comes
    from the layer's input.

    Args:
      name: of the variant, for errors.
      convolution: positions that it spans; None for no convolution.
      normalize: whether each head's output is brought to mean square 1.
      gate: `(key, heads, head_width) -> params` and `(params, k [b t h d]) -> log_decay [b t h]`;
        None where nothing decays.
      inputs: maps of the layer's input, in place of strength and gate.
    """
    finish = partial(_finished, normalize)
    gates = partial(_gates, None if gate is None else gate[1])

    def init(key: PRNGKeyArray, *, heads: int, kv_heads: int, head_width: int, **of: int) -> Params:
        del kv_heads
        key_strength, key_taps, key_gate = jax.random.split(key, 3)
        params: dict[str, Any] = {}
        if inputs is not None:
            own = inputs.init(key_strength, heads=heads, head_width=head_width, **of)
            params["inputs"] = own
        else:
            drawn = jax.random.normal(key_strength, (heads, head_width))
            params["strength"] = drawn * head_width**-0.5
        if convolution is not None:
            params["taps"] = _taps(key_taps, heads, convolution, head_width, inputs is not None)
        if gate is not None:
            params["gate"] = gate[0](key_gate, heads, head_width)
        return params

    @compiled
    def attend(
        params: Params,
        q: Array,
        k: Array,
        v: Array,
        options: Options = Options(),
        features: Features = None,
    ) -> Array:
        got, _, layout = exchange.prepared(name, q, k, v, options)
        only_causal(name, got.causal)
        out = _delta_pass(params, partial(gates, features), got, layout)
        return finalize(got, finish(features, out), q.dtype)

    def next_one(
        params: Params, state: DeltaState, q: Array, k: Array, v: Array, features: Features = None
    ) -> tuple[DeltaState, Array]:
        whole = jax.tree.map(lambda x: x[:, None], features)
        state, out = _delta_turn(params, partial(gates, whole), state, q, k, v)
        return state, finish(features, out).astype(q.dtype)

    start = partial(_delta_start, (convolution or 1) - 1)
    made = Variant(
        init, attend, start, next_one, roles=("causal",), mask_kind="keywise", divides=True
    )
    if inputs is None:
        return made
    return made._replace(features=lambda params, x: inputs.features(params["inputs"], x))


Features = dict[str, Array] | None  # of `Inputs`


def _finished(normalize: bool, features: Features, out: Array) -> Array:
    """The output of heads, brought to mean square 1 where asked, and times its gate's SiLU."""
    out = root_mean_square_norm(out) if normalize else out
    if features is None or "gate" not in features:
        return out
    return out * jax.nn.silu(features["gate"][..., : out.shape[-1]].astype(out.dtype))


# (params, k [b t h d], visible [#b t]) -> strength and log_decay [b t h]
Gates = Callable[[Params, Array, Array], tuple[Array, Array]]


def _gates(
    decay: Callable[[Params, Array], Array] | None,
    features: Features,
    params: Params,
    k: Array,
    visible: Array,
) -> tuple[Array, Array]:
    """The strength of each key and its log-decay of the state; 0 where hidden."""
    if features is not None:
        strength, log_decay = (features[x].astype(k.dtype) for x in ("strength", "log_decay"))
    else:
        strength = jax.nn.sigmoid(per_head(params["strength"], k))
        log_decay = jnp.zeros_like(strength) if decay is None else decay(params["gate"], k)
    shown = visible[..., None]
    return jnp.where(shown, strength, 0), jnp.where(shown, log_decay, 0)


def _delta_pass(
    params: Params, gates: Gates, got: Prepared, layout: Layout | None
) -> Float[Array, "b t h e"]:
    """The output of all positions at once."""
    k, v = (spread(x, got.q.shape[2]) for x in (got.k, got.v))
    # A hidden position's own query still reads, but no later one takes it in.
    before = jnp.where(got.visible[:, :, None, None], got.q, 0), k, v
    strength, log_decay = gates(params, k, got.visible)
    mixed = _convolved(params, (got.q, k, v), before, layout)
    q, k, v = _shaped(*mixed)
    start = exchange.delta_state_before(layout, delta_added, k, v, strength, log_decay)
    return delta_scan(q, k, v, strength, log_decay, start=start)


def _delta_start(back: int, params: Params, batch: int, length: int, **sizes: Any) -> DeltaState:
    """The state before the first position, whose convolutions reach `back` positions back."""
    del params, length
    heads, width, value_width = (sizes[x] for x in ("heads", "head_width", "value_width"))
    dtype = wide_dtype(jnp.zeros((), sizes["dtype"]))
    sums = jnp.zeros((batch, heads, width, value_width), dtype)
    past = (jnp.zeros((batch, back, heads, n), dtype) for n in (width, width, value_width))
    return DeltaState(sums, *past)


def _delta_turn(
    params: Params, gates: Gates, state: DeltaState, q: Array, k: Array, v: Array
) -> tuple[DeltaState, Array]:
    """The state and the output of the next position."""
    dtype, heads = state.sums.dtype, q.shape[1]
    new = tuple(spread(x[:, None].astype(dtype), heads) for x in (q, k, v))
    windows = tuple(jnp.concatenate(x, axis=1) for x in zip(new, state[1:], strict=True))
    mixed = new
    if "taps" in params:
        mixed = tuple(
            (window * tap.astype(dtype).swapaxes(0, 1)[None]).sum(1, keepdims=True)
            for window, tap in zip(windows, _taps_of(params, v.shape[-1]), strict=True)
        )
    opening = gates(params, new[1], jnp.ones((1, 1), bool))
    shaped = (x[:, 0] for x in (*_shaped(*mixed), *opening))
    sums, out = delta_step(state.sums, *shaped)
    return DeltaState(sums, *(x[:, :-1] for x in windows)), out


def per_head(weights: Float[Array, "h d"], x: Float[Array, "b t h d"]) -> Float[Array, "b t h"]:
    """The product of each head's vector with its weights."""
    return jnp.einsum("hd,bthd->bth", weights.astype(x.dtype), x)


def _taps(key: PRNGKeyArray, heads: int, span: int, width: int, each: bool) -> dict[str, Array]:
    """Taps of each channel; of values for all channels of a head alike, unless `each`."""
    keys = jax.random.split(key, 3)
    wide = heads, span, width
    shapes = {"q": wide, "k": wide, "v": wide if each else (heads, span)}
    return {
        name: jax.random.uniform(k, shape, minval=-(span**-0.5), maxval=span**-0.5)
        for k, (name, shape) in zip(keys, shapes.items(), strict=True)
    }


def _taps_of(params: Params, value_width: int) -> tuple[Array, Array, Array]:
    """Taps [h n d] of queries and keys, and [h n #e] of values."""
    taps = params["taps"]
    of_values = taps["v"]
    of_values = of_values[..., None] if of_values.ndim == 2 else of_values[..., :value_width]
    return taps["q"], taps["k"], of_values


def _convolved(
    params: Params, now: tuple[Array, ...], before: tuple[Array, ...], layout: Layout | None
) -> tuple[Array, ...]:
    if "taps" not in params:
        return now
    taps = _taps_of(params, now[2].shape[-1])
    count = taps[0].shape[1] - 1
    earlier = (jnp.concatenate([exchange.tail_before(layout, x, count), x], axis=1) for x in before)
    return tuple(map(convolve, taps, now, earlier))


def convolve(
    taps: Float[Array, "h n #d"], now: Float[Array, "b t h d"], before: Float[Array, "b p h d"]
) -> Float[Array, "b t h d"]:
    """A causal convolution of each channel.

        out_t = taps_0 now_t + sum_(l > 0) taps_l before_(t - l)

    Args:
      before: what later positions see of `now`, after the n - 1 positions before it.
    """
    n, t = taps.shape[1], now.shape[1]
    taps = taps.astype(now.dtype)
    out = taps[:, 0][None, None] * now
    for lag in range(1, n):
        earlier = before[:, n - 1 - lag : n - 1 - lag + t]
        out = out + taps[:, lag][None, None] * earlier
    return out


def _shaped(q: Array, k: Array, v: Array) -> tuple[Array, Array, Array]:
    return _unit(jax.nn.silu(q)), _unit(jax.nn.silu(k)), jax.nn.silu(v)


def _unit(x: Float[Array, "*b d"]) -> Float[Array, "*b d"]:
    """The vector at length 1; a vector of zeros stays one."""
    return x * jax.lax.rsqrt((x * x).sum(-1, keepdims=True) + 1e-6)
