"""Equal budgets for different models: the width that has as many parameters, and operations.

width = matching.nearest_width(parameters_of, 250_000, multiple=4)
operations = matching.flops(step, state, batch)
"""

from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, jaxpr_as_fun

# Wider than any model here.
_WIDEST = 2**16


def nearest_width(size: Callable[[int], int], target: int, *, multiple: int = 1) -> int:
    """The width whose size comes closest to `target`; of two the smaller.

    Args:
      size: what a width gives, growing with it.
      target: the size that is wanted.
      multiple: what the width must be a multiple of.

    Raises:
      ValueError: `target` or `multiple` is below 1, or no width is large enough.

    >>> nearest_width(lambda width: width**2, 1000, multiple=4)
    32
    """
    if target < 1 or multiple < 1:
        raise ValueError(f"`target` and `multiple` must be at least 1; got {target}, {multiple}.")
    low, high = 1, 1  # in multiples
    while size(high * multiple) < target:
        low, high = high, 2 * high
        if high * multiple > _WIDEST:
            raise ValueError(f"`target` must be within reach; {target} needs a width > {_WIDEST}.")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if size(middle * multiple) < target else (low, middle)
    return min((low, high), key=lambda n: (abs(size(n * multiple) - target), n)) * multiple


def flops(function: Callable[..., Any], *args: Any) -> float:
    """Floating-point operations of one call, by the compiler's own analysis.

    XLA counts the body of a loop once. Of a `scan`, whose length is known, what its body takes
    is counted as often as it runs; a `while` of unknown length stays at once.

    Args:
      function: a jitted function, or one that can be.
      args: arrays, or shapes with dtypes.
    """
    return _once(function, *args) + _more(jax.make_jaxpr(function)(*args).jaxpr)


def _once(function: Callable[..., Any], *args: Any) -> float:
    jitted: Any = function if hasattr(function, "lower") else jax.jit(function)
    found = jitted.lower(*args).cost_analysis()
    # Some versions give one of each computation.
    found = found[0] if isinstance(found, list) else found
    return float((found or {}).get("flops", 0.0))


def _more(jaxpr: Jaxpr) -> float:
    """What the scans of a program take beyond the one run that is counted."""
    total = 0.0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "scan":
            body = equation.params["jaxpr"]
            once = _once(jaxpr_as_fun(body), *(x.aval for x in body.jaxpr.invars))
            total += equation.params["length"] * (once + _more(body.jaxpr)) - once
            continue
        for value in jax.tree.leaves(equation.params, is_leaf=_is_program):
            if _is_program(value):
                total += _more(value.jaxpr if isinstance(value, ClosedJaxpr) else value)
    return total


def _is_program(value: Any) -> bool:
    return isinstance(value, (ClosedJaxpr, Jaxpr))
