"""A variant with its inputs and programs, and the checks that promises are made of."""

import functools
from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any, Literal, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool

from attention_jax.core import masks
from attention_jax.core.types import MaskFunction, Options, Params, State, Variant

BATCH, LENGTH, LONG = 2, 5, 131  # the last is one beyond a block, and some
HEADS, KV_HEADS, WIDTH, VALUE_WIDTH = 4, 2, 8, 6
SIZES = {"heads": HEADS, "kv_heads": KV_HEADS, "head_width": WIDTH}
INPUT_WIDTH = 12  # of the layer, which need not be that of all heads
HIDDEN = np.arange(LENGTH)[None, :].repeat(BATCH, 0) < LENGTH - 1  # all keys but the last

Ability = TypeVar("Ability")
Heads = tuple[Array, Array, Array]  # queries, keys and values


class NotPromised(Exception):
    """The variant does not claim the ability that a promise is about."""


class Promise(NamedTuple):
    """One promise.

    Attributes:
      name: of its function.
      text: the promise in words.
      check: raises `AssertionError` where it is broken, `NotPromised` where it is not made.
      cost: "quick"; "second" where checking takes about one; "long" where it takes some, "longest"
        where many.
    """

    name: str
    text: str
    check: Callable[["Case"], None]
    cost: Literal["quick", "second", "long", "longest"]


def promise(
    cost: Literal["quick", "second", "long", "longest"] = "quick",
) -> Callable[[FunctionType], Promise]:
    """Makes a `Promise` of a function; its docstring is the text."""

    def made(check: FunctionType) -> Promise:
        return Promise(check.__name__, (check.__doc__ or "").strip(), check, cost)

    return made


class Case:
    """A variant with parameters and inputs, and its programs, compiled once for all promises."""

    def __init__(self, variant: Variant):
        self.variant = variant
        self.causal = "causal" in variant.roles
        self.both_ways = "bidirectional" in variant.roles or "cross" in variant.roles
        # Biases may start near 0: moved, they would show a leak.
        self.sizes = SIZES | ({} if variant.features is None else {"width": INPUT_WIDTH})
        self.params: Params = jax.tree.map(
            lambda x: x + 0.5, variant.init(jax.random.key(0), **self.sizes)
        )
        # The layer's input, the same in every sequence.
        draw = np.random.default_rng(7)
        drawn = jnp.asarray(draw.normal(size=(1, LONG, INPUT_WIDTH)), jnp.bfloat16)
        self.input = drawn.astype(jnp.float32)  # which bfloat16 holds without rounding
        # The mask of most promises: causal where the variant can be.
        self.mask = masks.causal if self.causal else None
        self.qkv = self.inputs(LENGTH, batch=BATCH)

    def inputs(self, length: int, *, batch: int = 1, seed: int = 0) -> Heads:
        """Standard normal queries, keys and values."""
        draw = np.random.default_rng(seed)
        sizes = ((HEADS, WIDTH), (KV_HEADS, WIDTH), (KV_HEADS, VALUE_WIDTH))
        q, k, v = (
            jnp.asarray(draw.normal(size=(batch, length, *size)), jnp.float32) for size in sizes
        )
        return q, k, v

    def attend(self, qkv: Sequence[Array], mask: MaskFunction | None = None, **options: Any) -> Any:
        """The variant's output for these inputs; `options` are fields of `Options`."""
        return self.attend_with(self.params, qkv, Options(mask=mask, **options))

    def attend_with(self, params: Params, qkv: Sequence[Array], options: Options) -> Any:
        """As `attend`, with other parameters."""
        features = self.features(params, qkv[0], options.query_offset)
        return self.variant.attend(params, *qkv, options, **features)

    def features(self, params: Params, q: Array, first: int | Array = 0) -> dict[str, Any]:
        """The keyword of features of these queries [b t h d]; none where the variant has none."""
        if self.variant.features is None:
            return {}
        x = jax.lax.dynamic_slice_in_dim(self.input, first, q.shape[1], axis=1).astype(q.dtype)
        whole = jnp.broadcast_to(x, (q.shape[0], *x.shape[1:]))
        return {"features": self.variant.features(params, whole)}

    def need(self, ability: Ability | None, why: str) -> Ability:
        """The ability; `NotPromised` where it is None or False."""
        if ability is None or ability is False:
            raise NotPromised(why)
        return ability

    @functools.cached_property
    def out(self) -> Callable[[Sequence[Array]], Array]:
        """`qkv -> out` under `mask`."""
        return jax.jit(lambda qkv: self.attend(qkv, self.mask))

    @functools.cached_property
    def step(self) -> Callable[..., tuple[State, Array]]:
        """The variant's own."""
        return jax.jit(self.need(self.variant.step, "it has no steps"))

    @functools.cached_property
    def extend(self) -> Callable[..., tuple[State, Array]]:
        """The variant's own."""
        return jax.jit(self.need(self.variant.extend, "it takes in one position at a time"))

    @functools.cached_property
    def padded(self) -> Callable[[Sequence[Array], Bool[Array, "b s"]], Array]:
        """`(qkv, visible keys) -> out`; beside that, all is seen where it can be."""
        before = None if self.both_ways else masks.causal
        return jax.jit(lambda qkv, seen: self.attend(qkv, masks.both(before, masks.keys(seen))))

    @functools.cached_property
    def gradient(self) -> Callable[..., Any]:
        """`(params, qkv, visible keys) -> gradients` of half the square of the output."""

        def loss(params: Params, qkv: Sequence[Array], seen: Array) -> Array:
            mask = masks.both(self.mask, masks.keys(seen))
            return (self.attend_with(params, qkv, Options(mask=mask)) ** 2).sum() / 2

        return jax.jit(jax.grad(loss, (0, 1)))


def refused(word: str, call: Callable[[], Any]) -> None:
    """Raises unless the call is a `ValueError` that names the word."""
    try:
        call()
    except ValueError as error:
        hold(word in str(error), f"The refusal must name {word!r}; got: {error}")
        return
    raise AssertionError(f"A call that it cannot honor must be a ValueError that names {word!r}.")


def hold(condition: bool, sentence: str) -> None:
    """Raises the sentence unless the condition holds."""
    if not condition:
        raise AssertionError(sentence)


def zero(got: Array, sentence: str) -> None:
    """Raises the sentence unless all is exactly 0."""
    same(got, np.zeros(got.shape), sentence)


def finite(got: Array, shape: tuple[int, ...]) -> None:
    """Raises unless the output has the shape, and no NaN or infinity."""
    hold(got.shape == shape, f"The output must be {shape}; got {got.shape}.")
    hold(bool(jnp.isfinite(got).all()), f"An output of {shape} is not finite.")


def same(got: Array, expected: Array | np.ndarray, sentence: str) -> None:
    """Raises the sentence unless both are exactly equal."""
    close(got, expected, sentence, rtol=0.0, atol=0.0)


def close(
    got: Array, expected: Any, sentence: str, *, rtol: float = 1e-5, atol: float = 1e-6
) -> None:
    """Raises the sentence, and how far apart they are, unless both are close."""
    one, other = (np.asarray(x, np.float64) for x in (got, expected))
    hold(one.shape == other.shape, f"{sentence} Shapes: {one.shape} and {other.shape}.")
    if not np.allclose(one, other, rtol=rtol, atol=atol):
        far = np.abs(one - other).max()
        raise AssertionError(f"{sentence} They differ by up to {far:.3g}.")
