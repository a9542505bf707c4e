"""States that are corrected rather than added to: `from_delta` builds a variant of that kind."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from attention_jax.core.types import Params, Variant
from attention_jax.variants._builders import exchange, recurrence
from attention_jax.variants._builders.chunked_scan import delta_added, delta_scan, delta_step
from attention_jax.variants._builders.linear import root_mean_square_norm
from attention_jax.variants._builders.recurrence import Given, Recurrence, from_recurrence


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
            sizes, shared = (heads, convolution, head_width), inputs is None
            params["taps"] = recurrence.taps(key_taps, *sizes, shared=shared)
        if gate is not None:
            params["gate"] = gate[0](key_gate, heads, head_width)
        return params

    rule = Recurrence(
        arrays=partial(_arrays, None if gate is None else gate[1]),
        scan=delta_scan,
        moved=delta_added,
        before=exchange.delta_state_before,
        step=delta_step,
        finish=partial(finished, normalize),
    )
    features = None
    if inputs is not None:
        features = lambda params, x: inputs.features(params["inputs"], x)  # noqa: E731
    return from_recurrence(name, rule, init=init, features=features, convolution=convolution)


def _arrays(
    decay: Callable[[Params, Array], Array] | None, given: Given, q: Array, k: Array, v: Array
) -> tuple[Array, ...]:
    """Query, key and value, the strength of each key and its log-decay of the state."""
    params, features = given.params, given.features
    if features is not None:
        strength, log_decay = (features[x].astype(k.dtype) for x in ("strength", "log_decay"))
    else:
        strength = jax.nn.sigmoid(per_head(params["strength"], given.key))
        log_decay = jnp.zeros_like(strength)
        if decay is not None:
            log_decay = decay(params["gate"], given.key)
    return *shaped(q, k, v), given.shown(strength), given.decay(log_decay)


def finished(normalize: bool, given: Given, out: Array, *arrays: Array | None) -> Array:
    """The output of heads, brought to mean square 1 where asked, and times its gate's SiLU."""
    del arrays
    out, features = root_mean_square_norm(out) if normalize else out, given.features
    if features is None or "gate" not in features:
        return out
    return out * jax.nn.silu(features["gate"][..., : out.shape[-1]].astype(out.dtype))


def per_head(weights: Float[Array, "h d"], x: Float[Array, "b t h d"]) -> Float[Array, "b t h"]:
    """The product of each head's vector with its weights."""
    return jnp.einsum("hd,bthd->bth", weights.astype(x.dtype), x)


def shaped(q: Array, k: Array, v: Array) -> tuple[Array, Array, Array]:
    """All after SiLU, queries and keys at length 1."""
    return unit(jax.nn.silu(q)), unit(jax.nn.silu(k)), jax.nn.silu(v)


def unit(x: Float[Array, "*b d"]) -> Float[Array, "*b d"]:
    """The vector at length 1; a vector of zeros stays one."""
    return x * jax.lax.rsqrt((x * x).sum(-1, keepdims=True) + 1e-6)
