"""Bucketed, padded, resumable batches of sentence pairs.

batches = BucketedBatches(encode_examples(task.train, tokenizer),
                          tokens_per_batch=4096, max_length=128)
iterator = pipeline(batches)
batch = next(iterator)          # iterator.get_state() and .set_state(...) resume it
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from attention_jax.core import checks, plain_types
from attention_jax.core.extras import needed
from attention_jax.core.plain_types import typed_calls
from attention_jax.data.types import BOS, EOS, PAD, Example, Seq2SeqBatch

with needed("train"):
    import grain


Batch = Any  # a pytree of arrays, with `weights`


@runtime_checkable
class Batches(Protocol):
    """Interface of training data: the batches of all epochs, with random access.

    Each is a pytree of arrays with `weights`, 1 on predictions that count and 0 on padding.
    """

    batches_per_epoch: int

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Any: ...

    def epoch(self, number: int = 0) -> Iterator: ...


@runtime_checkable
class ByRows(Protocol):
    """Interface of batches that can read some rows of a batch without the others."""

    def rows(self, index: int) -> int:
        """Rows of a batch."""
        ...

    def some(self, index: int, rows: slice) -> Batch:
        """So many rows of it; those beyond its own are empty, with weight 0."""
        ...


class Part(NamedTuple):
    """Rows of a batch that one process reads, and how many the batch has."""

    batch: Any
    rows: int


class OwnRows:
    """Batches of which a process reads its own rows; all processes together read each row once.

    Args:
      batches: of all processes.
      own: `(rows) -> (filled, slice)`: to how many rows a batch is filled up, and those of this
        process.
    """

    def __init__(self, batches: Batches, own: Callable[[int], tuple[int, slice]]):
        self._batches, self._own = batches, own

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, index: int) -> Part:
        if isinstance(self._batches, ByRows):
            filled, rows = self._own(self._batches.rows(index))
            return Part(self._batches.some(index, rows), filled)
        batch = self._batches[index]
        filled, rows = self._own(len(batch.weights))
        return Part(_cut(batch, rows), filled)


def _cut(batch: Any, rows: slice) -> Any:
    """Rows of a batch, and empty ones for those beyond its end."""

    def some(x: np.ndarray) -> np.ndarray:
        own = x[rows]
        empty = np.zeros((rows.stop - rows.start - len(own), *x.shape[1:]), x.dtype)
        return np.concatenate([own, empty])

    return type(batch)(*map(some, batch))


_MULTIPLE = 8
Pair = tuple[Sequence[int], Sequence[int]]  # source and target ids, without BOS and EOS

# grain fixes the length of its pipeline at the start: more epochs than anyone will run.
EPOCHS = 1_000_000


@runtime_checkable
class Encoder(Protocol):
    """The part of a tokenizer that is needed here."""

    def encode(self, text: str) -> list[int]: ...


@typed_calls
def encode_examples(examples: Iterable[Example], tokenizer: Encoder) -> list[Pair]:
    """Ids of each source and of its first reference, without special tokens."""
    encode_target = getattr(tokenizer, "encode_target", tokenizer.encode)
    return [
        (tokenizer.encode(example.source), encode_target(example.references[0]))
        for example in examples
    ]


@typed_calls
def default_boundaries(max_length: int) -> tuple[int, ...]:
    """Bucket lengths 8, 12, 16, 24, 32, 48, ... up to `max_length`, which is always the last.

    Each is at most 1.5 times the one before, so at most a third of a row's longer side is padding.
    """
    checks.positive("max_length", max_length)
    steps = (base << power for power in range(max_length.bit_length()) for base in (8, 12))
    return (*(length for length in steps if length < max_length), max_length)


class BucketedBatches:
    """Batches of all epochs, bucketed by length, with random access: item i is a whole batch.

    A pair goes to the first bucket whose length holds `max(len(source), len(target)) + 1` tokens,
    the additional one being EOS of the source and BOS or EOS of the target. A bucket of length n
    has `max(1, tokens_per_batch // n)` rows. No pair is dropped: the last batch of a bucket is
    padded with empty rows of weight 0. Each epoch regroups the pairs of a bucket and reorders the
    batches, both drawn from `(seed, epoch)` alone.

    Attributes:
      boundaries: lengths of the buckets in use.
      batches_per_epoch: number of batches that hold each pair once.
      too_long: number of pairs left out, being longer than `max_length`.

    Args:
      pairs: source and target ids without special tokens, as `encode_examples` makes them.
      tokens_per_batch: bound of rows times bucket length, on each side.
      max_length: longest side that is kept, EOS included.
      seed: seed of the order.
      shuffle: shuffles; otherwise every epoch goes through the buckets in order.
      boundaries: increasing bucket lengths that end in `max_length`; by default
        `default_boundaries(max_length)`.
      lengths: length of each pair, if it is not counted in tokens.
      collate: `(pairs, *, rows, length) -> batch` for pairs that are not ids; by default `pad`.

    Raises:
      ValueError: an argument is out of range, or no pair is short enough.
    """

    @typed_calls
    def __init__(
        self,
        pairs: Sequence[tuple],
        *,
        tokens_per_batch: int,
        max_length: int,
        seed: int = 0,
        shuffle: bool = True,
        boundaries: Sequence[int] | None = None,
        lengths: Sequence[int] | None = None,
        collate: Callable | None = None,
    ):
        boundaries = default_boundaries(max_length) if boundaries is None else tuple(boundaries)
        _check_sizes(tokens_per_batch, max_length, boundaries)
        checks.natural("seed", seed)
        if lengths is not None and len(lengths) != len(pairs):
            raise ValueError(
                f"`lengths` must hold one for each of `pairs`; got {len(lengths)} for {len(pairs)}."
            )
        sizes = lengths
        if sizes is None:
            sizes = [max(len(source), len(target)) + 1 for source, target in pairs]
        counted = np.array(sizes, int)
        self.too_long = int(np.sum(counted > max_length))
        if self.too_long == len(pairs):
            raise ValueError(
                f"`pairs` must hold a pair of at most max_length={max_length} tokens, EOS "
                f"included; got {len(pairs)} pairs, the shortest of "
                f"{min(sizes, default=0)} tokens. Raise `max_length`."
            )
        self._pairs, self._seed, self._shuffle = pairs, seed, shuffle
        self._collate = pad if collate is None else collate
        bucket_of = np.searchsorted(boundaries, counted)
        members = [np.flatnonzero(bucket_of == bucket) for bucket in range(len(boundaries))]
        self._buckets = [
            (length, max(1, tokens_per_batch // length), inside)
            for length, inside in zip(boundaries, members, strict=True)
            if len(inside)
        ]
        self.boundaries = tuple(length for length, _, _ in self._buckets)
        self.batches_per_epoch = sum(-(-len(inside) // rows) for _, rows, inside in self._buckets)
        self._planned: tuple[int, list] = (-1, [])

    def __len__(self) -> int:
        return EPOCHS * self.batches_per_epoch

    def __getitem__(self, index: int) -> Any:
        return self.some(index, slice(0, self.rows(index)))

    def rows(self, index: int) -> int:
        """Rows of a batch, empty ones included."""
        return self._planned_batch(index)[1]

    def some(self, index: int, rows: slice) -> Batch:
        """Some rows of a batch; those beyond its own are empty."""
        length, _, members = self._planned_batch(index)
        count = rows.stop - rows.start
        return self._collate([self._pairs[i] for i in members[rows]], rows=count, length=length)

    def _planned_batch(self, index: int) -> tuple[int, int, np.ndarray]:
        """Length, rows and members of a batch."""
        epoch, position = divmod(int(index), self.batches_per_epoch)
        planned, plan = self._planned
        if planned != epoch:
            plan = self._plan(epoch)
            self._planned = epoch, plan
        return plan[position]

    def epoch(self, number: int = 0) -> Iterator:
        """Batches of one epoch, with each pair once."""
        first = number * self.batches_per_epoch
        return (self[first + i] for i in range(self.batches_per_epoch))

    def _plan(self, epoch: int) -> list[tuple[int, int, np.ndarray]]:
        generator = np.random.default_rng((self._seed, epoch))
        plan = []
        for length, rows, inside in self._buckets:
            order = generator.permutation(inside) if self._shuffle else inside
            plan += [(length, rows, order[i : i + rows]) for i in range(0, len(order), rows)]
        if not self._shuffle:
            return plan
        return [plan[i] for i in generator.permutation(len(plan))]


def rounded_up(length: int) -> int:
    """A padded length: a multiple of 8, so that sentences of similar lengths share a program.

    >>> rounded_up(8), rounded_up(9)
    (8, 16)
    """
    return -(-length // _MULTIPLE) * _MULTIPLE


@typed_calls
def pad(pairs: Sequence[Pair], *, rows: int, length: int) -> Seq2SeqBatch:
    """A padded batch of `rows` rows and `length` columns; rows beyond the pairs stay empty."""
    plain_types.sizes(rows=rows, length=length)
    longest = max((max(len(x), len(y)) + 1 for x, y in pairs), default=0)
    if len(pairs) > rows or longest > length:
        raise ValueError(
            "`rows` and `length` must hold all pairs, and the longest side with its end; got "
            f"rows={rows} and length={length} for {len(pairs)} pairs of up to {longest}. Raise it."
        )
    source, target_in, target_out = np.full((3, rows, length), PAD, np.int32)
    source_mask = np.zeros((rows, length), bool)
    weights = np.zeros((rows, length), np.float32)
    for row, (x, y) in enumerate(pairs):
        source[row, : len(x) + 1] = *x, EOS
        target_in[row, : len(y) + 1] = BOS, *y
        target_out[row, : len(y) + 1] = *y, EOS
        source_mask[row, : len(x) + 1] = True
        weights[row, : len(y) + 1] = 1.0
    return Seq2SeqBatch(source, source_mask, target_in, target_out, weights)


def pipeline(batches: Batches | OwnRows) -> grain.DatasetIterator:
    """An endless iterator over `batches`, with `get_state` and `set_state` (both plain JSON)."""
    # The data are in memory: with grain's threads a batch takes six times as long.
    options = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)
    return iter(grain.MapDataset.source(batches).to_iter_dataset(options))


def _check_sizes(tokens_per_batch: int, max_length: int, boundaries: tuple[int, ...]) -> None:
    checks.positive("max_length", max_length)
    checks.positive("tokens_per_batch", tokens_per_batch)
    if list(boundaries) != sorted(set(boundaries)) or boundaries[-1:] != (max_length,):
        raise ValueError(
            f"`boundaries` must increase and end in max_length={max_length}; got {boundaries}."
        )
