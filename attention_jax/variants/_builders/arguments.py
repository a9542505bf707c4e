"""Arguments of a variant's functions that do not fit it, each answered in one line.

Shapes, dtypes and parameters are compared before a call, for that costs microseconds. A state is
compared with what `start` makes only after a call has failed.
"""

import functools
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from attention_jax.core import checks
from attention_jax.core.types import AnyArray, Like, Options, Params, State

_KEPT = 256  # sizes of variants
_LENGTHS = 1, 5  # axes of a state that differ between these depend on its length


Axes = tuple[int | None, ...]  # lengths of axes; None where any will do


class Sizes(NamedTuple):
    """The sizes that `init` takes."""

    heads: int
    kv_heads: int
    head_width: int


def sizes_of(query: Like, key: Like) -> Sizes:
    """The sizes of arrays whose last axes are heads and width."""
    return Sizes(query.shape[-2], key.shape[-2], query.shape[-1])


def check_params(
    init: Callable[..., Params], params: Params, sizes: Sizes, *, names_only: bool = False
) -> None:
    """Raises unless parameters have the names of those that `init` makes, and fit the sizes.

    Keys that were repeated for more heads may keep the parameters of theirs.

    Args:
      names_only: whether any shape will do.

    Raises:
      ValueError: one is missing, of another variant or of other sizes.
    """
    wanted = _made(init, sizes)
    if wanted is None:
        return
    leaves, kind = jax.tree.flatten(params)
    axes = wanted.axes.values()
    if kind == wanted.kind and (names_only or all(map(_fits, leaves, axes))):
        return
    if kind == wanted.kind and _fits_fewer(init, leaves, sizes):
        return
    given = _named(params)
    lacking = sorted(wanted.axes.keys() - given.keys()) or ([] if wanted.axes else sorted(given))
    if lacking:
        found = "none" if wanted.axes else checks.said(given[lacking[0]])
        made = ", ".join(sorted(wanted.axes)) or "none, for it learns nothing"
        raise ValueError(
            f"`params` must be what `init` of this variant returns: {made}; got {found} at "
            f"{lacking[0] or 'the root'}. {_remedy(sizes)}"
        )
    for name, axes in wanted.axes.items():
        if not names_only and not _fits(given[name], axes):
            raise ValueError(
                f"`params` must be what `init` of this variant returns; {name} must have shape "
                f"{_shown(axes)}; got {checks.said(given[name])}. {_remedy(sizes)}"
            )


def _fits(array: Any, axes: Axes) -> bool:
    """Tells whether this is an array of such axes."""
    shape = getattr(array, "shape", None)
    if shape is None or len(shape) != len(axes):
        return False
    return all(y is None or x == y for x, y in zip(shape, axes, strict=True))


def _fits_fewer(init: Callable[..., Params], leaves: list[Any], sizes: Sizes) -> bool:
    """Tells whether these are parameters for keys of fewer heads, which were repeated since."""
    fewer = (n for n in range(1, sizes.kv_heads) if sizes.kv_heads % n == 0)
    made = (_made(init, sizes._replace(kv_heads=n)) for n in fewer)
    return any(x is not None and all(map(_fits, leaves, x.axes.values())) for x in made)


def _shown(axes: Axes) -> str:
    return f"[{', '.join('any' if x is None else str(x) for x in axes)}]"


def check_features(takes: bool, features: PyTree, positions: tuple[int, ...]) -> None:
    """Raises unless features are given exactly where a variant takes them, one for each position.

    Args:
      positions: sequences and, but for steps, queries.

    Raises:
      ValueError: they are not.
    """
    if takes and features is None:
        raise ValueError(
            "`features` must be given: this variant computes some of what it does from the layer's "
            "input x [b t m]; got None. Write `features=variant.features(params, x)`, or let "
            "`nn.MultiHeadAttention` do so."
        )
    if not takes and features is not None:
        raise ValueError(
            "`features` must be left out for this variant, which has none; got "
            f"{checks.said(features)}."
        )
    for leaf in jax.tree.leaves(features):
        if getattr(leaf, "shape", ())[: len(positions)] != positions:
            raise ValueError(
                f"`features` must be of arrays that begin with the axes of the queries, "
                f"{list(positions)}; got {checks.said(leaf)} in it. Take those of the same "
                "positions of `variant.features(params, x)`."
            )


def check_positions(query: Like, key: Like, visible: AnyArray | None) -> None:
    """Raises unless there is a key for each query, and of each is told whether it is seen.

    Raises:
      ValueError: of the keys are more or fewer; or `visible` is another array.
    """
    if query.shape[1] != key.shape[1]:
        raise ValueError(
            "`query` and `key` must be of the same positions, for states are extended by both; got "
            f"shapes {query.shape} and {key.shape}."
        )
    if visible is not None and not (
        getattr(visible, "shape", None) == query.shape[:2] and visible.dtype == jnp.bool_
    ):
        raise ValueError(
            f"`visible` must be boolean, {list(query.shape[:2])}, True where a key is seen; got "
            f"{checks.said(visible)}. Leave it out where all are."
        )


def check_options(options: Options, queries: int, keys: int) -> None:
    """Raises unless each option is of its kind.

    Raises:
      ValueError: one is not.
    """
    if options.mask is not None:
        checks.mask_function(options.mask)
    checks.position("query_offset", options.query_offset, queries)
    checks.position("key_offset", options.key_offset, keys)
    checks.dropout(options.dropout_rate, options.dropout_key)


def check_batch(state: State, batch: int) -> None:
    """Raises unless a state is of arrays whose first axis is the batch.

    Raises:
      ValueError: it is of anything else, or of another batch.
    """
    leaves = jax.tree.leaves(state)
    for leaf in leaves:
        if not getattr(leaf, "shape", None) or leaf.shape[0] != batch:
            raise ValueError(
                f"`state` must be of arrays whose first axis is the batch, {batch}; got "
                f"{checks.said(leaf)} in it. Take the state that `start` or the last step returned."
            )
    if not leaves:
        raise ValueError(
            f"`state` must be what `start` or the last step returned; got {checks.said(state)}. "
            "Make one with `variant.start`."
        )


def check_state(
    start: Callable[..., State],
    params: Params,
    state: State,
    like: tuple[Like, Like, Like],
    length: int | None,
) -> None:
    """Raises unless a state is as `start` makes it for these arrays.

    Args:
      like: query, key and value, whose last axes are heads and width.
      length: of the keys; None where the state may be of any.

    Raises:
      ValueError: another structure, shape or kind of number.
    """
    query, key, value = like
    sizes = sizes_of(query, key)._asdict() | {"value_width": value.shape[-1], "dtype": query.dtype}
    shortest, longest = (
        _shapes(lambda n=n: start(params, query.shape[0], n, **sizes))
        for n in (_LENGTHS if length is None else (length, length))
    )
    if shortest is None or longest is None:
        return
    given, others = _named(state), _named(longest)
    for name, wanted in _named(shortest).items():
        own = given.pop(name, None)
        axes = _axes(wanted.shape, others[name].shape, where=operator.eq)
        kind = jnp.floating if jnp.issubdtype(wanted.dtype, jnp.floating) else wanted.dtype
        if not (_fits(own, axes) and jnp.issubdtype(own.dtype, kind)):
            raise ValueError(
                f"`state` must be what `start` or the last step of this variant returned; "
                f"{name or 'it'} must be {wanted.dtype}{_shown(axes)}; got {_array(own)}. "
                "Make one with `variant.start` of the sizes of these arrays."
            )
    if given:
        raise ValueError(
            "`state` must be what `start` or the last step of this variant returned; got one of "
            f"another, with {', '.join(sorted(given))}. Make one with `variant.start`."
        )


def fault(check: Callable[[], None]) -> str | None:
    """The line of a check that fails; None where it does not."""
    try:
        check()
    except ValueError as error:
        return str(error)
    except Exception:  # of a mask of a user's own, which has shown itself already
        return None
    return None


class _Wanted(NamedTuple):
    """Parameters as `init` makes them: the structure, and axes by name that follow from the sizes.

    How many rows a table has is up to its owner.
    """

    kind: Any
    axes: dict[str, Axes]


def _made(init: Callable[..., Params], sizes: Sizes) -> _Wanted | None:
    """Parameters as `init` makes them for these sizes; None where nobody knows."""
    try:
        return _kept(init, sizes)
    except TypeError:  # it has no hash
        return None


@functools.lru_cache(_KEPT)
def _kept(init: Callable[..., Params], sizes: Sizes) -> _Wanted | None:
    more = Sizes(*(2 * x for x in sizes))
    made, larger = (
        _shapes(lambda x=x: init(jax.random.key(0), **x._asdict())) for x in (sizes, more)
    )
    if made is None or larger is None:
        return None
    others = _named(larger)  # which may be more, or fewer, in larger heads
    pairs = {name: (x, others.get(name, x)) for name, x in _named(made).items()}
    pairs = {name: (x, y if x.ndim == y.ndim else x) for name, (x, y) in pairs.items()}
    axes = {name: _axes(x.shape, y.shape, where=operator.ne) for name, (x, y) in pairs.items()}
    return _Wanted(jax.tree.structure(made), axes)


def _axes(shape: tuple[int, ...], other: tuple[int, ...], *, where: Callable[..., bool]) -> Axes:
    """The axes of a shape where it and another are as `where` says; None for the others."""
    return tuple(x if where(x, y) else None for x, y in zip(shape, other, strict=True))


def _shapes(make: Callable[[], PyTree]) -> PyTree:
    """The shapes of what a function makes; None where it needs more than shapes."""
    try:
        return jax.eval_shape(make)
    except Exception:  # of a user's own function, which may do anything
        return None


def _named(tree: PyTree) -> dict[str, Any]:
    """The leaves of a tree by the words that lead to them, such as "taps.q"."""
    found, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in found}


def _array(value: Any) -> str:
    """An array as errors show it; None for one that is not there."""
    return "none" if value is None else checks.said(value)


def _remedy(sizes: Sizes) -> str:
    said = ", ".join(f"{name}={size}" for name, size in sizes._asdict().items())
    return f"Make them with `variant.init(key, {said})`."
