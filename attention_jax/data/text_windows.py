"""Windows of a text as batches for language models.

training = RandomWindows(tokens[:n], rows=12, length=64, seed=0)
validation = AllWindows(tokens[n:], rows=64, length=64)
"""

from collections.abc import Iterator, Sequence

import numpy as np

from attention_jax.core import checks
from attention_jax.core.plain_types import typed_calls
from attention_jax.data.types import TokenBatch

_STEPS = 100_000_000  # grain fixes the length of its pipeline: more steps than anyone will run


class RandomWindows:
    """Windows at random positions: batch i is drawn from `(seed, i)` alone.

    Attributes:
      batches_per_epoch: number of batches with as many tokens as the text.

    Args:
      tokens: the text, as ids.
      rows: windows in a batch.
      length: tokens in a window.
      seed: seed of the positions.

    Raises:
      ValueError: the text is too short for a window and the token after it.
    """

    @typed_calls
    def __init__(self, tokens: Sequence[int] | np.ndarray, *, rows: int, length: int, seed: int):
        checks.natural("seed", seed)
        self._tokens = _checked(tokens, rows=rows, length=length)
        self._rows, self._length, self._seed = rows, length, seed
        self.batches_per_epoch = max(1, len(self._tokens) // (rows * length))

    def __len__(self) -> int:
        return _STEPS

    def __getitem__(self, index: int) -> TokenBatch:
        draw = np.random.default_rng((self._seed, int(index)))
        starts = draw.integers(0, len(self._tokens) - self._length, self._rows)
        spans = self._tokens[starts[:, None] + np.arange(self._length + 1)]
        return TokenBatch(spans[:, :-1], spans[:, 1:], np.ones(spans[:, 1:].shape, np.float32))

    def epoch(self, number: int = 0) -> Iterator[TokenBatch]:
        """Batches with as many tokens as the text."""
        first = number * self.batches_per_epoch
        return (self[first + i] for i in range(self.batches_per_epoch))


class AllWindows:
    """Adjacent windows: each token but the first is predicted once an epoch.

    Padding of the last batch has weight 0. Arguments and errors are those of `RandomWindows`.
    """

    @typed_calls
    def __init__(self, tokens: Sequence[int] | np.ndarray, *, rows: int, length: int):
        tokens = _checked(tokens, rows=rows, length=length)
        count = -(-(len(tokens) - 1) // length)
        self.batches_per_epoch, self._rows = -(-count // rows), rows
        size = self.batches_per_epoch * rows * length
        weights = (np.arange(size) < len(tokens) - 1).astype(np.float32)
        parts = np.resize(tokens[:-1], size), np.resize(tokens[1:], size), weights
        self._windows = TokenBatch(*(part.reshape(-1, length) for part in parts))

    def __len__(self) -> int:
        return self.batches_per_epoch

    def __getitem__(self, index: int) -> TokenBatch:
        first = int(index) * self._rows
        return TokenBatch(*(part[first : first + self._rows] for part in self._windows))

    def epoch(self, number: int = 0) -> Iterator[TokenBatch]:
        """The whole text, once."""
        del number
        return (self[i] for i in range(self.batches_per_epoch))


def _checked(tokens: Sequence[int] | np.ndarray, *, rows: int, length: int) -> np.ndarray:
    checks.positive("rows", rows)
    checks.positive("length", length)
    whole = np.asarray(tokens)
    if whole.ndim != 1 or not np.issubdtype(whole.dtype, np.integer):
        raise ValueError(
            f"`tokens` must be whole numbers, one after another; got {whole.dtype}"
            f"{list(whole.shape)}. Make them by `Tokenizer.encode`."
        )
    if len(tokens) <= length:
        raise ValueError(
            f"`tokens` must hold more than the {length} of a window; got {len(tokens)}. Use a "
            "longer text, or shorter windows."
        )
    return np.asarray(tokens, np.int32)
