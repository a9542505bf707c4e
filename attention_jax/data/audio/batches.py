"""Recordings as batches of frames: bucketed by length, padded, and with their transcripts.

batches = make(utterances, tokenizer, Spectrogram(), frames_per_batch=8000, seed=0)
batch = batches[1000]           # a Seq2SeqBatch whose source is [b s f]
"""

from collections.abc import Sequence
from functools import partial

import jax
import numpy as np
from jaxtyping import Array, Bool, Float

from attention_jax.core import checks, plain_types
from attention_jax.core.plain_types import typed_calls
from attention_jax.data.audio import spectrogram
from attention_jax.data.audio.corpus import Utterance
from attention_jax.data.audio.spectrogram import Spectrogram
from attention_jax.data.batching import BucketedBatches, Encoder
from attention_jax.data.types import BOS, EOS, PAD, Seq2SeqBatch

# Lengths are rounded up to a multiple of this, so that few programs are compiled.
_MULTIPLE = 8

Item = tuple[Utterance, Sequence[int]]  # a recording and the ids of its transcript


@typed_calls
def make(
    utterances: Sequence[Utterance],
    tokenizer: Encoder,
    settings: Spectrogram,
    *,
    frames_per_batch: int,
    max_frames: int = 10**6,
    buckets: int = 4,
    seed: int = 0,
    shuffle: bool = True,
) -> BucketedBatches:
    """Batches of recordings, in buckets whose lengths need the least padding.

    Args:
      utterances: the recordings.
      tokenizer: tokenizer of the transcripts.
      settings: settings of the spectrogram.
      frames_per_batch: bound of rows times frames.
      max_frames: longer recordings are left out, and counted.
      buckets: largest number of different lengths.
      seed: seed of the order.
      shuffle: shuffles the batches, and the recordings within each bucket.

    Raises:
      ValueError: a recording shorter than one frame, none of at most `max_frames`, or an argument
        out of range.
    """
    checks.positive("frames_per_batch", frames_per_batch)
    lengths = [frames_of(utterance, settings) for utterance in utterances]
    kept = [length for length in lengths if length <= max_frames]
    if not kept:
        raise ValueError(
            f"`max_frames` must allow a recording; got max_frames={max_frames}, and of "
            f"{len(lengths)} recordings the shortest has {min(lengths, default=0)} frames. Raise "
            "`max_frames`."
        )
    boundaries = tight(kept, buckets)
    items = [(utterance, tokenizer.encode(utterance.transcript)) for utterance in utterances]
    longest = max(len(ids) for _, ids in items) + 1
    collate = Collate(settings, spectrogram.padded_length(longest, _MULTIPLE))
    return BucketedBatches(
        items,
        lengths=[length if length <= max_frames else boundaries[-1] + 1 for length in lengths],
        collate=collate,
        tokens_per_batch=frames_per_batch,
        max_length=boundaries[-1],
        boundaries=boundaries,
        seed=seed,
        shuffle=shuffle,
    )


@typed_calls
def frames_of(utterance: Utterance, settings: Spectrogram) -> int:
    """Number of frames of a recording.

    Raises:
      ValueError: it is shorter than a window.
    """
    frames = settings.frames(utterance.length)
    if not frames:
        raise ValueError(
            f"`audio` must last at least one window of {settings.window} samples; "
            f"{utterance.name} has {utterance.length}. Leave it out."
        )
    return frames


@typed_calls
def tight(lengths: Sequence[int], buckets: int) -> tuple[int, ...]:
    """Bucket lengths that need the least padding: multiples of 8, at most `buckets` of them.

        least[k, j] = min over i < j of least[k - 1, i] + end[j] count(end[i] < length <= end[j])

    >>> tight([10, 11, 12, 50, 99], 2)
    (16, 104)
    """
    if buckets < 1:
        raise ValueError(f"`buckets` must be at least 1; got {buckets}.")
    rounded = [spectrogram.padded_length(length, _MULTIPLE) for length in lengths]
    ends = sorted(set(rounded))
    upto = np.searchsorted(np.sort(rounded), ends, side="right")
    # For the first j ends: the least total length, and the ends that give it.
    least: list[tuple[int, tuple[int, ...]]] = [
        (end * int(count), (end,)) for end, count in zip(ends, upto, strict=True)
    ]
    for _ in range(min(buckets, len(ends)) - 1):
        least = [
            min(
                [least[j]]
                + [
                    (least[i][0] + ends[j] * int(upto[j] - upto[i]), (*least[i][1], ends[j]))
                    for i in range(j)
                ]
            )
            for j in range(len(ends))
        ]
    return least[-1][1]


class Collate:
    """Collates recordings into one padded batch of frames and ids.

    Args:
      settings: settings of the spectrogram.
      target_length: length of the ids with EOS; by default the longest of each batch, rounded up to
        a multiple of 8.
    """

    @typed_calls
    def __init__(self, settings: Spectrogram, target_length: int | None = None):
        if target_length is not None:
            checks.positive("target_length", target_length)
        self.settings, self.target_length = settings, target_length

    @typed_calls
    def __call__(self, items: Sequence[Item], *, rows: int, length: int) -> Seq2SeqBatch:
        """A batch of `rows` rows and `length` frames; rows beyond the items stay empty."""
        plain_types.sizes(rows=rows, length=length)
        if not 1 <= len(items) <= rows:
            raise ValueError(
                f"`items` must hold from 1 to rows={rows} recordings; got {len(items)}. "
                "Raise `rows`."
            )
        settings = self.settings
        samples = np.zeros((rows, settings.window + (length - 1) * settings.hop), np.float32)
        mask = np.zeros((rows, length), bool)
        t = self.target_length
        t = t or spectrogram.padded_length(max(len(ids) for _, ids in items) + 1, _MULTIPLE)
        target_in, target_out = np.full((2, rows, t), PAD, np.int32)
        weights = np.zeros((rows, t), np.float32)
        for row, (utterance, ids) in enumerate(items):
            # Samples of the last, partial hop are in no frame.
            own = utterance.samples()[: samples.shape[1]]
            samples[row, : len(own)] = own
            mask[row, : settings.frames(utterance.length)] = True
            target_in[row, : len(ids) + 1] = BOS, *ids
            target_out[row, : len(ids) + 1] = *ids, EOS
            weights[row, : len(ids) + 1] = 1.0
        frames = np.asarray(_frames(settings, samples, mask))
        return Seq2SeqBatch(frames, mask, target_in, target_out, weights)


# Of the module, so that another `Collate` of the same settings compiles nothing anew.
@partial(jax.jit, static_argnums=0)
def _frames(
    settings: Spectrogram, samples: Float[Array, "b n"], mask: Bool[Array, "b s"]
) -> Float[Array, "b s f"]:
    return spectrogram.normalized(spectrogram.log_mel(samples, settings), mask)


@typed_calls
def one(
    items: Sequence[Item],
    settings: Spectrogram,
    *,
    rows: int | None = None,
    length: int | None = None,
    target_length: int | None = None,
) -> Seq2SeqBatch:
    """A single batch of all items, as long as the longest needs unless a length is given."""
    if not items:
        raise ValueError("`items` must hold at least one recording; got none.")
    for name, size in (("rows", rows), ("length", length)):
        if size is not None:
            checks.positive(name, size)
    longest = max(settings.frames(utterance.length) for utterance, _ in items)
    length = length or spectrogram.padded_length(longest, _MULTIPLE)
    return Collate(settings, target_length)(items, rows=rows or len(items), length=length)
