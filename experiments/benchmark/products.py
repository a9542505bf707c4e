"""The time of a program's matrix products alone: a limit below which no fusion of the rest goes.

    found = products.limit(update, state, batch)
    found.seconds, found.flops

Every distinct product of the traced program is compiled and timed as a call of its own, from all
plain layouts of its operands, and its fastest time counts as often as the program runs it.
"""

import itertools
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import Jaxpr, JaxprEqn

from attention_jax.core.jaxprs import inner

SECONDS, LEAST_CALLS = 0.03, 3  # for which each layout is tried


class Product(NamedTuple):
    """A batch of matrix products, [b m k] times [b k n]; m is at most n."""

    b: int
    m: int
    k: int
    n: int
    dtype: str

    @property
    def flops(self) -> float:
        """Operations of one call."""
        return 2.0 * self.b * self.m * self.k * self.n


class Limit(NamedTuple):
    """The matrix products of a program.

    Attributes:
      seconds: all of them, each at its best.
      flops: of all.
      count: how many a call runs.
      distinct: how many there are of different sizes.
      complete: False where products stand in loops of unknown length, which count once.
    """

    seconds: float
    flops: float
    count: int
    distinct: int
    complete: bool


def limit(function: Callable[..., object], *args: object) -> Limit:
    """Times the products that a call runs; convolutions count as the product that they unfold to.

    Args:
      function: what to trace.
      args: arrays, or shapes with dtypes.
    """
    products, complete = found(jax.make_jaxpr(function)(*args).jaxpr)
    idle = _best(jax.jit(lambda: jnp.zeros(())))
    seconds = {product: max(0.0, best_seconds(product) - idle) for product in products}
    return Limit(
        sum(seconds[product] * count for product, count in products.items()),
        sum(product.flops * count for product, count in products.items()),
        sum(products.values()),
        len(products),
        complete,
    )


def found(jaxpr: Jaxpr) -> tuple[Counter[Product], bool]:
    """How often each product runs; False where loops of unknown length hold some."""
    total: Counter[Product] = Counter()
    complete = True
    for equation in jaxpr.eqns:
        name = equation.primitive.name
        if name == "dot_general":
            total[_of_dot(equation)] += 1
        elif name == "conv_general_dilated":
            total[_of_convolution(equation)] += 1
        parts = [found(program) for program in inner(equation)]
        if name == "cond":  # one branch runs; the longest counts
            parts = [max(parts, key=lambda part: sum(p.flops * n for p, n in part[0].items()))]
        times = equation.params["length"] if name == "scan" else 1
        for own, known in parts:
            total.update({product: times * count for product, count in own.items()})
            complete &= known and not (name == "while" and own)
    return total, complete


def _of_dot(equation: JaxprEqn) -> Product:
    (left, right), (left_batch, _) = equation.params["dimension_numbers"]
    a, b = _avals(equation.invars)
    batch = math.prod(a.shape[i] for i in left_batch)
    k = math.prod(a.shape[i] for i in left)
    m, n = sorted((a.size // (batch * k), b.size // (batch * k)))
    return Product(batch, m, k, n, str(a.dtype))


def _of_convolution(equation: JaxprEqn) -> Product:
    """One row for each place of the output, one column for each of its channels.

    Zeros between the inputs, as the gradient of a convolution with strides has them, count nothing.
    """
    numbers, groups = equation.params["dimension_numbers"], equation.params["feature_group_count"]
    _, kernel, out = _avals([*equation.invars, *equation.outvars])
    channels = kernel.shape[numbers.rhs_spec[0]]
    k = -(-kernel.size // (channels * math.prod(equation.params["lhs_dilation"])))
    m, n = sorted((out.size // channels, channels // groups))
    return Product(groups, m, k, n, str(out.dtype))


def _avals(variables: Iterable[Any]) -> list[Any]:
    return [x.aval for x in variables]


def best_seconds(product: Product) -> float:
    """The fastest call over both orders of the operands and both layouts of each."""
    b, m, k, n, dtype = product
    key = jax.random.key(0)
    best = math.inf
    for left, right in itertools.product(("bmk", "bkm"), ("bkn", "bnk")):
        sizes = {"b": b, "m": m, "k": k, "n": n}
        x, y = (
            jax.random.normal(key, [sizes[axis] for axis in axes if b > 1 or axis != "b"]).astype(
                dtype
            )
            for axes in (left, right)
        )
        for out in ("bmn", "bnm"):
            spec = f"{left},{right}->{out}"
            spec = spec if b > 1 else spec.replace("b", "")
            best = min(best, _best(_program(spec, x, y), x, y))
    return best


def _program(spec: str, x: jax.Array, y: jax.Array) -> Callable[..., Any]:
    return jax.jit(lambda x, y: jnp.einsum(spec, x, y)).lower(x, y).compile()


def _best(program: Callable[..., Any], *args: jax.Array) -> float:
    jax.block_until_ready(program(*args))
    best, calls, end = math.inf, 0, time.perf_counter() + SECONDS
    while calls < LEAST_CALLS or time.perf_counter() < end:
        begin = time.perf_counter()
        jax.block_until_ready(program(*args))
        best, calls = min(best, time.perf_counter() - begin), calls + 1
    return best
