"""Promises that every variant keeps, as functions that raise where one is broken.

    case = Case(variants.get("alibi"))
    for promise in PROMISES:
        promise.check(case)          # AssertionError: a sentence; NotPromised: why not

The roles and the kind of mask that a variant states are promises too: whatever it cannot do it
must refuse, with an error that names the argument.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from attention_jax.core import masks
from attention_jax.core.types import ROLES, Options
from attention_jax.engine.api import attention
from attention_jax.variants._case import (
    BATCH,
    HEADS,
    HIDDEN,
    LENGTH,
    LONG,
    VALUE_WIDTH,
    Case,
    Heads,
    NotPromised,
    Promise,
    close,
    finite,
    hold,
    promise,
    refused,
    same,
    zero,
)
from attention_jax.variants._state_promises import (
    cross_steps_reproduce_the_pass,
    extension_is_the_pass,
    extension_leaves_out_what_is_hidden,
    packed_documents_are_apart,
    state_sizes,
    steps_reproduce_the_pass,
)

__all__ = [
    "PROMISES",
    "Case",
    "NotPromised",
    "Promise",
    "cross_steps_reproduce_the_pass",
    "extension_is_the_pass",
    "extension_leaves_out_what_is_hidden",
    "packed_documents_are_apart",
    "steps_reproduce_the_pass",
]


@promise()
def roles_are_known(case: Case) -> None:
    """It states its roles and its kind of mask, and has `start` where a recurrent form needs it."""
    variant = case.variant
    hold(
        bool(variant.roles) and set(variant.roles) <= set(ROLES),
        f"`roles` must be some of {', '.join(ROLES)}; got {variant.roles}.",
    )
    hold(
        variant.mask_kind in ("pairwise", "keywise"),
        f"`mask_kind` must be pairwise or keywise; got {variant.mask_kind!r}.",
    )
    recurrent = variant.step is not None or variant.cross_step is not None
    hold(
        recurrent == (variant.start is not None),
        "`start` must be there exactly where `step` or `cross_step` is.",
    )


@promise()
def refuses_the_impossible(case: Case) -> None:
    """A mask that it cannot honor is a ValueError that names it."""
    if not case.causal:
        refused("causal", lambda: case.attend(case.qkv, masks.causal))
    if not case.both_ways:
        refused("causal", lambda: case.attend(case.qkv))
    if case.variant.mask_kind == "keywise":
        window = masks.both(case.mask, masks.sliding_window(2))
        refused("mask", lambda: case.attend(case.qkv, window))


@promise("second")
def no_leak_from_the_future(case: Case) -> None:
    """Under the causal mask no output depends on what comes after it."""
    case.need(case.causal, "it sees all")
    before = case.out(case.qkv)
    changed = tuple(x.at[:, 3:].set(7.0) for x in case.qkv)
    same(case.out(changed)[:, :3], before[:, :3], "Outputs change with inputs that come later.")


@promise("long")
def masked_is_absent(case: Case) -> None:
    """A hidden key equals an absent one, even where its value is not finite."""
    q, k, v = case.qkv
    q = q if case.both_ways else q.at[:, -1].set(0.0)
    poisoned = (q, k.at[:, -1].set(9.0), v.at[:, -1].set(jnp.nan))
    masked = case.padded(poisoned, jnp.asarray(HIDDEN))
    seen = jnp.asarray(HIDDEN[:, :-1])
    sentence = "A hidden last key changes the output from that without the key."
    if case.both_ways and "cross" in case.variant.roles:
        close(masked, case.padded((q, k[:, :-1], v[:, :-1]), seen), sentence)
    else:
        absent = case.padded((q[:, :-1], k[:, :-1], v[:, :-1]), seen)
        close(masked[:, :-1], absent, sentence)


@promise("long")
def blind_rows_are_zero(case: Case) -> None:
    """A query that may see nothing gives 0, and so does its gradient."""
    nothing = jnp.zeros((BATCH, LENGTH), bool)
    zero(case.padded(case.qkv, nothing), "Queries that see nothing must give 0.")
    for leaf in jax.tree.leaves(case.gradient(case.params, case.qkv, nothing)):
        zero(leaf, "Where all queries see nothing, every gradient must be 0.")
    if case.variant.mask_kind == "keywise":
        return
    others = masks.both(case.mask, masks.Mask(lambda b, h, i, j: i != 2))
    row = jax.jit(lambda qkv: case.attend(qkv, others))
    zero(row(case.qkv)[:, 2], "A query that sees nothing must give 0 beside others that see.")
    gradient = jax.jit(jax.grad(lambda qkv: (case.attend(qkv, others) ** 2).sum()))
    hold(
        all(bool(jnp.isfinite(x).all()) for x in gradient(case.qkv)),
        "With a query that sees nothing, a gradient is not finite.",
    )


@promise("second")
def parameters_learn(case: Case) -> None:
    """Every parameter gets a gradient."""
    case.need(bool(jax.tree.leaves(case.params)), "it has no parameters")
    dead = _unmoved(case, case.qkv)
    if dead:  # some have a part in longer sequences only
        dead &= _unmoved(case, case.inputs(LONG))
    hold(not dead, f"Parameters without any gradient: {', '.join(sorted(dead))}.")


def _unmoved(case: Case, qkv: Heads) -> set[str]:
    """The parameters whose gradient is 0."""
    of_params, _ = case.gradient(case.params, qkv, jnp.ones(qkv[0].shape[:2], bool))
    leaves = jax.tree_util.tree_leaves_with_path(of_params)
    return {jax.tree_util.keystr(path) for path, leaf in leaves if not (leaf != 0).any()}


@promise("long")
def forward_mode_agrees(case: Case) -> None:
    """Forward mode and reverse mode give the same derivative."""
    direction = case.inputs(LENGTH, batch=BATCH, seed=1)
    run = jax.jit(lambda qkv, d: jax.jvp(lambda *x: case.attend(x, case.mask), qkv, d))
    out, tangent = run(case.qkv, direction)
    # Two programs, which round apart: of delta_product each is 2e-6 from float64.
    close(out, case.out(case.qkv), "Forward mode changes the output.", rtol=1e-5, atol=1e-5)
    _, gradients = case.gradient(case.params, case.qkv, jnp.ones((BATCH, LENGTH), bool))
    along = sum((g * d).sum() for g, d in zip(gradients, direction, strict=True))
    sentence = "The gradient along a direction is not the derivative of forward mode."
    close(along, (out * tangent).sum(), sentence, rtol=1e-4, atol=1e-4)


@promise("longest")
def second_derivatives_are_symmetric(case: Case) -> None:
    """`u H w = w H u`, forward over reverse; or an error names the reference implementation."""
    u, w = (case.inputs(LENGTH, batch=BATCH, seed=seed) for seed in (1, 2))

    def loss(qkv: Sequence[Array]) -> Array:
        return jnp.sin(case.attend(qkv, case.mask)).sum()

    product = jax.jit(lambda d: jax.jvp(jax.grad(loss), (case.qkv,), (d,))[1])
    try:
        one, other = (
            sum((a * b).sum() for a, b in zip(product(first), second, strict=True))
            for first, second in ((u, w), (w, u))
        )
    except NotImplementedError as refusal:
        hold("reference" in str(refusal), f"The refusal must name a remedy; got: {refusal}")
        return
    close(one, other, "The Hessian is not symmetric.", rtol=1e-3, atol=1e-3)


@promise("longest")
def jit_changes_nothing(case: Case) -> None:
    """`jax.jit` changes nothing."""
    got = case.attend(case.qkv, case.mask)
    close(got, case.out(case.qkv), "Outputs with and without `jax.jit` differ.")


@promise("long")
def vmap_changes_nothing(case: Case) -> None:
    """`jax.vmap` over the batch changes nothing."""
    each = jax.vmap(lambda q, k, v: case.attend((q[None], k[None], v[None]), case.mask)[0])
    sentence = "Outputs by `jax.vmap` differ from those of a batch."
    close(jax.jit(each)(*case.qkv), case.out(case.qkv), sentence)


@promise("long")
def bfloat16_stays(case: Case) -> None:
    """bfloat16 in, bfloat16 out, accumulated in float32."""
    narrow = tuple(x.astype(jnp.bfloat16) for x in case.qkv)
    out = case.out(narrow)
    hold(out.dtype == jnp.bfloat16, f"bfloat16 inputs must give bfloat16; got {out.dtype}.")
    wide = case.out(tuple(x.astype(jnp.float32) for x in narrow))
    # Accumulated in float32, it is off by its own rounding only.
    sentence = "In bfloat16 the output is off by more than its own rounding."
    close(out.astype(jnp.float32), wide, sentence, rtol=2**-8)


@promise("long")
def float32_stays_in_64_bit_mode(case: Case) -> None:
    """With `jax_enable_x64`, float32 inputs give float32, and a state keeps its dtypes."""
    variant = case.variant

    def passes(qkv: Heads) -> tuple[Array, tuple[Any, ...]]:
        params = variant.init(jax.random.key(0), **case.sizes)
        features = case.features(params, qkv[0])
        out = variant.attend(params, *qkv, Options(mask=case.mask), **features)
        if variant.start is None or variant.step is None:
            return out, ()
        state = variant.start(params, BATCH, LENGTH, **state_sizes(case))
        first = jax.tree.map(lambda x: x[:, 0], features)
        return out, (state, variant.step(params, state, *(x[:, 0] for x in qkv), **first)[0])

    with jax.enable_x64(True):
        out, states = jax.eval_shape(passes, case.qkv)
    hold(out.dtype == jnp.float32, f"float32 inputs must give float32; got {out.dtype}.")
    dtypes = [[x.dtype for x in jax.tree.leaves(state)] for state in states]
    hold(dtypes[:1] == dtypes[1:], f"A step must keep the dtypes of its state; got {dtypes}.")


@promise("long")
def heads_share_keys(case: Case) -> None:
    """Query heads that share a key head read the same keys and values."""
    q, k, v = case.qkv
    repeated = case.out((q, jnp.repeat(k, 2, axis=2), jnp.repeat(v, 2, axis=2)))
    close(case.out(case.qkv), repeated, "Shared heads and their copies give different outputs.")


@promise()
def log_sum_exp_or_refusal(case: Case) -> None:
    """`return_lse` gives the log-sum-exps too, or is a ValueError that names it."""
    run = functools.partial(case.attend, mask=case.mask, return_lse=True)
    try:
        found = jax.eval_shape(run, case.qkv)
    except ValueError as error:
        hold("`return_lse`" in str(error), f"The error must name `return_lse`; got: {error}")
        return
    shapes = [(BATCH, LENGTH, HEADS, VALUE_WIDTH), (BATCH, LENGTH, HEADS)]
    got = [x.shape for x in jax.tree.leaves(found)]
    hold(got == shapes, f"The output and its log-sum-exps must be {shapes}; got {got}.")


@promise("long")
def any_length(case: Case) -> None:
    """A sequence may have one position, or one more than a block."""
    q, k, v = case.inputs(LONG)
    out = case.out((q, k, v))
    finite(out, (1, LONG, HEADS, VALUE_WIDTH))
    first = case.out((q[:, :1], k[:, :1], v[:, :1]))
    finite(first, (1, 1, HEADS, VALUE_WIDTH))
    if case.causal:
        sentence = "The first positions of a long causal pass differ from a short pass."
        close(out[:, :1], first, sentence)
        part = tuple(x[:, :67] for x in (q, k, v))
        close(case.out(part), out[:, :67], sentence, rtol=1e-4, atol=1e-5)


@promise("long")
def offsets_keep_positions(case: Case) -> None:
    """Keys and queries that start later keep their global positions."""
    pairwise = case.variant.mask_kind == "pairwise"
    case.need(case.causal and pairwise, "it takes no window")
    of_keys = case.variant.features is not None and case.variant.step is not None
    case.need(not of_keys, "its keys have features too, so that it decodes by steps alone")
    q, k, v = case.qkv
    near = masks.causal & masks.sliding_window(2)
    whole = jax.jit(functools.partial(case.attend, mask=near))(case.qkv)
    late = functools.partial(case.attend, mask=near, query_offset=3, key_offset=2)
    got = jax.jit(late)((q[:, 3:], k[:, 2:], v[:, 2:]))
    close(got, whole[:, 3:], "With offsets, the last rows differ from those of the whole.")


@promise("second")
def score_is_the_variant(case: Case) -> None:
    """A variant with a score is that score, in every role."""
    score = case.need(case.variant.score, "it is not the score of a pair")
    hold(case.variant.roles == ROLES, f"A score serves in every role; got {case.variant.roles}.")
    run = jax.jit(lambda *qkv: attention(*qkv, score=score(case.params)))
    got = case.padded(case.qkv, jnp.ones((BATCH, LENGTH), bool))
    close(run(*case.qkv), got, "`attend` differs from attention by `score`.")


PROMISES = tuple(x for x in list(globals().values()) if isinstance(x, Promise))
