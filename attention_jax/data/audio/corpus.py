"""Speech corpora: recordings with transcripts, whose samples are made or read when needed."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import Float

from attention_jax.core.plain_types import typed_calls

Samples = Float[np.ndarray, " n"]
Loaded = TypeVar("Loaded")


class Utterance(NamedTuple):
    """A recording and its transcript.

    Attributes:
      name: name in errors and results.
      transcript: the words spoken.
      length: number of samples.
      samples: returns the samples, in [-1, 1], the same at each call.
    """

    name: str
    transcript: str
    length: int
    samples: Callable[[], Samples]


class Corpus(NamedTuple):
    """Recordings in disjoint splits.

    Attributes:
      name: name of the corpus.
      rate: samples a second, of all recordings.
      train, validation: recordings of each split.
      tests: test sets by name; the first is in distribution.
      tokenizer: kind of tokenizer that suits the transcripts.
      skipped: reason for each recording that was left out.
      unused: numbers of the other files of its folder, by their kind.
    """

    name: str
    rate: int
    train: Sequence[Utterance]
    validation: Sequence[Utterance]
    tests: dict[str, Sequence[Utterance]]
    tokenizer: str = "character"
    skipped: tuple[str, ...] = ()
    unused: Mapping[str, int] = {}


class Skipped:
    """Policy for bad recordings: raise the first, or leave all out and count them.

    Args:
      skip_bad: leaves bad recordings out.
    """

    def __init__(self, skip_bad: bool):
        self.skip_bad = skip_bad
        self.reasons: list[str] = []

    def attempt(self, load: Callable[[], Loaded]) -> Loaded | None:
        """Result of `load`; None if it raises ValueError or OSError and `skip_bad` is set.

        Raises:
          ValueError: as `load` does, with the remedy of leaving such recordings out.
        """
        try:
            return load()
        except (ValueError, OSError) as error:
            if not self.skip_bad:
                raise ValueError(f"{error} Or leave such recordings out by --skip_bad.") from error
            self.reasons.append(str(error))
            return None


@typed_calls
def checked_transcript(text: str, *, name: str) -> str:
    """A transcript with single spaces.

    Raises:
      ValueError: it is empty.
    """
    text = " ".join(text.split())
    if not text:
        raise ValueError(f"`transcript` must not be empty; that of {name} is. Write it down.")
    return text


@typed_calls
def of_array(name: str, transcript: str, samples: Samples) -> Utterance:
    """An utterance of samples in memory."""
    return Utterance(name, transcript, len(samples), lambda: samples)


@typed_calls
def joined(
    name: str, parts: Sequence[Utterance], pauses: Sequence[int], seed: Sequence[int]
) -> Utterance:
    """Concatenated utterances, with pauses of given lengths before, between and after them.

    Faint noise, drawn from `seed`, is added throughout, so that no pause is digital silence.
    """
    length = sum(part.length for part in parts) + sum(pauses)

    def samples() -> Samples:
        noise = np.random.default_rng(tuple(seed)).standard_normal(length, np.float32)
        out = np.float32(1e-3) * noise
        at = pauses[0]
        for part, pause in zip(parts, pauses[1:], strict=True):
            out[at : at + part.length] += part.samples()
            at += part.length + pause
        return np.clip(out, -1, 1)

    return Utterance(name, " ".join(part.transcript for part in parts), length, samples)
