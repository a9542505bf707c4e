"""Parameters of a model as the live page has them: in 16 bits, by their paths."""

import base64

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from attention_jax.core.types import Params

_LARGEST = 65504.0  # of float16


def parameters(model: nnx.Module) -> dict[str, np.ndarray]:
    """The parameters by their paths, in float16; layers of a loop one by one."""
    return {path: x.astype(np.float16) for path, x in _flat(model).items()}


def rounded(params: Params) -> Params:
    """Parameters as the page has them: rounded to float16, in float32."""
    return jax.tree.map(lambda x: x.astype(jnp.float16).astype(jnp.float32), params)


def packed(model: nnx.Module) -> str:
    """The parameters of a model as the page reads them: one after another, as base64."""
    arrays = parameters(model)
    return base64.b64encode(b"".join(x.astype("<f2").tobytes() for x in arrays.values())).decode()


def fits(model: nnx.Module) -> bool:
    """True where 16 bits can hold every parameter."""
    return all(np.abs(x).max(initial=0) <= _LARGEST for x in _flat(model).values())


def shapes(model: nnx.Module) -> list[list[object]]:
    """Path and shape of each parameter, in the order of `packed`."""
    return [[path, list(array.shape)] for path, array in parameters(model).items()]


def _flat(model: nnx.Module) -> dict[str, np.ndarray]:
    state = nnx.as_pure(nnx.split(model, nnx.Param, ...)[1])
    found: dict[str, np.ndarray] = {}
    for keys, leaf in jax.tree_util.tree_leaves_with_path(state):
        names = [str(getattr(key, "key", getattr(key, "idx", key))) for key in keys]
        array = np.asarray(leaf, np.float32)
        stack = _stack_of(model, names)
        if stack is None:
            found["/".join(names)] = array
            continue
        for n, own in enumerate(array):
            found["/".join([*names[:stack], str(n), *names[stack:]])] = own
    return found


def _stack_of(model: nnx.Module, names: list[str]) -> int | None:
    """Where the layer's number goes in the path of a parameter that a loop has for all layers."""
    node: object = model
    for at, name in enumerate(names):
        if getattr(node, "scan", False) and name == "layers":
            return at + 1
        node = node[int(name)] if name.isdigit() else getattr(node, name, None)  # ty: ignore
    return None
