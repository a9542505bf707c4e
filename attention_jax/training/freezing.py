"""Parameters that training leaves as they are, by regular expressions over their paths.

config = TrainConfig(steps=1000, freeze=("^encoder/", "embedding"))
"""

import difflib
import re
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import optax
from jaxtyping import PyTree

from attention_jax.core import checks
from attention_jax.parallel.rules import path_name

TRAINED, FROZEN = "trained", "frozen"


def check_patterns(patterns: Sequence[str]) -> None:
    """Raises ValueError where one is no regular expression."""
    for pattern in patterns:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(
                f"`freeze` must be regular expressions; got {pattern!r}: {error}. Put a backslash "
                "before characters that stand for themselves."
            ) from None


def is_frozen(path: str, patterns: Sequence[str]) -> bool:
    """True where a pattern occurs anywhere in the path of a parameter.

    >>> is_frozen("encoder/stack/layers/0/attention/out/bias", ["^encoder/"])
    True
    """
    return any(re.search(pattern, path) for pattern in patterns)


def mask(tree: PyTree, patterns: Sequence[str]) -> PyTree:
    """True for each leaf that is frozen, in a tree whose paths are those of parameters."""
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: is_frozen(path_name(path), patterns), tree
    )


def check(params: PyTree, patterns: Sequence[str]) -> None:
    """Refuses patterns that a model does not have, or that leave nothing of it to train.

    Raises:
      ValueError: a pattern occurs in no path, or the patterns in all.
    """
    paths = [path_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    for pattern in patterns:
        if not any(re.search(pattern, path) for path in paths):
            near = difflib.get_close_matches(pattern, paths, n=3, cutoff=0.0)
            raise ValueError(
                f"`freeze` must occur in the path of a parameter; {checks.said(pattern)} occurs in "
                f"none of {len(paths)}. The nearest are {', '.join(near)}."
            )
    if patterns and all(is_frozen(path, patterns) for path in paths):
        raise ValueError(
            f"`freeze` must leave something to train; {checks.said(tuple(patterns))} match all "
            f"{len(paths)} parameters. Give narrower ones."
        )


def spared(
    transform: optax.GradientTransformation, patterns: Sequence[str]
) -> optax.GradientTransformation:
    """An optimizer that sees what is trained alone, and keeps no state of the rest."""
    if not patterns:
        return transform
    return optax.partition(
        {TRAINED: transform, FROZEN: optax.set_to_zero()},
        lambda tree: jax.tree.map(lambda own: FROZEN if own else TRAINED, mask(tree, patterns)),
    )


def without(gradient: PyTree, patterns: Sequence[str]) -> PyTree:
    """A gradient that is zero where parameters are frozen, for which nothing is computed then."""
    if not patterns:
        return gradient
    own = mask(gradient, patterns)
    return jax.tree.map(lambda no, x: jnp.zeros_like(x) if no else x, own, gradient)


def kept(before: PyTree, after: PyTree, patterns: Sequence[str]) -> PyTree:
    """Parameters after an update, the frozen ones to the last bit as before: -0 + 0 would be 0."""
    if not patterns:
        return after
    return jax.tree.map(lambda no, x, y: x if no else y, mask(before, patterns), before, after)
