"""Promises of variants with states, which `_conformance` makes beside the others."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from attention_jax.core import masks
from attention_jax.core.types import MaskFunction, Options
from attention_jax.variants._case import (
    BATCH,
    HIDDEN,
    LENGTH,
    SIZES,
    VALUE_WIDTH,
    Case,
    Heads,
    close,
    hold,
    promise,
)


@promise("long")
def steps_reproduce_the_pass(case: Case) -> None:
    """One query after another reproduces the causal pass, in a state of its own or by offsets."""
    case.need(case.causal, "it sees all")
    q, k, v = case.qkv
    sentence = "Decoding step by step differs from the causal pass."
    if case.variant.step is None:

        @jax.jit
        def one(query: Array, offset: Array) -> Array:
            return case.attend((query, k, v), masks.causal, query_offset=offset)

        rows = [one(q[:, n : n + 1], jnp.int32(n)) for n in range(LENGTH)]
        close(jnp.concatenate(rows, axis=1), case.out(case.qkv), sentence)
        return
    close(_stepped(case)[1], case.out(case.qkv), sentence, rtol=1e-4, atol=1e-5)


@promise("long")
def extension_is_the_pass(case: Case) -> None:
    """Several positions taken in at once equal the causal pass, and as many steps."""
    case.need(case.variant.extend, "it takes in one position at a time, if any")
    near = functools.partial(close, rtol=1e-4, atol=1e-5)
    whole, out = _extended(case, 0, LENGTH)
    near(out, case.out(case.qkv), "The output of `extend` differs from that of the causal pass.")
    state, one = _extended(case, 0, 2)
    state, other = _extended(case, 2, 4, state)
    state, last = _stepped(case, 4, state)
    pieces = jnp.concatenate([one, other, last], axis=1)
    near(
        pieces, case.out(case.qkv), "`extend` in pieces, and steps after it, differ from the pass."
    )
    for got in (state, _stepped(case)[0]):
        sentence = "The state after `extend` differs from that after its pieces, or after steps."
        hold(jax.tree.structure(got) == jax.tree.structure(whole), sentence)
        for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(whole), strict=True):
            hold(a.dtype == b.dtype, f"{sentence} Their dtypes: {a.dtype} and {b.dtype}.")
            near(a, b, sentence)


@promise("long")
def extension_leaves_out_what_is_hidden(case: Case) -> None:
    """Of positions taken in at once hidden ones are left out; or `visible` is refused."""
    case.need(case.variant.extend, "it takes in one position at a time, if any")
    hidden = jnp.asarray(HIDDEN).at[:, 1].set(False)
    try:
        state, out = _extended(case, 0, LENGTH, visible=hidden)
    except ValueError as refusal:
        hold("`visible`" in str(refusal), f"The refusal must name `visible`; got: {refusal}")
        return
    near = functools.partial(close, rtol=1e-4, atol=1e-5)
    masked = case.attend(case.qkv, masks.causal & masks.keys(hidden))
    near(out, masked, "`extend` takes in hidden keys.")
    q, k, v = case.qkv
    poisoned = q, k.at[:, -1].set(9.0), v.at[:, -1].set(jnp.nan)
    again, _ = _extended(case, 0, LENGTH, qkv=poisoned, visible=hidden)
    for a, b in zip(jax.tree.leaves(again), jax.tree.leaves(state), strict=True):
        near(a, b, "The state after `extend` depends on hidden keys.")


@promise("longest")
def packed_documents_are_apart(case: Case) -> None:
    """Where it has steps, packed documents give what each gives alone; or `mask` is refused."""
    keywise = case.variant.mask_kind == "keywise" and case.variant.step
    case.need(case.causal and keywise, "it has no state that could begin anew")
    ids = jnp.asarray([[7, 7, 3, 3, 3], [0, 0, 0, 4, 4]], jnp.int32)
    mask = masks.causal & masks.documents(ids, ids)
    features = case.features(case.params, case.qkv[0])

    def loss(given: Any, mask: MaskFunction) -> tuple[Array, Array]:
        params, qkv, features = given
        out = case.variant.attend(params, *qkv, Options(mask=mask), **features)
        return (out**2).sum() / 2, out

    run = jax.jit(jax.grad(loss, has_aux=True), static_argnums=1)
    try:
        packed, out = run((case.params, case.qkv, features), mask)
    except ValueError as refusal:
        hold("mask" in str(refusal), f"The refusal must name `mask`; got: {refusal}")
        return
    of_params = jax.tree.map(jnp.zeros_like, case.params)
    for row, begin, end in ((0, 0, 2), (1, 3, 5), (0, 2, 5), (1, 0, 3)):
        cut = jax.tree.map(lambda x: x[row : row + 1, begin:end], (case.qkv, features))  # noqa: B023
        (own, *inputs), alone = run((case.params, *cut), masks.causal)
        sentence = "A packed document differs from one alone."
        close(out[row, begin:end], alone[0], sentence, rtol=1e-4, atol=1e-5)
        there = jax.tree.map(lambda x: x[row : row + 1, begin:end], packed[1:])  # noqa: B023
        _close_gradients(there, tuple(inputs), "The gradient of a packed document is not its own.")
        of_params = jax.tree.map(jnp.add, of_params, own)
    sentence = "The gradient of parameters is not the sum of those of documents."
    _close_gradients(packed[0], of_params, sentence)


def _close_gradients(got: Any, expected: Any, sentence: str) -> None:
    """Raises the sentence unless gradients are close."""
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        # Small parts of a gradient are rounded as the large ones are that they come from.
        most = max(1.0, float(jnp.abs(b).max(initial=0)))
        close(a, b, sentence, rtol=1e-4, atol=1e-5 * most)


@promise("second")
def cross_steps_reproduce_the_pass(case: Case) -> None:
    """Where weights depend on those before, one query after another reproduces the pass."""
    own = case.need(case.variant.cross_step, "its weights do not depend on those before")
    q, k, v = case.qkv
    state, rows = _started(case), []
    step = jax.jit(functools.partial(own, case.params))
    for n in range(LENGTH):
        state, out = step(state, q[:, n], k, v, visible=jnp.asarray(HIDDEN))
        rows.append(out)
    expected = case.padded(case.qkv, jnp.asarray(HIDDEN))
    close(jnp.stack(rows, 1), expected, "Query after query differs from the whole pass.")


def _stepped(case: Case, first: int = 0, state: Any = None) -> tuple[Any, Array]:
    """The state after the last position, one after another, and the outputs."""
    state, rows = _started(case) if first == 0 else state, []
    features = case.features(case.params, case.qkv[0])
    for n in range(first, LENGTH):
        own = jax.tree.map(lambda x, n=n: x[:, n], features)
        state, out = case.step(case.params, state, *(x[:, n] for x in case.qkv), **own)
        rows.append(out)
    return state, jnp.stack(rows, 1)


def _extended(
    case: Case,
    first: int,
    end: int,
    state: Any = None,
    *,
    qkv: Heads | None = None,
    **visible: Array,
) -> tuple[Any, Array]:
    """The state and the outputs after some positions at once; from the start where it is None."""
    own = tuple(x[:, first:end] for x in (case.qkv if qkv is None else qkv))
    features = case.features(case.params, own[0], first)
    state = _started(case) if state is None else state
    return case.extend(case.params, state, *own, **features, **visible)


def _started(case: Case) -> Any:
    """The state before the first query, checked to have the batch as its first axis."""
    start = case.need(case.variant.start, "it has no state to start from")
    state = start(case.params, BATCH, LENGTH, **state_sizes(case))
    hold(
        all(leaf.shape[0] == BATCH for leaf in jax.tree.leaves(state)),
        "The first axis of every array of the state must be the batch.",
    )
    return state


def state_sizes(case: Case) -> dict[str, Any]:
    return SIZES | {"value_width": VALUE_WIDTH, "dtype": case.qkv[0].dtype}
