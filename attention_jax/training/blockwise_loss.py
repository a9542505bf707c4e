"""Cross-entropy of states before the output layer, with the logits of some positions at a time.

The logits of a batch are its largest array by far, and their gradient is another one as large. Here
both exist for one block of positions only:

    for each block:  logits = unembed(states)
                     loss += sum weights ce(logits)
                     gradients += (weights (softmax(logits) - wanted)) d logits / d (params, states)

The gradients are those of a sum, so they are ready when the loss is, and only wait to be scaled.

Reference: Hsu et al. 2024, arXiv:2410.10989, section 3.2 (fused linear cross-entropy).
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from attention_jax.core import checks
from attention_jax.core.jaxprs import hoist
from attention_jax.core.numerics import wide_dtype
from attention_jax.training import losses

# Logits of a block, in bytes: on a CPU half as many take up to 1.15 times as long at width 512.
BLOCK_BYTES = 2**26

Unembed = Callable[[Float[Array, "b t m"]], Float[Array, "b t v"]]


class Positions(NamedTuple):
    """Some positions of a batch: states before the output layer, and what is asked of them."""

    states: Float[Array, "b t m"]
    targets: Int[Array, "b t"]
    weights: Float[Array, "b t"]


class LossSums(NamedTuple):
    """Weighted sums over positions: of losses in nats, and of correct predictions."""

    loss: Float[Array, ""]
    correct: Float[Array, ""]


class _Rule(NamedTuple):
    """Numbers and functions of the sum, without arrays."""

    unembed: Callable[..., Array]  # (floats, others, states) -> logits
    label_smoothing: float
    length: int


class _Loss(NamedTuple):
    """Sums over the logits of a block, and their gradient."""

    sums: LossSums
    each: Float[Array, "b t"]  # the loss of each position
    slope: Float[Array, "b t v"]  # d sums.loss / d logits


def cross_entropy(
    unembed: Unembed,
    states: Float[Array, "b t m"],
    targets: Int[Array | np.ndarray, "b t"],
    weights: Float[Array | np.ndarray, "b t"],
    label_smoothing: float = 0.0,
) -> LossSums:
    """The sums of `losses.cross_entropy` and `losses.accuracy` on `unembed(states)`.

    It has derivatives of any order and in both directions, those of the arrays that `unembed`
    captured among them. Beside the gradients it holds the logits of a block alone: of at most
    `BLOCK_BYTES`, or of one position of each sentence. Call it under `jit`: by itself it compiles
    its loop at each call.

    Args:
      unembed: logits of states, position by position.
      states: of the last layer.
      targets: correct tokens.
      weights: 1 on tokens that count, 0 on padding.
      label_smoothing: as of `losses.cross_entropy`.

    Raises:
      ValueError: `label_smoothing` is out of its range, or shapes do not match.
    """
    checks.fraction("label_smoothing", label_smoothing)
    logits = jax.eval_shape(unembed, states)
    losses.check_shapes(logits, targets, weights)
    weights = jnp.asarray(weights, jnp.float32)
    length = _block_length(4 * logits.shape[-1] * len(states), states.shape[1])
    hoisted = hoist(jax.make_jaxpr(unembed)(states[:, :length]))
    rule = _Rule(hoisted.function, label_smoothing, length)
    return _summed(rule, hoisted.floats, states, weights, (hoisted.others, jnp.asarray(targets)))


def _block_length(bytes_a_position: int, t: int) -> int:
    """Positions of each sentence in a block, so that blocks are full wherever `t` allows."""
    most = min(t, max(1, BLOCK_BYTES // max(1, bytes_a_position)))
    if most == t:
        return t
    full = next((n for n in range(most, most // 2, -1) if t % n == 0), None)
    return full or -(-t // -(-t // most))


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _summed(rule: _Rule, floats: Any, states: Array, weights: Array, fixed: Any) -> LossSums:
    others, targets = fixed

    def add(sums: LossSums, at: Positions) -> tuple[LossSums, None]:
        logits = rule.unembed(floats, others, at.states)
        return optax.tree.add(sums, _loss(logits, at, rule.label_smoothing).sums), None

    return _over_blocks(add, _zero(weights), Positions(states, targets, weights), rule.length)[0]


@_summed.defjvp
def _summed_jvp(rule: _Rule, primals: tuple, tangents: tuple) -> tuple[LossSums, LossSums]:
    floats, states, weights, (others, targets) = primals

    def add(carry: tuple, at: Positions) -> tuple[tuple, tuple]:
        unembed = lambda floats, states: rule.unembed(floats, others, states)  # noqa: E731
        logits, pull = jax.vjp(unembed, floats, at.states)
        found = _loss(logits, at, rule.label_smoothing)
        of_floats, of_states = pull(found.slope.astype(logits.dtype))
        return optax.tree.add(carry, (found.sums, _wide(of_floats))), (of_states, found.each)

    start = _zero(weights), jax.tree.map(jnp.zeros_like, _wide(floats))
    whole = Positions(states, targets, weights)
    (sums, of_floats), of_positions = _over_blocks(add, start, whole, rule.length)
    gradients = of_floats, *of_positions
    # Linear in the tangents, so that its transpose scales the gradients.
    products = jax.tree.map(_dot, gradients, tangents[:3])
    return sums, LossSums(sum(jax.tree.leaves(products)), jnp.zeros_like(sums.correct))


def _loss(logits: Float[Array, "b t v"], at: Positions, label_smoothing: float) -> _Loss:
    """Loss and its gradient in two readings of the logits, and one writing."""
    logits, v = logits.astype(jnp.float32), logits.shape[-1]
    smooth, weights = label_smoothing / v, at.weights
    highest = jax.lax.stop_gradient(logits.max(axis=-1))
    powers = jnp.exp(logits - highest[..., None])
    total = powers.sum(axis=-1)
    at_target = jnp.take_along_axis(logits, at.targets[..., None], axis=-1)[..., 0]
    each = highest + jnp.log(total) - (1 - label_smoothing) * at_target
    if label_smoothing:
        each -= smooth * logits.sum(axis=-1)
    # A sum of floats is fast on a CPU; one of integers is not.
    alone = (logits == highest[..., None]).astype(jnp.float32).sum(axis=-1) == 1
    right = jnp.where((at_target == highest) & alone, weights, 0.0)
    slope = powers * (weights / total)[..., None] - (smooth * weights)[..., None]
    rows = jnp.ix_(*map(jnp.arange, at.targets.shape))
    slope = slope.at[(*rows, at.targets)].add((label_smoothing - 1) * weights)
    return _Loss(LossSums(jnp.sum(each * weights), jnp.sum(right)), each, slope)


def _dot(x: Array, y: Array) -> Float[Array, ""]:
    return jnp.sum(_wide(x) * _wide(y), dtype=jnp.float32)


def _wide(tree: Any) -> Any:
    """The arrays in the dtype of sums."""
    return jax.tree.map(lambda x: x.astype(wide_dtype(x)), tree)


def _zero(weights: Array) -> LossSums:
    """Sums of nothing, which are of the devices that the weights are of."""
    nothing = jnp.sum(0 * weights)
    return LossSums(nothing, nothing)


def _over_blocks(
    add: Callable[[Any, Positions], tuple[Any, Any]], start: Any, whole: Positions, length: int
) -> tuple[Any, Any]:
    """`jax.lax.scan` over blocks of positions, and what it gives of them in one piece."""
    if length == whole.states.shape[1]:
        return add(start, whole)
    sums, found = jax.lax.scan(add, start, _blocks(whole, length))
    return sums, jax.tree.map(partial(_joined, t=whole.states.shape[1]), found)


def _blocks(at: Positions, length: int) -> Positions:
    """`[b t ...]` as blocks `[blocks, b, length, ...]`; what is added at the end weighs nothing."""

    def split(x: Array, mode: str) -> Array:
        b, t = x.shape[:2]
        x = jnp.pad(x, [(0, 0), (0, -t % length)] + [(0, 0)] * (x.ndim - 2), mode=mode)
        return jnp.moveaxis(x.reshape(b, -1, length, *x.shape[2:]), 1, 0)

    # Copies of the last state: an output layer might have no derivative at zeros.
    return Positions(
        *(split(x, mode) for x, mode in zip(at, ("edge", "edge", "constant"), strict=True))
    )


def _joined(blocks: Array, t: int) -> Array:
    """The inverse of `_blocks`."""
    x = jnp.moveaxis(blocks, 0, 1)
    return x.reshape(x.shape[0], -1, *x.shape[3:])[:, :t]
