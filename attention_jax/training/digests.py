"""Arrays by path, and checksums of arrays and texts, by which damaged checkpoints are told."""

import hashlib
from collections.abc import Callable, Mapping

import jax
import numpy as np
from jaxtyping import PyTree

Arrays = Mapping[str, jax.Array | np.ndarray]  # by path


def by_path(tree: PyTree) -> dict[str, PyTree]:
    """Leaves of a pytree by path, without empty ones, which Orbax cannot save."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): x for path, x in leaves if np.prod(np.shape(x))}


def sha256(text: str) -> str:
    """The SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def shapes(arrays: Arrays) -> dict[str, str]:
    """Types and shapes of arrays by path."""
    return {name: f"{x.dtype}{list(x.shape)}" for name, x in arrays.items()}


def digest(
    arrays: Arrays,
    bring: Callable[[jax.Array | np.ndarray], np.ndarray] = np.ascontiguousarray,
) -> str:
    """The SHA-256 of arrays by path, which `bring` brings to the host one by one."""
    found = hashlib.sha256()
    for name in sorted(arrays):
        x = bring(arrays[name])
        found.update(f"{name} {x.dtype} {x.shape} ".encode())
        found.update(x.reshape(-1).view(np.uint8))
    return found.hexdigest()
