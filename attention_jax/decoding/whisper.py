"""Transcription by Whisper, which is told the language and the task by tokens before the text.

    <begin> <|en|> <|transcribe|> <|notimestamps|> text <end>

Where nobody names the language, it is the most probable after `<begin>`. Reference: Radford et al.
2023, arXiv:2212.04356, section 2.3.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from attention_jax.core.types import Params
from attention_jax.data.audio.corpus import Utterance
from attention_jax.data.audio.spectrogram import Spectrogram
from attention_jax.data.audio.whisper_frames import HOP, RATE, WINDOW, whisper_frames
from attention_jax.data.tokenizer import Tokenizer
from attention_jax.data.types import BOS, EOS, PAD, Seq2SeqBatch
from attention_jax.decoding.batched import BatchedDecoder, DecodingConfig, Hypothesis, in_batches
from attention_jax.decoding.shrinking import fitting

_UNTOLD = -1  # in place of the language's token, of a model that is told none


class Asked(NamedTuple):
    """Tokens by which such a model is asked, and those that it never writes.

    Attributes:
      languages: token of each language by its name, such as "en"; none of a model of one language.
      rest: tokens that follow it: of the task, a transcript or a translation, and that which asks
        for no times.
      never: tokens that are never written.
      never_first: tokens with which no text begins; the end may be one.
    """

    languages: Mapping[str, int] = {}
    rest: tuple[int, ...] = ()
    never: tuple[int, ...] = ()
    never_first: tuple[int, ...] = ()


class Sizes(NamedTuple):
    """Lengths of a model.

    Attributes:
      features: numbers a frame.
      positions: of the encoder, half as many as frames.
      tokens: that its decoder reads at most.
    """

    features: int
    positions: int
    tokens: int

    @property
    def seconds(self) -> float:
        """How long all its recordings last, once they are filled up with silence."""
        return 2 * self.positions * HOP / RATE


class WhisperTranscriber:
    """Transcribes recordings, as `transcribe.Transcriber` does.

    Args:
      graphdef: graph of the model.
      tokenizer: tokenizer of the transcripts.
      sizes: of the model.
      asked: its tokens.
      config: the search; a prefix in its options follows the tokens that ask.
      language: of all recordings, one of `asked.languages`; None for that which the model hears.
      rows: largest number of recordings in a batch.

    Attributes:
      settings: rate of recordings, and the shortest.

    Raises:
      ValueError: there is no such language.
    """

    def __init__(
        self,
        graphdef: nnx.GraphDef,
        tokenizer: Tokenizer,
        sizes: Sizes,
        asked: Asked,
        config: DecodingConfig | None = None,
        *,
        language: str | None = None,
        rows: int = 8,
    ):
        if language is not None and language not in asked.languages:
            known = ", ".join(asked.languages) or "none: the model is told no language"
            raise ValueError(f"`language` must be one of {known}; got {language!r}. Use one.")
        self.graphdef, self.tokenizer, self.sizes, self.asked = graphdef, tokenizer, sizes, asked
        self.config = DecodingConfig() if config is None else config
        self.language, self.rows = language, rows
        self.settings = Spectrogram(RATE, WINDOW, HOP, WINDOW, sizes.features)
        self._decoders: dict[int, BatchedDecoder] = {}
        self._first_logits = jax.jit(self._logits_after_begin)

    def __call__(self, params: Params, utterances: Sequence[Utterance]) -> list[list[Hypothesis]]:
        """The `nbest` hypotheses of each recording, best first; their tokens begin with what asks.

        Raises:
          ValueError: a recording lasts too long.
        """
        told = self._told(params, utterances)
        return in_batches(utterances, told, partial(self._transcribe, params), rows=self.rows)

    def languages(self, params: Params, utterances: Sequence[Utterance]) -> list[str | None]:
        """The language of each recording by its name; None of a model that is told none."""
        names = {token: name for name, token in self.asked.languages.items()}
        return [names.get(token) for token in self._told(params, utterances)]

    def frames(self, utterance: Utterance) -> Float[np.ndarray, "s f"]:
        """The frames of a recording, filled up with silence.

        Raises:
          ValueError: it lasts longer than the model hears.
        """
        seconds = utterance.length / RATE
        if seconds > self.sizes.seconds:
            raise ValueError(
                f"`audio` must last at most {self.sizes.seconds:g} s, as long as the model hears; "
                f"{utterance.name} lasts {seconds:.1f} s. Cut it: ffmpeg -i in.wav -f segment "
                f"-segment_time {self.sizes.seconds:g} part%03d.wav."
            )
        own = utterance.samples()
        return whisper_frames(own, mels=self.sizes.features, seconds=self.sizes.seconds)

    def batch(self, utterances: Sequence[Utterance], target: Sequence[int] = ()) -> Seq2SeqBatch:
        """Frames of recordings, and one target that all are read with."""
        rows = fitting(len(utterances), self.rows)
        frames = np.zeros((rows, 2 * self.sizes.positions, self.sizes.features), np.float32)
        for row, utterance in enumerate(utterances):
            frames[row] = self.frames(utterance)
        ids = np.asarray([[BOS, *target[:-1]]] * rows, np.int32)
        out = np.asarray([target if len(target) else [PAD]] * rows, np.int32)
        # Silence is heard too.
        mask = np.ones(frames.shape[:2], bool)
        return Seq2SeqBatch(frames, mask, ids, out, np.ones(out.shape, np.float32))

    def _told(self, params: Params, utterances: Sequence[Utterance]) -> list[int]:
        """The token of each recording's language."""
        tokens = self.asked.languages
        if self.language is not None or not tokens:
            return [_UNTOLD if self.language is None else tokens[self.language]] * len(utterances)
        found, known = [], np.array(list(tokens.values()))
        for first in range(0, len(utterances), self.rows):
            part = utterances[first : first + self.rows]
            logits = np.asarray(self._first_logits(params, self.batch(part)))[: len(part)]
            found += known[logits[:, known].argmax(axis=1)].tolist()
        return found

    def _logits_after_begin(self, params: Params, batch: Seq2SeqBatch) -> Float[Array, "b v"]:
        model = nnx.merge(self.graphdef, params)
        memory = model.encode(jnp.asarray(batch.source), batch.source_mask)
        return model.decode(batch.target_in, memory)[:, 0]

    def _transcribe(
        self, params: Params, utterances: list[Utterance], language: int
    ) -> list[list[Hypothesis]]:
        if language not in self._decoders:
            self._decoders[language] = self._decoder(language)
        names = [utterance.name for utterance in utterances]
        decode = self._decoders[language]
        return decode(params, self.batch(utterances), names, max_length=self.sizes.tokens)

    def _decoder(self, language: int) -> BatchedDecoder:
        own, asked = self.config.options, self.asked
        first = () if language == _UNTOLD else (language,)
        options = dataclasses.replace(
            own,
            prefix=(*first, *asked.rest, *own.prefix),
            # Without an end all texts would be cut.
            never=tuple(sorted({*own.never, *asked.never} - {EOS})),
            never_first=asked.never_first,
        )
        return BatchedDecoder(self.graphdef, self.tokenizer, self.config._replace(options=options))
