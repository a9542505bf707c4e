"""Derivatives of a function of one pair that stay 0 where the pair is hidden.

A hidden pair has a cotangent of 0, but 0 times an infinite derivative is NaN, and would reach all
arrays that the function reads. So the function runs equation by equation, and an input whose
derivative may not be finite is taken as

    where(visible, x, stop_gradient(x))

which is `x`, and whose tangents and cotangents are exactly 0 at a hidden pair. What an equation
computes decides which inputs need that: sums, products with finite numbers and bounded functions
do not, and a function made of these alone stays as it is.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import Jaxpr, JaxprEqn, Literal
from jaxtyping import Array, Bool

# What is known of a number at a hidden pair: nothing; no NaN and not infinite; and not large.
WILD, FINITE, MODEST = range(3)
# And of its sign.
UNKNOWN, NONNEGATIVE, POSITIVE = range(3)

# Equations that run another program, whose derivative is that of its equations.
CALLS = frozenset("jit pjit closed_call core_call".split())
# Their derivatives are 0, 1 or -1, and their results as finite as their inputs.
SUMS = frozenset(
    "add add_any broadcast_in_dim ceil clamp concatenate convert_element_type copy copy_p cumsum "
    "floor max min neg pad reduce_sum reshape rev round select_n sign slice split squeeze "
    "stop_gradient sub transpose".split()
)
# The same, but for NaN.
CHOICES = frozenset("abs reduce_max reduce_min".split())
# Their first input is read at places that the others give.
LOOKUPS = frozenset("dynamic_slice gather".split())
PRODUCTS = frozenset("dot_general mul".split())
# Bounded functions with bounded derivatives.
BOUNDED = frozenset("atan cos erf erfc logistic sin tanh".split())
# Functions that are smooth above a number, 0 or -1.
ABOVE = {"log": POSITIVE, "log1p": NONNEGATIVE, "rsqrt": POSITIVE, "sqrt": POSITIVE}


def needs_guard(jaxpr: Jaxpr, *, finite: bool) -> bool:
    """Tells whether a derivative of a function of one pair may not be finite at a hidden one.

    Args:
      jaxpr: reads captured arrays as constants; its arguments are of the pair.
      finite: whether its floating-point arguments are finite.
    """
    run = _Run(None)
    run.program(jaxpr, [_shared(x) for x in jaxpr.constvars], jaxpr.invars, finite)
    return run.guards > 0


def evaluate(
    jaxpr: Jaxpr,
    captured: Sequence[Array],
    arguments: Sequence[Array],
    visible: Bool[Array, ""],
    *,
    finite: bool,
) -> list[Array]:
    """The results of a program of one pair, equal where `visible`, and guarded elsewhere."""
    shared = [_shared(x, array) for x, array in zip(jaxpr.constvars, captured, strict=True)]
    found = _Run(visible).program(jaxpr, shared, arguments, finite)
    return [x.array for x in found]


@dataclass(eq=False)
class _Value:
    """A value of the program, equal to itself alone.

    Attributes:
      array: None where nothing is computed.
      pair: whether it differs between pairs.
      moves: whether it may have a tangent.
      above: of a comparison: the value that is positive where it is True.
      guarded: the same, without a derivative at hidden pairs.
    """

    array: Any
    dtype: Any
    pair: bool = False
    moves: bool = False
    level: int = MODEST
    sign: int = UNKNOWN
    size: int = 1
    above: "_Value | None" = None
    guarded: "_Value | None" = None

    @property
    def wild(self) -> bool:
        # What all pairs share, visible ones have too.
        return self.pair and self.level == WILD


def _is_float(dtype: Any) -> bool:
    return jnp.issubdtype(dtype, jnp.inexact)


def _aval(variable: Any) -> Any:
    return variable.aval


def _shared(variable: Any, array: Any = None) -> _Value:
    aval = variable.aval
    moves = _is_float(aval.dtype)
    level = FINITE if moves else MODEST
    return _Value(array, aval.dtype, moves=moves, level=level, size=math.prod(aval.shape))


def _literal(literal: Any) -> _Value:
    dtype = literal.aval.dtype
    if not jnp.issubdtype(dtype, jnp.number) or jnp.issubdtype(dtype, jnp.complexfloating):
        return _Value(literal.val, dtype)
    number = np.asarray(literal.val).astype(np.float64)
    sign = POSITIVE if (number > 0).all() else NONNEGATIVE if (number >= 0).all() else UNKNOWN
    level = MODEST if np.isfinite(number).all() else WILD
    return _Value(literal.val, dtype, level=level, sign=sign)


class _Run:
    """Evaluates a program, or counts the guards that it needs where `visible` is None."""

    def __init__(self, visible: Array | None):
        self.visible = visible
        self.guards = 0
        self.debug_info: Any = None

    def program(
        self, jaxpr: Jaxpr, shared: list[_Value], arguments: Sequence[Any], finite: bool
    ) -> list[_Value]:
        given, self.debug_info = [], jaxpr.debug_info
        for variable, array in zip(jaxpr.invars, arguments, strict=True):
            aval: Any = variable.aval
            moves = _is_float(aval.dtype)
            level = MODEST if not moves else FINITE if finite else WILD
            array = None if self.visible is None else array
            given.append(_Value(array, aval.dtype, True, moves, level))
        return self.run(jaxpr, [*shared, *given])

    def run(self, jaxpr: Jaxpr, values: list[_Value]) -> list[_Value]:
        env = dict(zip([*jaxpr.constvars, *jaxpr.invars], values, strict=True))

        def read(x: Any) -> _Value:
            return _literal(x) if isinstance(x, Literal) else env[x]

        for equation in jaxpr.eqns:
            inputs = [read(x) for x in equation.invars]
            if equation.primitive.name in CALLS:
                inner: Any = equation.params.get("jaxpr", equation.params.get("call_jaxpr"))
                consts, inner = getattr(inner, "consts", ()), getattr(inner, "jaxpr", inner)
                bound = zip(inner.constvars, consts, strict=True)
                outputs = self.run(inner, [*(_shared(x, y) for x, y in bound), *inputs])
            else:
                outputs = self.equation(equation, inputs)
            env.update(zip(equation.outvars, outputs, strict=True))
        return [read(x) for x in jaxpr.outvars]

    def equation(self, equation: JaxprEqn, inputs: list[_Value]) -> list[_Value]:
        name, avals = equation.primitive.name, [_aval(x) for x in equation.outvars]
        pair = any(x.pair for x in inputs)
        moves = name != "stop_gradient" and any(x.moves for x in inputs)
        if pair and moves and any(_is_float(x.dtype) for x in avals):
            unsafe = _unsafe(name, equation.params, inputs)
            guarded = [
                self.guard(x) if x.moves and y else x for x, y in zip(inputs, unsafe, strict=True)
            ]
            inputs = self.zeroed(name, guarded)
        level, sign = _described(name, equation.params, inputs) if inputs else (MODEST, UNKNOWN)
        level = level if pair else max(level, FINITE)
        above = _compared(name, inputs)
        arrays = self.computed(equation, inputs)
        outputs = []
        for aval, array in zip(avals, arrays, strict=True):
            is_float, size = _is_float(aval.dtype), math.prod(aval.shape)
            known = level if is_float else MODEST, sign, size, above
            outputs.append(_Value(array, aval.dtype, pair, moves and is_float, *known))
        return outputs

    def zeroed(self, name: str, inputs: list[_Value]) -> list[_Value]:
        """Zeros in place of factors that may not be finite, in products with shared arrays."""
        if name != "dot_general":
            return inputs
        others = inputs[::-1]
        found = []
        for x, other in zip(inputs, others, strict=True):
            shared = other.moves and not other.pair
            found.append(self.guard(x, zero=True) if x.wild and shared else x)
        return found

    def guard(self, x: _Value, *, zero: bool = False) -> _Value:
        self.guards += 1
        if x.guarded is None or zero:
            array = None
            if self.visible is not None:
                hidden = jnp.zeros_like(x.array) if zero else lax.stop_gradient(x.array)
                array = lax.select_n(self.visible, hidden, jnp.asarray(x.array))
            made = _Value(array, x.dtype, True, True, x.level, x.sign, x.size)
            if zero:
                return made
            x.guarded = made.guarded = made
        return x.guarded

    def computed(self, equation: JaxprEqn, inputs: list[_Value]) -> list[Any]:
        if self.visible is None:
            return [None] * len(equation.outvars)
        read = {
            x: value.array
            for x, value in zip(equation.invars, inputs, strict=True)
            if not isinstance(x, Literal)
        }
        names, outputs = list(read), list(equation.outvars)
        one = Jaxpr([], names, outputs, [equation], equation.effects, self.debug_info)
        return jax.core.eval_jaxpr(one, (), *read.values())


def _unsafe(name: str, params: dict[str, Any], inputs: list[_Value]) -> list[bool]:
    """For each input, whether its derivative may not be finite at a hidden pair."""
    first, last = inputs[0], inputs[-1]
    if name in SUMS or name in LOOKUPS:
        return [False] * len(inputs)
    if name == "mul":
        return [last.wild, first.wild]
    if name == "dot_general":
        # Products with shared arrays stay products: see `zeroed`.
        return [last.wild and first.pair, first.wild and last.pair]
    if name == "div":
        below = last.pair and (last.wild or last.sign < POSITIVE)
        return [below, below or first.wild]
    if name in BOUNDED or name in CHOICES or _is_square(name, params):
        return [first.wild]
    if name in ABOVE:
        return [first.wild or first.sign < ABOVE[name]]
    return [True] * len(inputs)


def _is_square(name: str, params: dict[str, Any]) -> bool:
    return name == "square" or (name == "integer_pow" and params["y"] == 2)


def _described(name: str, params: dict[str, Any], inputs: list[_Value]) -> tuple[int, int]:
    """The level and the sign of the results of an equation, as far as they are known."""
    first, last = inputs[0], inputs[-1]
    levels, signs = [x.level for x in inputs], [x.sign for x in inputs]
    if name == "select_n":
        chosen, last = inputs[1:], inputs[-1]
        signs = [x.sign for x in chosen]
        if len(chosen) == 2 and last is first.above:
            signs[1] = POSITIVE
        return min(x.level for x in chosen), min(signs)
    if name in SUMS or name in CHOICES:
        return min(levels), _sign_of_sum(name, signs)
    if name in LOOKUPS:
        one = first.pair or first.size == 1
        return (first.level if one or first.level == MODEST else WILD), first.sign
    if name in PRODUCTS:
        tame = min(levels) > WILD
        sign = NONNEGATIVE if first is last else min(*signs, NONNEGATIVE)
        return (min(levels) if tame else WILD), sign
    if name == "div":
        safe = not last.pair or last.sign == POSITIVE
        return (min(levels) if safe else WILD), min(*signs, NONNEGATIVE)
    if _is_square(name, params):
        return first.level, NONNEGATIVE
    if name in BOUNDED:
        bounded = MODEST if first.level > WILD else WILD
        return bounded, NONNEGATIVE if name == "logistic" else UNKNOWN
    if name in ABOVE:
        smooth = first.sign >= ABOVE[name] and first.level > WILD
        positive = POSITIVE if name in ("rsqrt", "sqrt") else UNKNOWN
        return (FINITE, positive) if smooth else (WILD, UNKNOWN)
    return WILD, NONNEGATIVE if name in ("exp", "exp2") else UNKNOWN


def _sign_of_sum(name: str, signs: list[int]) -> int:
    if name in ("sub", "neg", "sign", "floor", "ceil", "round", "clamp"):
        return UNKNOWN
    if name == "abs":
        return max(signs[0], NONNEGATIVE)
    if name == "max" or (name in ("add", "add_any") and min(signs) >= NONNEGATIVE):
        return max(signs)
    return min(signs)


def _compared(name: str, inputs: list[_Value]) -> _Value | None:
    """The value of which a comparison tells that it is above 0."""
    if name == "gt" and inputs[1].sign >= NONNEGATIVE:
        return inputs[0]
    if name == "lt" and inputs[0].sign >= NONNEGATIVE:
        return inputs[1]
    return None
