"""What is heard and what was said: the data of speech recognition, made or read when needed."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

Samples = Float[np.ndarray, " n"]


class Utterance(NamedTuple):
    """One recording.

    Attributes:
      name: what errors and results call it.
      transcript: what was said.
      length: how many samples it has.
      samples: gives them, in [-1, 1], the same at each call.
    """

    name: str
    transcript: str
    length: int
    samples: Callable[[], Samples]


class Corpus(NamedTuple):
    """Recordings in splits that share none.

    Attributes:
      rate: samples a second, of all.
      tests: the first is in distribution.
      tokenizer: the kind of vocabulary that suits the transcripts.
      skipped: why each recording that was left out was left out.
    """

    name: str
    rate: int
    train: Sequence[Utterance]
    validation: Sequence[Utterance]
    tests: dict[str, Sequence[Utterance]]
    tokenizer: str = "character"
    skipped: tuple[str, ...] = ()


class Skipped:
    """Bad recordings: the first is raised, or all are left out and counted.

    Args:
      skip_bad: whether they are left out.
    """

    def __init__(self, skip_bad: bool):
        self.skip_bad, self.reasons = skip_bad, []

    def attempt(self, load: Callable[[], Any]) -> Any | None:
        """What `load` gives; None where it raises ValueError or OSError and bad ones are left out.

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


def checked_transcript(text: str, *, name: str) -> str:
    """A transcript with single spaces.

    Raises:
      ValueError: there is nothing in it.
    """
    text = " ".join(text.split())
    if not text:
        raise ValueError(
            f"`transcript` must say what was said; that of {name} is empty. Write it down."
        )
    return text


def of_array(name: str, transcript: str, samples: Samples) -> Utterance:
    """An utterance whose samples are at hand."""
    return Utterance(name, transcript, len(samples), lambda: samples)


def joined(
    name: str, parts: Sequence[Utterance], pauses: Sequence[int], seed: Sequence[int]
) -> Utterance:
    """Utterances one after another, with pauses of so many samples before, between and after.

    Faint noise, drawn from `seed`, lies under all, so that no pause is digital silence.
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
