"""Flax NNX layers: multi-head attention, Transformer blocks, recurrent cells, patch and audio
front ends."""

from attention_jax.core.rotary import Grid, Rotary, Scaling
from attention_jax.core.sinusoids import Sinusoids
from attention_jax.nn.attention import CrossAttentionCache, MultiHeadAttention
from attention_jax.nn.feed_forward import FeedForward
from attention_jax.nn.flax_calls import attention_function
from attention_jax.nn.heads import Heads
from attention_jax.nn.layers import Embedding, Linear, Stack
from attention_jax.nn.patches import ImageConfig
from attention_jax.nn.pooling import AttentionPooling
from attention_jax.nn.protocols import Classifier, EncoderOutput, Language, Seq2Seq
from attention_jax.nn.recurrence import Recurrence
from attention_jax.nn.recurrent import RNNConfig
from attention_jax.nn.transformer import TransformerConfig
from attention_jax.nn.transformer_layers import EncoderLayer

__all__ = [
    "AttentionPooling",
    "Classifier",
    "CrossAttentionCache",
    "Embedding",
    "EncoderLayer",
    "EncoderOutput",
    "FeedForward",
    "Grid",
    "Heads",
    "ImageConfig",
    "Language",
    "Linear",
    "MultiHeadAttention",
    "RNNConfig",
    "Recurrence",
    "Rotary",
    "Scaling",
    "Seq2Seq",
    "Sinusoids",
    "Stack",
    "TransformerConfig",
    "attention_function",
]
