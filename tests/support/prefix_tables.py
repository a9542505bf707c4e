"""Tables of logits for every prefix there can be, which decoding can be checked against."""

import jax
import jax.numpy as jnp
import numpy as np

from attention_jax.data.types import BOS, EOS, PAD
from attention_jax.decoding import search

VOCABULARY, LENGTH = 5, 4  # PAD, BOS, EOS and two words
WORDS = (3, 4)


def tables(rows: int, seed: int = 0) -> np.ndarray:
    """[rows prefixes v] logits; the code of a prefix is its base-v number, BOS first."""
    normal = np.random.default_rng(seed).normal
    return 2 * normal(size=(rows, VOCABULARY ** (LENGTH + 1), VOCABULARY)).astype(np.float32)


def start(table: np.ndarray) -> dict:
    return {"table": jnp.asarray(table), "prefix": jnp.zeros(len(table), jnp.int32)}


def step(state, token):
    prefix = state["prefix"] * VOCABULARY + token
    logits = jnp.take_along_axis(state["table"], prefix[:, None, None], axis=1)[:, 0]
    return {"table": state["table"], "prefix": prefix}, logits


def decode(method, step, state, **options) -> search.DecodingResult:
    """By one program: op by op, each op would be compiled by itself."""
    return jax.jit(lambda state: getattr(search, method)(step, state, **options))(state)


def log_probability(table: np.ndarray, sentence: tuple[int, ...]) -> float:
    """log p(y) = Σ_i log softmax(logits(y[<i]))[y[i]], over all of the vocabulary, in float64."""
    prefix, total = BOS, 0.0
    for token in sentence:
        logits = table[prefix].astype(np.float64)
        total += logits[token] - np.log(np.exp(logits).sum())
        prefix = prefix * VOCABULARY + token
    return total


def sentences(decoded: search.DecodingResult, row: int) -> list[tuple[int, ...]]:
    """The sentences of one row, having checked that only PAD follows them."""
    found = []
    for tokens, length in zip(decoded.tokens[row].tolist(), decoded.lengths[row], strict=True):
        assert set(tokens[length:]) <= {PAD}
        assert PAD not in tokens[:length] and EOS not in tokens[: length - 1]
        found.append(tuple(tokens[:length]))
    return found
