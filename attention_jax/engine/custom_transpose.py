"""Linear functions with a transpose of their own, as a JAX primitive.

JAX transposes linear functions by itself, and for loops that read one block at a time it adds
whole arrays up at every turn. Here the transpose is written out, and everything else stays JAX's
own: forward mode, second derivatives, `vmap` and compilation. `jax.custom_derivatives.linear_call`
comes near, but has neither `vmap` nor a derivative in what the function is not linear in.
"""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jax.sharding import PartitionSpec
from jaxtyping import Array, PyTree

from attention_jax.core import varying
from attention_jax.core.types import AnyArray


class Linear(NamedTuple):
    """A function of flat arrays: of residuals, and linear in its last `count` arguments.

    Attributes:
      function: `(*residuals, *tangents) -> outputs`.
      transpose: `(needed, *residuals, *cotangents) -> cotangents of the tangents`, where `needed`
        holds a boolean for each tangent; what is not needed is None.
      count: how many tangents there are.
    """

    function: Callable[..., tuple[Array, ...]]
    transpose: Callable[..., tuple[Array | None, ...]]
    count: int


def apply(
    function: Callable[[PyTree, PyTree], PyTree],
    transpose: Callable[..., PyTree],
    residuals: PyTree,
    tangents: PyTree,
) -> PyTree:
    """`function(residuals, tangents)`, linear in its tangents.

    Args:
      function: of two pytrees, to a pytree of arrays.
      transpose: `(needed, residuals, cotangents) -> pytree like the tangents`; `needed` is a tuple
        with a boolean for each leaf of the tangents, and leaves that are not needed may be None.
    """
    flat_residuals, tree_r = jax.tree.flatten(residuals)
    flat_tangents, tree_t = jax.tree.flatten(tangents)
    tree_out = jax.tree.structure(jax.eval_shape(function, residuals, tangents))

    def split(flat: tuple[Any, ...]) -> tuple[Any, tuple[Array, ...]]:
        return jax.tree.unflatten(tree_r, flat[: tree_r.num_leaves]), flat[tree_r.num_leaves :]

    def flat_function(*flat: Any) -> tuple[Array, ...]:
        given, moved = split(flat)
        return tuple(jax.tree.leaves(function(given, jax.tree.unflatten(tree_t, moved))))

    def flat_transpose(needed: tuple[bool, ...], *flat: Any) -> tuple[Array | None, ...]:
        given, cotangents = split(flat)
        result = transpose(needed, given, jax.tree.unflatten(tree_out, cotangents))
        return tuple(jax.tree.leaves(result, is_leaf=lambda x: x is None))

    rule = Linear(flat_function, flat_transpose, len(flat_tangents))
    return jax.tree.unflatten(tree_out, linear_p.bind(*flat_residuals, *flat_tangents, rule=rule))


linear_p = Primitive("linear_with_transpose")
linear_p.multiple_results = True


def call(function: Callable[..., tuple[Array, ...]], *flat: AnyArray) -> list[Array]:
    """`function(*flat)`, traced as if nothing varied along the axes of a mesh.

    Differentiable as the function is. Under `jax.shard_map` all arrays must vary along the same
    axes, and so do all outputs.
    """
    return linear_p.bind(*flat, rule=Linear(function, _no_transpose, 0))


def _no_transpose(needed: tuple[bool, ...], *flat: Array) -> tuple[Array | None, ...]:
    del needed, flat
    return ()


@linear_p.def_impl
def _run(*flat: Any, rule: Linear) -> tuple[Array, ...]:
    return jax.jit(rule.function)(*flat)


@linear_p.def_abstract_eval
def _shapes(*flat: Any, rule: Linear) -> list[Any]:
    plain = (jax.ShapeDtypeStruct(x.shape, x.dtype) for x in flat)
    with _unchecked(flat):
        shapes = jax.eval_shape(rule.function, *plain)
    if not _vary(flat):
        return [jax.core.ShapedArray(x.shape, x.dtype) for x in shapes]
    typed = [
        (x.shape, x.dtype, flat[0].sharding.update(spec=PartitionSpec(*[None] * len(x.shape))))
        for x in shapes
    ]
    axes = flat[0].manual_axis_type
    return [
        jax.core.ShapedArray(shape, dtype, sharding=sharding, manual_axis_type=axes)
        for shape, dtype, sharding in typed
    ]


_lowered = mlir.lower_fun(lambda *flat, rule: rule.function(*flat), multiple_results=True)


def _lower(context: Any, *flat: Any, rule: Linear) -> Any:
    if not _vary(context.avals_in):
        return _lowered(context, *flat, rule=rule)
    plain = [jax.core.ShapedArray(x.shape, x.dtype) for x in context.avals_in]
    with _unchecked(context.avals_in):
        return _lowered(context.replace(avals_in=plain), *flat, rule=rule)


mlir.register_lowering(linear_p, _lower)


def _vary(types: Sequence[Any]) -> bool:
    """True inside `jax.shard_map` with its check."""
    return any(x.manual_axis_type.varying for x in types)


def _unchecked(types: Sequence[Any]) -> contextlib.AbstractContextManager:
    return varying.unchecked(where=_vary(types))


def _jvp(primals: Any, tangents: Any, *, rule: Linear) -> tuple[Any, Any]:
    residuals = len(primals) - rule.count
    if all(type(x) is ad.Zero for x in tangents[:residuals]):
        out = linear_p.bind(*primals, rule=rule)
        moved = [ad.instantiate_zeros(x) for x in tangents[residuals:]]
        return out, linear_p.bind(*primals[:residuals], *moved, rule=rule)
    if _vary([jax.typeof(x) for x in primals]):
        return _call_jvp(rule.function, primals, tangents)
    out = linear_p.bind(*primals, rule=rule)
    whole = [ad.instantiate_zeros(x) for x in tangents]
    _, out_tangents = jax.jvp(rule.function, tuple(primals), tuple(whole))
    return out, list(out_tangents)


def _call_jvp(function: Callable[..., tuple], primals: Any, tangents: Any) -> tuple[Any, Any]:
    """The outputs and tangents of `call`, as calls: nothing of it is traced outside of one."""
    moving = [n for n, x in enumerate(tangents) if type(x) is not ad.Zero]
    trees = []

    # What a pull holds may be a constant of NumPy.
    def forward(*flat: Any) -> tuple[Any, ...]:
        own, values = _of_moving(function, moving, flat)
        _, pull, out = jax.vjp(own, *values, has_aux=True)
        held, tree = jax.tree.flatten(pull)
        trees[:] = [tree]
        return (*out, *held)

    done, number = call(forward, *primals), len(primals)
    (tree,) = trees
    outputs = len(done) - tree.num_leaves
    out, held = done[:outputs], done[outputs:]

    def tangent(*flat: Any) -> tuple[Array, ...]:
        own, values = _of_moving(function, moving, flat[:number])
        return jax.jvp(own, values, flat[number + len(held) :], has_aux=True)[1]

    def transpose(needed: tuple[bool, ...], *flat: Any) -> tuple[Array | None, ...]:
        pull = jax.tree.unflatten(tree, flat[number : number + len(held)])
        return pull(tuple(flat[number + len(held) :]))

    moves = [tangents[n] for n in moving]
    rule = Linear(tangent, transpose, len(moving))
    changes = iter(linear_p.bind(*primals, *held, *moves, rule=rule))
    zero = lambda x: ad.Zero(jax.typeof(x).to_tangent_aval())  # noqa: E731
    return out, [next(changes) if _is_inexact(x) else zero(x) for x in out]


def _of_moving(
    function: Callable[..., tuple], moving: Sequence[int], flat: Sequence[Any]
) -> tuple[Callable[..., tuple[tuple, tuple]], tuple]:
    """The function of the arguments that move alone, and these arguments.

    It returns the outputs that have a derivative, and then all outputs.
    """

    def own(*values: Any) -> tuple[tuple, tuple]:
        whole = list(flat)
        for n, x in zip(moving, values, strict=True):
            whole[n] = x
        out = tuple(function(*whole))
        return tuple(filter(_is_inexact, out)), out

    return own, tuple(flat[n] for n in moving)


def _is_inexact(x: Array) -> bool:
    return jnp.issubdtype(x.dtype, jnp.inexact)


ad.primitive_jvps[linear_p] = _jvp


def _transpose(cotangents: Any, *flat: Any, rule: Linear) -> list[Any]:
    residuals, tangents = flat[: len(flat) - rule.count], flat[len(flat) - rule.count :]
    needed = tuple(ad.is_undefined_primal(x) for x in tangents)
    given = [ad.instantiate_zeros(x) for x in cotangents]

    def wanted(*flat: Any) -> tuple[Array, ...]:
        given: Any = rule.transpose(needed, *flat)
        return tuple(x for x, need in zip(given, needed, strict=True) if need)

    arguments = (*residuals, *given)
    types = [jax.typeof(x) for x in arguments]
    result = iter(call(wanted, *arguments) if _vary(types) else wanted(*arguments))
    return [None] * len(residuals) + [next(result) if need else None for need in needed]


ad.primitive_transposes[linear_p] = _transpose


def _batch(flat: Any, axes: Any, *, rule: Linear) -> tuple[Any, list[int]]:
    mapped = list(axes)
    residuals, tangents = mapped[: len(flat) - rule.count], mapped[len(flat) - rule.count :]
    function = jax.vmap(rule.function, mapped)

    def transpose(needed: tuple[bool, ...], *given: Any) -> tuple[Array | None, ...]:
        rule_transpose: Any = rule.transpose
        count = len(given) - len(residuals)
        each = jax.vmap(
            lambda *one: tuple(
                x if need else jnp.zeros(())
                for x, need in zip(rule_transpose(needed, *one), needed, strict=True)
            ),
            residuals + [0] * count,
        )
        # A tangent that all share has the sum of what each gives.
        return tuple(
            None if not need else x.sum(0) if axis is None else jnp.moveaxis(x, 0, axis)
            for x, axis, need in zip(each(*given), tangents, needed, strict=True)
        )

    out = linear_p.bind(*flat, rule=Linear(function, transpose, rule.count))
    return out, [0] * len(out)


batching.primitive_batchers[linear_p] = _batch
