"""Operators of ONNX, with their inputs in their order and their attributes by their names.

| function | operator | opset |
|---|---|---|
| `attention` | `Attention` | 23 to 25 |
| `rotary_embedding` | `RotaryEmbedding` | 23 |
| `linear_attention` | `LinearAttention` | 27 |
| `flex_attention` | `ai.onnx.preview::FlexAttention` | 1 |

They are functions of arrays, so that a graph's nodes can be run, differentiated and compared in
JAX; reading a graph is left to the caller. Each is tested on all vectors of the `onnx` package.
"""

from attention_jax.engine.onnx_attention import Outputs, ScoredOutputs, attention
from attention_jax.engine.onnx_flex_attention import flex_attention
from attention_jax.engine.onnx_linear_attention import linear_attention
from attention_jax.engine.onnx_rotary_embedding import rotary_embedding

__all__ = [
    "Outputs",
    "ScoredOutputs",
    "attention",
    "flex_attention",
    "linear_attention",
    "rotary_embedding",
]
