"""Batched transcription of recordings, by a decoder or by CTC."""

from collections.abc import Sequence
from functools import partial

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
from attention_jax.decoding import ctc
from attention_jax.decoding.batched import BatchedDecoder, DecodingConfig, Hypothesis, in_batches
from attention_jax.decoding.shrinking import fitting
from attention_jax.parallel.placement import readable, spread


class Transcriber:
    """Transcribes recordings; compiled once for each padded length and number of rows.

    A recording is padded to one of the lengths 32, 48, 64, 96, 128, ... frames, and its transcript
    has at most a token for every 4 frames and 16 more. A batch has a power of two of rows, at most
    `rows`, and shrinks as transcripts end. A transcript does not depend on the other recordings of
    the call, but for rounding.

    Args:
      graphdef: graph of the model: a `nn.protocols.Seq2Seq` of frames; if `aligned`, a
        `nn.protocols.Aligned`, such as `models.speech.CTCModel`.
      tokenizer: tokenizer of the transcripts.
      settings: settings of the spectrogram.
      config: the search. If `aligned`, the most probable path (greedy) or a beam over labels.
      aligned: the model was trained by CTC.
      rows: largest number of recordings in a batch.
      longest: largest number of frames that the model reads, if its positions are learned.

    Raises:
      ValueError: an unknown search method; sampling, an option or token scores with CTC.
    """

    def __init__(
        self,
        graphdef: nnx.GraphDef,
        tokenizer: Tokenizer,
        settings: Spectrogram,
        config: DecodingConfig | None = None,
        *,
        aligned: bool = False,
        rows: int = 32,
        longest: int | None = None,
    ):
        self.config = DecodingConfig() if config is None else config
        if aligned and self.config.method == "sample":
            raise ValueError("`config` must be greedy or a beam with CTC; got sample. Use a beam.")
        if aligned:
            self.config.options.refuse_all(search="CTC", remedy="Leave it out.")
            if self.config.token_scores:
                raise ValueError(
                    "`token_scores` does not go with CTC, which scores paths. Leave it out."
                )
        self.graphdef, self.tokenizer, self.settings = graphdef, tokenizer, settings
        self.aligned, self.rows, self.longest = aligned, rows, longest
        self._collate = batches.Collate(settings, 8)
        self._decode = BatchedDecoder(graphdef, tokenizer, self.config)
        self._log_probabilities = jax.jit(self._align_batch)

    def __call__(self, params: Params, utterances: Sequence[Utterance]) -> list[list[Hypothesis]]:
        """The `nbest` hypotheses of each recording, best first."""
        lengths = [self.padded_length(utterance) for utterance in utterances]
        run = partial(self._transcribe, params)
        return in_batches(utterances, lengths, run, rows=self.rows)

    def padded_length(self, utterance: Utterance) -> int:
        """Number of frames that a recording is padded to.

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
        batch = self._collate(items, rows=fitting(len(items), self.rows), length=length)
        if self.aligned:
            return self._labels(params, batch, len(items))
        names = [utterance.name for utterance in utterances]
        return self._decode(params, batch, names, max_length=length // 4 + 16)

    def _align_batch(self, params: Params, batch: Seq2SeqBatch) -> tuple[jax.Array, jax.Array]:
        model = nnx.merge(self.graphdef, params)
        memory = model.encode(batch.source, batch.source_mask)
        return jax.nn.log_softmax(model.aligner(memory), axis=-1), memory.mask

    def _labels(self, params: Params, batch: Seq2SeqBatch, count: int) -> list[list[Hypothesis]]:
        found = self._log_probabilities(params, spread(batch, params))
        log_p, mask = (readable(x) for x in found)
        if self.config.method == "greedy":
            tokens, lengths = (np.asarray(x) for x in ctc.greedy(log_p, mask))
            best = np.asarray(jnp.where(mask, log_p.max(axis=-1), 0).sum(axis=1))
            rows = [tuple(tokens[i, : lengths[i]].tolist()) for i in range(count)]
            return [
                [Hypothesis(self.tokenizer.decode(ids), ids, float(score))]
                for ids, score in zip(rows, best, strict=False)
            ]
        numbers, real = np.asarray(log_p), np.asarray(mask)
        search = partial(ctc.beam, beam_size=self.config.beam_size, nbest=self.config.nbest)
        return [
            [Hypothesis(self.tokenizer.decode(x.tokens), *x) for x in search(numbers[i, real[i]])]
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
