"""Input pipelines: file readers, tokenizers, datasets, synthetic tasks and resumable batching."""

from attention_jax.data import tasks
from attention_jax.data.batching import Batches, BucketedBatches, encode_examples
from attention_jax.data.text_windows import AllWindows, RandomWindows
from attention_jax.data.tokenizer import Tokenizer
from attention_jax.data.types import (
    Example,
    ImageBatch,
    Seq2SeqBatch,
    SeriesBatch,
    Task,
    TokenBatch,
)

__all__ = [
    "AllWindows",
    "Batches",
    "BucketedBatches",
    "Example",
    "ImageBatch",
    "RandomWindows",
    "Seq2SeqBatch",
    "SeriesBatch",
    "Task",
    "TokenBatch",
    "Tokenizer",
    "encode_examples",
    "tasks",
]
