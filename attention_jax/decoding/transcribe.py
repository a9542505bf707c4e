"""What a trained model hears in recordings, and where it listens."""

from collections.abc import Sequence
from functools import partial
from typing import Any
from zlib import crc32

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from attention_jax.core.types import Params
from attention_jax.data.audio import batches
from attention_jax.data.audio.corpus import Utterance
from attention_jax.data.audio.spectrogram import Spectrogram
from attention_jax.data.tokenizer import Tokenizer
from attention_jax.data.types import Seq2SeqBatch
from attention_jax.decoding import ctc, translate
from attention_jax.decoding.search import DecodingResult
from attention_jax.decoding.translate import DecodingConfig, Hypothesis


class Transcriber:
    """Transcribes recordings; compiled once for each padded length.

    A recording is padded to one of the lengths 32, 48, 64, 96, 128, ... frames, and transcribed in
    at most a token every 4 frames and 16 more. Every call pads to the same number of rows, so a
    transcript does not depend on what is transcribed beside it.

    Args:
      graphdef: of the model: a `nn.protocols.Seq2Seq` of frames; with `aligned`, one that gives a
        distribution at each position, as `models.speech.AlignedModel`.
      vocabulary: of the transcripts.
      settings: of the spectrogram.
      search: how to search. With `aligned`, the most probable path or a beam over labels.
      aligned: whether the model was trained by CTC.
      rows: recordings transcribed at once.
      longest: the most frames that the model reads, where its positions are learned.

    Raises:
      ValueError: labels of paths are to be drawn at random.
    """

    def __init__(
        self,
        graphdef: Any,
        vocabulary: Tokenizer,
        settings: Spectrogram,
        search: DecodingConfig | None = None,
        *,
        aligned: bool = False,
        rows: int = 32,
        longest: int | None = None,
    ):
        self.search = DecodingConfig() if search is None else search
        if aligned and self.search.method == "sample":
            raise ValueError("`search` must be greedy or a beam with CTC; got sample. Use a beam.")
        self.graphdef, self.vocabulary, self.settings = graphdef, vocabulary, settings
        self.aligned, self.rows, self.longest = aligned, rows, longest
        self._collate = batches.Collate(settings, 8)
        self._decode = jax.jit(self._decode_batch, static_argnames="max_length")
        self._log_probabilities = jax.jit(self._align_batch)

    def __call__(self, params: Params, utterances: Sequence[Utterance]) -> list[list[Hypothesis]]:
        """The `nbest` hypotheses of each recording, best first."""
        lengths = [self.padded_length(utterance) for utterance in utterances]
        found: list[list[Hypothesis]] = [[] for _ in utterances]
        for length in sorted(set(lengths)):
            inside = [i for i, own in enumerate(lengths) if own == length]
            for first in range(0, len(inside), self.rows):
                rows = inside[first : first + self.rows]
                of = [utterances[i] for i in rows]
                for i, hypotheses in zip(rows, self._transcribe(params, of, length), strict=False):
                    found[i] = hypotheses
        return found

    def padded_length(self, utterance: Utterance) -> int:
        """How many frames a recording is padded to.

        Raises:
          ValueError: it is shorter than a window, or longer than `longest`.
        """
        frames = batches.frames_of(utterance, self.settings)
        if self.longest is None:
            return padded(frames)
        if frames > self.longest:
            raise ValueError(
                f"`audio` must have at most {self.longest} frames, for which positions were "
                f"learned; {utterance.name} has {frames}. Learn more of them, or leave it out."
            )
        return min(padded(frames), self.longest)

    def _transcribe(
        self, params: Params, utterances: list[Utterance], length: int
    ) -> list[list[Hypothesis]]:
        items = [(utterance, ()) for utterance in utterances]
        batch = self._collate(items, rows=self.rows, length=length)
        if self.aligned:
            return self._labels(params, batch, len(items))
        keys = np.zeros(self.rows, np.uint32)
        keys[: len(items)] = [crc32(utterance.name.encode()) for utterance in utterances]
        decoded = self._decode(params, batch, keys, max_length=length // 4 + 16)
        return translate.hypotheses(decoded, self.vocabulary)

    def _decode_batch(
        self, params: Params, batch: Seq2SeqBatch, keys: jax.Array, *, max_length: int
    ) -> DecodingResult:
        model = nnx.merge(self.graphdef, params)
        return translate.decode(model, batch, keys, self.search, max_length=max_length)

    def _align_batch(self, params: Params, batch: Seq2SeqBatch) -> tuple[jax.Array, jax.Array]:
        model = nnx.merge(self.graphdef, params)
        memory = model.encode(batch.source, batch.source_mask)
        return jax.nn.log_softmax(model.aligner(memory), axis=-1), memory.mask

    def _labels(self, params: Params, batch: Seq2SeqBatch, count: int) -> list[list[Hypothesis]]:
        log_p, mask = self._log_probabilities(params, batch)
        if self.search.method == "greedy":
            tokens, lengths = (np.asarray(x) for x in ctc.greedy(log_p, mask))
            best = np.asarray(jnp.where(mask, log_p.max(axis=-1), 0).sum(axis=1))
            rows = [tuple(tokens[i, : lengths[i]].tolist()) for i in range(count)]
            return [
                [Hypothesis(self.vocabulary.decode(ids), ids, float(score))]
                for ids, score in zip(rows, best, strict=False)
            ]
        numbers, real = np.asarray(log_p), np.asarray(mask)
        search = partial(ctc.beam, beam_size=self.search.beam_size, nbest=self.search.nbest)
        return [
            [Hypothesis(self.vocabulary.decode(x.tokens), *x) for x in search(numbers[i, real[i]])]
            for i in range(count)
        ]


def padded(frames: int) -> int:
    """The first of 32, 48, 64, 96, ... that holds so many frames.

    >>> padded(32), padded(33), padded(100)
    (32, 48, 128)
    """
    length = 32
    while length < frames:
        length = length * 3 // 2 if length & (length - 1) == 0 else length * 4 // 3
    return length
