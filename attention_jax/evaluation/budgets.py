"""Matched budgets: the width of equal parameter count, and FLOPs of a call.

width = budgets.nearest_width(parameters_of, 250_000, multiple=4)
operations = budgets.flops(step, state, batch)
"""

from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import Jaxpr, jaxpr_as_fun

from attention_jax.core import checks
from attention_jax.core.jaxprs import inner
from attention_jax.core.plain_types import typed_calls

# Wider than any model here.
_WIDEST = 2**16


@typed_calls
def nearest_width(size: Callable[[int], int], target: int, *, multiple: int = 1) -> int:
    """Width whose size comes closest to `target`; the smaller of two as close.

    Args:
      size: size of a width, increasing.
      target: the desired size.
      multiple: the width is a multiple of it.

    Raises:
      ValueError: `target` or `multiple` is below 1, or no width is large enough.

    >>> nearest_width(lambda width: width**2, 1000, multiple=4)
    32
    """
    checks.positive("target", target)
    checks.positive("multiple", multiple)
    low, high = 1, 1  # in multiples
    while size(high * multiple) < target:
        low, high = high, 2 * high
        if high * multiple > _WIDEST:
            raise ValueError(f"`target` must be within reach; {target} needs a width > {_WIDEST}.")
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if size(middle * multiple) < target else (low, middle)
    return min((low, high), key=lambda n: (abs(size(n * multiple) - target), n)) * multiple


def flops(function: Callable[..., object], *args: object) -> float:
    """Floating-point operations of one call, by XLA's cost analysis.

    XLA counts the body of a loop once. The body of a `scan`, whose length is known, is counted as
    often as it runs; that of a `while` of unknown length is counted once.

    Args:
      function: a jitted function, or one that can be.
      args: arrays, or shapes with dtypes.
    """
    return _once(function, *args) + _more(jax.make_jaxpr(function)(*args).jaxpr)


def _once(function: Callable[..., object], *args: object) -> float:
    jitted: Any = function if hasattr(function, "lower") else jax.jit(function)
    found = jitted.lower(*args).cost_analysis()
    # Some versions return a list, with an entry for each computation.
    found = found[0] if isinstance(found, list) else found
    return float((found or {}).get("flops", 0.0))


def _more(jaxpr: Jaxpr) -> float:
    """FLOPs of the scans of a program beyond the one iteration that XLA counts."""
    total = 0.0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "scan":
            body = equation.params["jaxpr"]
            once = _once(jaxpr_as_fun(body), *(x.aval for x in body.jaxpr.invars))
            total += equation.params["length"] * (once + _more(body.jaxpr)) - once
        else:
            total += sum(map(_more, inner(equation)))
    return total
