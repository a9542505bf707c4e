"""Training steps of language models of nanoGPT's sizes, on random tokens, for the GPU suite."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from attention_jax.data.types import TokenBatch
from attention_jax.models import language
from attention_jax.nn.transformer import TransformerConfig
from attention_jax.training import loop, objectives
from attention_jax.training.config import TrainConfig
from experiments.benchmark.rows import failure
from experiments.common import timing

# Settings and numbers of a row, by name.
Row = dict[str, Any]
# Updates of a turn: the clock waits for the last of them.
UPDATES = 5


class Sizes(NamedTuple):
    """A model, and windows of tokens in a batch."""

    width: int
    layers: int
    heads: int
    vocabulary: int
    context: int
    windows: int


def sizes(small: bool) -> dict[str, Sizes]:
    """Models of nanoGPT, by name; 124 and 350 million parameters."""
    if small:
        return {"nanoGPT tiny": Sizes(32, 2, 2, 100, 128, 2)}
    return {
        "nanoGPT small": Sizes(768, 12, 12, 50_304, 1024, 12),
        "nanoGPT medium": Sizes(1024, 24, 16, 50_304, 1024, 8),
    }


def measure(name: str, size: Sizes, repeats: int) -> Iterator[Row]:
    """One row: seconds an update in bfloat16."""
    row = {"kind": "training", "case": name, "dtype": "bfloat16"} | size._asdict()
    try:
        step = training_step(size)
        own = timing.repeated(step, repeats)
    except Exception as error:  # of any library; the suite goes on
        yield row | {"failed": failure(error)}
        return
    seconds = own.median / UPDATES
    tokens = size.windows * size.context
    yield row | {
        "seconds": seconds,
        "first_seconds": own.first,
        "tokens_per_second": tokens / seconds,
    }


def training_step(size: Sizes) -> Any:
    """`UPDATES` updates, as `training.fit` makes them."""
    network = TransformerConfig(
        vocabulary_size=size.vocabulary,
        width=size.width,
        layers=size.layers,
        heads=size.heads,
        feed_forward=4 * size.width,
        positions="learned",
        activation="gelu",
        dropout_rate=0.0,
        max_length=size.context,
        dtype="bfloat16",
    )
    settings = TrainConfig(steps=1000, optimizer="adamw", learning_rate=6e-4, weight_decay=0.1)
    state, update = loop.stepper(
        lambda key: language.build(network, rngs=nnx.Rngs(key)), settings, objectives.next_token
    )
    shape = size.windows, size.context + 1
    tokens = jax.random.randint(jax.random.key(0), shape, 0, size.vocabulary)
    batch = TokenBatch(tokens[:, :-1], tokens[:, 1:], jnp.ones((shape[0], shape[1] - 1)))
    held = [state]

    def step() -> jax.Array:
        totals: Any = None
        for _ in range(UPDATES):
            held[0], totals = update(held[0], batch)
        return totals.loss

    return step
