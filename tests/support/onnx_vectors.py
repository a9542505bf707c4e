"""Test vectors of the `onnx` package: nodes with inputs and the outputs that they must give."""

import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from attention_jax.engine import onnx_operator

MODULES = ("attention", "rotaryembedding", "linear_attention", "flexattention")
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "Attention": onnx_operator.attention,
    "RotaryEmbedding": onnx_operator.rotary_embedding,
    "LinearAttention": onnx_operator.linear_attention,
    "FlexAttention": onnx_operator.flex_attention,
}
# What rounding leaves, in the package's own computation too: it rounds after each operation.
TOLERANCES = {"float64": 1e-6, "float32": 1e-5, "float16": 2e-3, "bfloat16": 2e-2}


class Vector(NamedTuple):
    """One node, its inputs by position, and its outputs."""

    operator: str
    node: Any
    inputs: list[np.ndarray]
    outputs: list[np.ndarray]


def load() -> dict[str, Vector]:
    """The vectors of the four operators by name; those of their function bodies are left out."""
    cases = importlib.import_module("onnx.backend.test.case.node")
    state = np.random.get_state()
    np.random.seed(0)
    for name in MODULES:
        importlib.import_module(f"{cases.__name__}.{name}")
    np.random.set_state(state)
    found = {}
    for case in cases._NodeTestCases:
        node = case.model.graph.node[0]
        if len(case.model.graph.node) == 1 and node.op_type in FUNCTIONS:
            ((inputs, outputs),) = case.data_sets
            found[case.name] = Vector(node.op_type, node, list(inputs), list(outputs))
    return found


def differences(vector: Vector) -> list[str]:
    """Outputs that are not those of the vector, in words."""
    attributes = {name: _plain(x) for name, x in _attributes(vector.node).items()}
    if vector.operator == "Attention" and len(vector.node.output) > 3:
        attributes.setdefault("qk_matmul_output_mode", 0)
    given = iter(vector.inputs)
    inputs = [next(given) if name else None for name in vector.node.input]
    with jax.enable_x64(True):  # positions have 64 bits, and some softmaxes
        call = jax.jit(lambda inputs: FUNCTIONS[vector.operator](*inputs, **attributes))
        got = call([None if x is None else jnp.asarray(x) for x in inputs])
    every = got if isinstance(got, tuple) else (got,)
    asked = [x for name, x in zip(vector.node.output, every, strict=False) if name]
    pairs = zip(asked, vector.outputs, strict=True)
    return [f"output {n}: {x}" for n, pair in enumerate(pairs) if (x := _difference(*pair))]


def _attributes(node: Any) -> dict[str, Any]:
    helper = importlib.import_module("onnx.helper")
    return {x.name: helper.get_attribute_value(x) for x in node.attribute}


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    return function_of(value) if hasattr(value, "initializer") else value


def _difference(got: jax.Array, expected: np.ndarray) -> str:
    if got.shape != expected.shape or str(got.dtype) != str(expected.dtype):
        return f"{got.dtype}{got.shape} for {expected.dtype}{expected.shape}"
    tolerance = TOLERANCES[str(got.dtype)]
    one, other = (np.asarray(x, np.float64) for x in (got, expected))
    if np.allclose(one, other, rtol=tolerance, atol=tolerance):
        return ""
    return f"off by {np.abs(one - other).max():.3g}"


def function_of(graph: Any) -> Callable[[jax.Array], jax.Array]:
    """The function of a modifier's graph, of the few operations that the vectors have."""
    to_array = importlib.import_module("onnx.numpy_helper").to_array
    fixed = {x.name: to_array(x) for x in graph.initializer}

    def run(x: jax.Array) -> jax.Array:
        values: dict[str, Any] = {**fixed, graph.input[0].name: x}
        with jax.numpy_rank_promotion("allow"):  # as in ONNX
            for node in graph.node:
                inputs = [values[name] for name in node.input]
                values[node.output[0]] = _OPERATIONS[node.op_type](*inputs, **_attributes(node))
        return values[graph.output[0].name]

    return run


def _cast(x: np.ndarray, to: int) -> np.ndarray:
    helper = importlib.import_module("onnx.helper")
    return np.asarray(x, helper.tensor_dtype_to_np_dtype(to))


_OPERATIONS: dict[str, Callable[..., Any]] = {
    "Add": lambda x, y: x + y,
    "Sub": lambda x, y: x - y,
    "Mul": lambda x, y: x * y,
    "Div": lambda x, y: x / y,
    "Tanh": jnp.tanh,
    "Where": jnp.where,
    "GreaterOrEqual": lambda x, y: x >= y,
    "Shape": lambda x: np.asarray(x.shape, np.int64),
    "Gather": lambda x, at, axis: np.take(x, at, axis),
    "Range": lambda first, end, step: np.arange(first, end, step),
    "Reshape": lambda x, shape: x.reshape([int(n) for n in shape]),
    "Cast": _cast,
}
