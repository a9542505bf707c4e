"""Batched encoding of texts: a vector of each, or the words that stand for masks in them.

encode = TextReader(graphdef, tokenizer, longest=512)
encode.vectors(params, ["The queen sleeps.", "A king is asleep."])        # [2 m]
"""

from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from attention_jax.core.types import Params
from attention_jax.data.batching import rounded_up
from attention_jax.data.tokenizer import Tokenizer
from attention_jax.data.types import BOS, EOS, PAD
from attention_jax.decoding.batched import in_batches
from attention_jax.parallel.placement import fetch

MASKS = ("[MASK]", "<mask>")


class TextReader:
    """Reads texts with an encoder; compiled once for each padded length.

    A text stands between the tokenizer's begin and end, where it has such. Every batch has `rows`
    rows, so that an answer does not depend on the other texts of the call.

    Args:
      graphdef: graph of the model, a `models.TextEncoder`.
      tokenizer: of its texts.
      longest: tokens that the model reads at most; what is beyond is cut.
      pooling: how a vector is made of states, as `TextEncoder.vectors` takes it.
      rows: texts in a batch.

    Attributes:
      mask: the token that stands for a masked one, and its name in texts; None where there is none.
    """

    def __init__(
        self,
        graphdef: nnx.GraphDef,
        tokenizer: Tokenizer,
        *,
        longest: int,
        pooling: str = "mean",
        rows: int = 8,
    ):
        self.graphdef, self.tokenizer = graphdef, tokenizer
        self.longest, self.pooling, self.rows = longest, pooling, rows
        names = {name: i for i, name in enumerate(tokenizer.tokens(range(tokenizer.size)))}
        found = [(names[name], name) for name in MASKS if name in names]
        self.mask = found[0] if found else None
        theirs = tokenizer.theirs if tokenizer.is_given else range(EOS + 1)
        self._ends = [[x] if theirs[x] is not None else [] for x in (BOS, EOS)]
        self._pool, self._guess = jax.jit(self._vectors), jax.jit(self._guesses)

    def tokens(self, text: str) -> list[int]:
        """The ids of a text, with its ends; masks are tokens of their own, and what is long is cut.

        What stands before a mask loses its last spaces, as `transformers` reads it.
        """
        begin, end = self._ends
        return [*begin, *self._inside(text)[: self.longest - len(begin) - len(end)], *end]

    def is_cut(self, text: str) -> bool:
        """True where the model does not read all of a text."""
        return len(self._inside(text)) + sum(map(len, self._ends)) > self.longest

    def _inside(self, text: str) -> list[int]:
        if self.mask is None:
            return self.tokenizer.encode(text)
        token, name = self.mask
        *before, last = text.split(name)
        ids = [i for part in before for i in (*self.tokenizer.encode(part.rstrip()), token)]
        return [*ids, *self.tokenizer.encode(last)]

    def vectors(self, params: Params, texts: Sequence[str]) -> Float[np.ndarray, "n m"]:
        """A vector of each text."""
        return np.stack(self._read(self._pool, params, texts))

    def words(self, params: Params, text: str) -> Float[np.ndarray, "k v"]:
        """The log-probability of each token at each mask of a text, in their order.

        Raises:
          ValueError: it has none.
        """
        mask, name = self.mask or (PAD, MASKS[0])
        at = [i for i, token in enumerate(self.tokens(text)) if self.mask and token == mask]
        if not at:
            raise ValueError(
                f"`text` must hold {name} where words are to be guessed; got {text[:40]!r}. Write "
                "it there."
            )
        (found,) = self._read(self._guess, params, [text])
        return found[at]

    def _read(
        self, program: Callable[..., Array], params: Params, texts: Sequence[str]
    ) -> list[np.ndarray]:
        ids = [self.tokens(text) for text in texts]
        lengths = [min(rounded_up(len(own)), self.longest) for own in ids]
        return in_batches(ids, lengths, partial(self._batch, program, params), rows=self.rows)

    def _batch(
        self, program: Callable[..., Array], params: Params, ids: list[list[int]], length: int
    ) -> np.ndarray:
        tokens = np.full((self.rows, length), PAD, np.int32)
        for row, own in zip(tokens, ids, strict=False):
            row[: len(own)] = own
        real = (
            np.arange(length) < np.array([*map(len, ids), *[1] * (self.rows - len(ids))])[:, None]
        )
        return fetch(program(params, tokens, real))[: len(ids)]

    def _vectors(self, params: Params, tokens: Array, mask: Array) -> Float[Array, "b m"]:
        return nnx.merge(self.graphdef, params).vectors(tokens, mask, pooling=self.pooling)

    def _guesses(self, params: Params, tokens: Array, mask: Array) -> Float[Array, "b s v"]:
        logits = nnx.merge(self.graphdef, params).guesses(tokens, mask)
        return jax.nn.log_softmax(logits.astype(jnp.float32))
