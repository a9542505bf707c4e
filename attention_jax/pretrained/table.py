"""A table of names, read forwards into parameters, and backwards into tensors."""

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from attention_jax.core import checks
from attention_jax.parallel.rules import path_name
from attention_jax.pretrained.tensors import Tensors
from attention_jax.pretrained.types import Rule, Tensor

Put = Callable[[str, Tensor], Any]  # of a path and its array: where it shall lie


def read(
    rules: Iterable[Rule],
    tensors: Tensors,
    abstract: PyTree,
    *,
    made: Mapping[str, Tensor],
    put: Put,
) -> PyTree:
    """Parameters of a model, one tensor at a time.

    Args:
      rules: the table.
      tensors: by the names of the table.
      abstract: the parameters' shapes and dtypes.
      made: parameters that no tensor holds.
      put: places each as it comes.

    Raises:
      ValueError: a tensor is missing, has another shape, or a parameter has no rule.
    """
    wanted = {path_name(path): leaf for path, leaf in _leaves(abstract)}
    found = {path: put(path, _cast(path, array, wanted)) for path, array in made.items()}
    names = set(tensors.names)
    for rule in rules:
        if rule.theirs not in names:
            raise _missing(rule.theirs, tensors.names)
        whole = rule.form.read(tensors.read(rule.theirs))
        for path, part in zip(rule.paths, _parts(rule, whole, wanted), strict=True):
            found[path] = put(path, _cast(path, part, wanted, rule.theirs))
    lacking = sorted(set(wanted) - set(found))
    if lacking:
        raise ValueError(
            f"The table of names must make all parameters; none of its rules makes {lacking[0]}."
        )
    return jax.tree_util.tree_map_with_path(lambda path, leaf: found[path_name(path)], abstract)


def zeros(paths: Iterable[str], abstract: PyTree) -> dict[str, Tensor]:
    """Parameters that are zeros, by their paths."""
    leaves = {path_name(path): leaf for path, leaf in _leaves(abstract)}
    return {path: np.zeros(leaves[path].shape, np.float32) for path in paths}


def write(rules: Iterable[Rule], params: PyTree) -> dict[str, Tensor]:
    """Their tensors by name, of our parameters."""
    ours = {path_name(path): leaf for path, leaf in _leaves(params)}
    found = {}
    for rule in rules:
        parts = [np.asarray(ours[path], np.float32) for path in rule.paths]
        whole = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)
        found[rule.theirs] = np.ascontiguousarray(rule.form.write(whole))
    return found


def check_all_used(rules: Iterable[Rule], names: Iterable[str], ignored: Iterable[str]) -> None:
    """Raises ValueError where a checkpoint holds what no rule reads."""
    known, patterns = {rule.theirs for rule in rules}, [re.compile(x) for x in ignored]
    extra = [n for n in names if n not in known and not any(p.fullmatch(n) for p in patterns)]
    if extra:
        more = f" and {len(extra) - 1} others" if len(extra) > 1 else ""
        raise ValueError(
            f"A checkpoint must hold what its config.json says; nothing here reads {extra[0]}"
            f"{more}. The model has a part that is not known yet, or the two files are not a pair."
        )


def _leaves(tree: PyTree) -> list[tuple[tuple, Any]]:
    return jax.tree_util.tree_flatten_with_path(tree)[0]


def _parts(rule: Rule, whole: Tensor, wanted: Mapping[str, Any]) -> list[Tensor]:
    if len(rule.paths) == 1:
        return [whole]
    ends = np.cumsum([wanted[path].shape[-1] for path in rule.paths])
    if ends[-1] != whole.shape[-1]:
        raise ValueError(
            f"{rule.theirs} must hold {len(rule.paths)} arrays side by side, {ends[-1]} wide; got "
            f"shape {whole.shape}. The weights and their config.json are not a pair."
        )
    return np.split(whole, ends[:-1], axis=-1)


def _cast(path: str, array: Tensor, wanted: Mapping[str, Any], theirs: str = "") -> Tensor:
    leaf = wanted.get(path)
    if leaf is None:
        raise ValueError(f"The model must have the parameter {path}, which {theirs} makes.")
    if tuple(array.shape) != tuple(leaf.shape):
        raise ValueError(
            f"{theirs or path} must have shape {tuple(leaf.shape)}, as config.json says; got "
            f"{tuple(array.shape)}. The weights and their config.json are not a pair."
        )
    return np.asarray(array, leaf.dtype)


def _missing(name: str, names: tuple[str, ...]) -> ValueError:
    near = difflib.get_close_matches(name, names, n=1)
    meant = f" The nearest is {near[0]}." if near else ""
    return ValueError(
        f"A checkpoint must hold {checks.said(name)}, which it lacks; it has {len(names)} "
        f"tensors.{meant} Fetch it anew, or take that of a model with this config.json."
    )
