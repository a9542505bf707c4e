"""Linear functions with a transpose of their own, as a JAX primitive.

JAX transposes linear functions by itself, and for loops that read one block at a time it adds
whole arrays up at every turn. Here the transpose is written out, and everything else stays JAX's
own: forward mode, second derivatives, `vmap` and compilation. `jax.custom_derivatives.linear_call`
comes near, but has neither `vmap` nor a derivative in what the function is not linear in.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, PyTree


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


@linear_p.def_impl
def _run(*flat: Any, rule: Linear) -> tuple[Array, ...]:
    return jax.jit(rule.function)(*flat)


@linear_p.def_abstract_eval
def _shapes(*flat: Any, rule: Linear) -> list[Any]:
    shapes = jax.eval_shape(rule.function, *(jax.ShapeDtypeStruct(x.shape, x.dtype) for x in flat))
    return [jax.core.ShapedArray(x.shape, x.dtype) for x in shapes]


mlir.register_lowering(
    linear_p, mlir.lower_fun(lambda *flat, rule: rule.function(*flat), multiple_results=True)
)


def _jvp(primals: Any, tangents: Any, *, rule: Linear) -> tuple[Any, Any]:
    residuals = len(primals) - rule.count
    out = linear_p.bind(*primals, rule=rule)
    if all(type(x) is ad.Zero for x in tangents[:residuals]):
        moved = [ad.instantiate_zeros(x) for x in tangents[residuals:]]
        return out, linear_p.bind(*primals[:residuals], *moved, rule=rule)
    whole = [ad.instantiate_zeros(x) for x in tangents]
    _, out_tangents = jax.jvp(rule.function, tuple(primals), tuple(whole))
    return out, list(out_tangents)


ad.primitive_jvps[linear_p] = _jvp


def _transpose(cotangents: Any, *flat: Any, rule: Linear) -> list[Any]:
    residuals, tangents = flat[: len(flat) - rule.count], flat[len(flat) - rule.count :]
    needed = tuple(ad.is_undefined_primal(x) for x in tangents)
    given = [ad.instantiate_zeros(x) for x in cotangents]
    result = rule.transpose(needed, *residuals, *given)
    wanted = [x if need else None for x, need in zip(result, needed, strict=True)]
    return [None] * len(residuals) + wanted


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
