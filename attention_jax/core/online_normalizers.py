"""Online normalizers: weights from one block of keys after another, without whole rows.

A weight is a function of its logit and of a few statistics of its row, `p = weight(x, row)`: for
the softmax `exp(x - lse)`, for sparsemax `max(x - threshold, 0)`. `row_statistics` takes one or
more sweeps over the blocks; after that every block gives its weights by itself.

The derivative is one rule for all. With `slope = dp/dx`, and the threshold held by the sum of the
row's weights where that is fixed (`sums_to_one`),

    d_out = sum_j slope_j (dx_j - dt) v_j + p_j dv_j      dt = sum_j slope_j dx_j / sum_j slope_j

and `dt = 0` where it is not. Weights that are divided by a total of their row that is no sum of
theirs, such as that of their sizes, say how its logarithm moves, `share = d log(total) / dx`:

    d_out = sum_j slope_j dx_j v_j + p_j dv_j - dt out      dt = sum_j share_j dx_j
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

from attention_jax.core import values

Row = Any  # arrays `[... t]`; in `weight` and `derivative` shaped to fit the logits
# (state, block, *found) -> state; the arrays of the state, and what was found before, are [... t].
Look = Callable[..., Any]
# (look, start, *found) -> state after all blocks; `start` holds a number for each of its arrays.
Sweep = Callable[..., Any]

# Newton's method gains digits at every turn, and ends when no row moves.
MOST_TURNS = 64


class Block(NamedTuple):
    """Logits of some queries and some keys: -inf where hidden, NaN where not finite."""

    logits: Float[Array, "*n t s"]
    visible: Bool[Array, "*n #t s"]
    keys: Int[Array, " s"]  # their numbers


class Online(NamedTuple):
    """A normalizer over blocks: a tuple of pure functions.

    Attributes:
      row_statistics: `(sweep) -> row`.
      weight: `(logits, row, keys) -> weights`, 0 where the logit is -inf.
      derivative: `(logits, weights, row) -> d weight / d logit`.
      sums_to_one: whether the weights of a row have a fixed sum.
      share: `(logits, weights, row) -> d log(total) / d logit`, where the weights of a row are
        divided by a total that is not their own sum; `derivative` is then for a fixed total.
      twice_differentiable: whether the rule may be differentiated again.
      before: changes each logit first; may capture arrays.
      after: `(out, lse) -> (out, lse)` for `[b t h e]` and `[b t h]`; may capture arrays.
    """

    row_statistics: Callable[[Sweep], Row]
    weight: Callable[[Array, Row, Array], Array]
    derivative: Callable[[Array, Array, Row], Array]
    sums_to_one: bool
    share: Callable[[Array, Array, Row], Array] | None = None
    twice_differentiable: bool = True
    before: Callable[[Array], Array] | None = None
    after: Callable[[Array, Array], tuple[Array, Array]] | None = None


def lowest(dtype: DTypeLike) -> float:
    """A finite stand-in for -inf in differences: -inf less it is -inf, not NaN."""
    return float(jnp.finfo(dtype).min) * 0.9


def grow(state: tuple[Array, Array], logits: Array) -> tuple[Array, Array]:
    """The largest logit so far, and the sum of exponentials relative to it."""
    high, total = state
    new = jnp.maximum(high, logits.max(-1))
    powers = jnp.exp(logits - new[..., None])
    return new, total * jnp.exp(high - new) + powers.sum(-1)


def log_total(high: Array, total: Array) -> Array:
    """The log-sum-exp; where nothing was seen so large that every weight is 0."""
    nothing = -lowest(total.dtype)
    return jnp.where(total == 0, nothing, high + jnp.log(jnp.where(total == 0, 1, total)))


def _softmax_row(sweep: Sweep) -> Row:
    return log_total(*sweep(lambda state, block: grow(state, block.logits), (_LOWEST, 0.0)))


def _softmax_weight(x: Array, lse: Row, keys: Array) -> Array:
    return jnp.exp(x - lse)


def _own_weight(x: Array, p: Array, row: Row) -> Array:
    """The derivative of an exponential, which is itself."""
    return p


_LOWEST = lowest(jnp.float32)

SOFTMAX = Online(_softmax_row, _softmax_weight, _own_weight, sums_to_one=True)


def no_row(sweep: Sweep) -> Row:
    """No statistics of a row: its weights are those of single logits."""
    return ()


def _sigmoid_weight(x: Array, row: Row, keys: Array) -> Array:
    return jax.nn.sigmoid(x)


def _sigmoid_derivative(x: Array, p: Array, row: Row) -> Array:
    return p * (1 - p)


SIGMOID = Online(no_row, _sigmoid_weight, _sigmoid_derivative, sums_to_one=False)


def _count(sweep: Sweep) -> Row:
    def look(count: Array, block: Block) -> Array:
        visible = jnp.broadcast_to(block.visible, block.logits.shape)
        return count + visible.sum(-1, dtype=count.dtype)

    return jnp.maximum(sweep(look, 0.0), 1)


def _relu_weight(x: Array, count: Row, keys: Array) -> Array:
    return jax.nn.relu(x) / count


def _relu_derivative(x: Array, p: Array, count: Row) -> Array:
    return (x > 0).astype(p.dtype) / count


RELU = Online(_count, _relu_weight, _relu_derivative, sums_to_one=False)


def _weight_of_count(x: Array, count: Row, keys: Array) -> Array:
    return jax.nn.sigmoid(x - jnp.log(count))


SIGMOID_OF_COUNT = SIGMOID._replace(row_statistics=_count, weight=_weight_of_count)


def _largest(sweep: Sweep) -> Array:
    """The largest logit of each row, NaN where one is NaN, 0 where there is none."""
    high = sweep(lambda high, block: jnp.maximum(high, block.logits.max(-1)), -jnp.inf)
    return jnp.where(high == -jnp.inf, 0, high)


class _Best(NamedTuple):
    key: Any  # its number; -1 where nothing is seen
    logit: Any  # NaN where a logit of the row is


def _first_best(sweep: Sweep) -> Row:
    def look(best: _Best, block: Block) -> _Best:
        here = block.logits.max(-1)
        place = block.keys[block.logits.argmax(-1)].astype(best.key.dtype)
        # The state is a float, exact up to 2^24 keys; blocks may come in any order.
        first = (here > best.logit) | ((here == best.logit) & (place < best.key))
        key = jnp.where(first & (here > -jnp.inf), place, best.key)
        return _Best(key, jnp.maximum(best.logit, here))

    return sweep(look, _Best(-1.0, -jnp.inf))


def _hard_weight(x: Array, best: _Best, keys: Array) -> Array:
    return _poisoned((keys.astype(x.dtype) == best.key).astype(x.dtype), best.logit)


def _no_derivative(x: Array, p: Array, row: Row) -> Array:
    return jnp.zeros_like(p)


HARD = Online(_first_best, _hard_weight, _no_derivative, sums_to_one=False)


class _BestAndTotal(NamedTuple):
    best: Any
    lse: Any


def _best_and_total(sweep: Sweep) -> Row:
    return _BestAndTotal(_first_best(sweep), _softmax_row(sweep))


def _best_weight(x: Array, row: _BestAndTotal, keys: Array) -> Array:
    return _hard_weight(x, row.best, keys)


def _soft_derivative(x: Array, p: Array, row: _BestAndTotal) -> Array:
    return jnp.exp(x - row.lse)


STRAIGHT_THROUGH = Online(
    _best_and_total, _best_weight, _soft_derivative, sums_to_one=True, twice_differentiable=False
)


class _Chosen(NamedTuple):
    threshold: Array  # the smallest logit that is chosen
    lse: Array
    largest: Array
    numbers: tuple[Array, ...]  # of the keys; their logits, computed again, may round below


def top_k(k: int) -> Online:
    """The softmax over the k largest logits, which a first sweep finds."""
    return Online(
        values.bind(_top_k_row, k),
        _top_k_weight,
        _own_weight,
        sums_to_one=True,
        twice_differentiable=False,
    )


def _top_k_row(k: int, sweep: Sweep) -> Row:
    def rank(best: Any, block: Block) -> Any:
        logits, numbers = (jnp.stack(x, -1) for x in best)
        here = jnp.broadcast_to(block.keys.astype(logits.dtype), block.logits.shape)
        logits, place = lax.top_k(jnp.concatenate([logits, block.logits], -1), k)
        numbers = jnp.take_along_axis(jnp.concatenate([numbers, here], -1), place, -1)
        return tuple(jnp.moveaxis(logits, -1, 0)), tuple(jnp.moveaxis(numbers, -1, 0))

    def look(state: tuple[Array, Array], block: Block, threshold: Array, numbers: Any) -> Any:
        numbers = [x[..., None] for x in numbers]
        keys = jnp.broadcast_to(block.keys, block.logits.shape)
        return grow(state, _kept(block.logits, threshold[..., None], numbers, keys))

    largest = _largest(sweep)
    logits, numbers = sweep(rank, ((-jnp.inf,) * k, (-1.0,) * k))
    lse = log_total(*sweep(look, (_LOWEST, 0.0), logits[-1], numbers))
    return _Chosen(logits[-1], lse, largest, numbers)


def _top_k_weight(x: Array, row: _Chosen, keys: Array) -> Array:
    kept = _kept(x, row.threshold, row.numbers, keys)
    return _poisoned(jnp.exp(kept - row.lse), row.largest)


class _Threshold(NamedTuple):
    height: Array  # above the largest logit, in the normalizer's scale; below 0
    largest: Array


def _root(scale: float, turn: Callable[[Array, Array, Array], Array], sweep: Sweep) -> Row:
    """Row statistics by Newton's method, from the left of a falling convex sum of weights.

    Args:
      scale: what logits are multiplied by.
      turn: `(sum of heights, of their squares, count) -> step to the right`.
    """

    def measure(sums: Any, block: Block, height: Array, largest: Array) -> Any:
        above = scale * (block.logits - largest[..., None]) - height[..., None]
        above = jnp.maximum(above, 0)
        added = above.sum(-1), (above * above).sum(-1), (above > 0).sum(-1, dtype=above.dtype)
        return jax.tree.map(jnp.add, sums, added)

    largest = _largest(sweep)

    def moves(state: tuple[Array, Array, Array]) -> Array:
        number, _, step = state
        return (number < MOST_TURNS) & (step > jnp.finfo(step.dtype).eps).any()

    def move(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        number, height, _ = state
        step = turn(*sweep(measure, (0.0, 0.0, 0.0), height, largest))
        return number + 1, height + step, step

    # One key alone would take all: so low the threshold may be, and no lower.
    start = jnp.full_like(largest, -1.0)
    first: Any = 0, start, jnp.ones_like(start)
    _, height, _ = lax.while_loop(moves, move, first)
    return _Threshold(height, largest)


def _nonzero(x: Array) -> Array:
    return jnp.where(x == 0, 1, x)


def _linear_turn(total: Array, squares: Array, count: Array) -> Array:
    return jnp.where(count > 0, (total - 1) / _nonzero(count), 0)


def _square_turn(total: Array, squares: Array, count: Array) -> Array:
    return jnp.where(count > 0, (squares - 1) / _nonzero(2 * total), 0)


def _above(x: Array, row: _Threshold, scale: float) -> Array:
    return jnp.maximum(scale * (x - row.largest) - row.height, 0)


def _sparsemax_weight(x: Array, row: _Threshold, keys: Array) -> Array:
    return _poisoned(_above(x, row, 1.0), row.largest)


def _sparsemax_derivative(x: Array, p: Array, row: Row) -> Array:
    return (p > 0).astype(p.dtype)


SPARSEMAX = Online(
    values.bind(_root, 1.0, _linear_turn),
    _sparsemax_weight,
    _sparsemax_derivative,
    sums_to_one=True,
    twice_differentiable=False,
)


def _entmax15_weight(x: Array, row: _Threshold, keys: Array) -> Array:
    return _poisoned(_above(x, row, 0.5) ** 2, row.largest)


def _entmax15_derivative(x: Array, p: Array, row: Row) -> Array:
    return jnp.sqrt(p)


ENTMAX15 = Online(
    values.bind(_root, 0.5, _square_turn),
    _entmax15_weight,
    _entmax15_derivative,
    sums_to_one=True,
    twice_differentiable=False,
)


def _kept(logits: Array, threshold: Array, numbers: Any, keys: Array) -> Array:
    chosen = logits >= threshold
    for number in numbers:
        chosen = chosen | (keys.astype(number.dtype) == number)
    return jnp.where(chosen, logits, -jnp.inf)


def _poisoned(weights: Array, largest: Array) -> Array:
    """Comparisons drop NaN; put it back, so that it is seen."""
    return jnp.where(jnp.isnan(largest), jnp.nan, weights)
