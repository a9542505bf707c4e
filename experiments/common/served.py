"""The protocol of what `experiments.serve` serves: a trained run, or a model from elsewhere.

A value of `Served` answers for texts, many at once. `translate`, `generate` and `attention` compute
on a device, and one thread calls them; the others compute nothing there, and another thread does.
An answer must not depend on the other texts of its call.
"""

from collections.abc import Hashable, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from jaxtyping import Float
from numpy import ndarray

from attention_jax.data.tokenizer import Tokenizer
from attention_jax.data.types import SPECIAL_TOKENS

_TRIED = 100  # tokens that may stand alone in an example


class Prompt(NamedTuple):
    """A text to go on with.

    Attributes:
      text: its beginning.
      seed: of its random numbers, below 2^32; None for that of the run.
      temperature: below 1 favors probable tokens; None for that of the run.
    """

    text: str
    seed: int | None = None
    temperature: float | None = None


class Pair(NamedTuple):
    """A text and its translation, whose attention is asked for; None for one that is found."""

    source: str
    target: str | None = None


class Attention(NamedTuple):
    """Where a model looks as it reads a source and writes a target.

    Attributes:
      target: text of the target.
      source_tokens: labels of the source's tokens, with its end.
      target_tokens: labels of the target's tokens, with its end.
      maps: weights by kind of attention: "encoder" [l h s s], "decoder" [l h t t], "cross"
        [l h t s], where there are such; NaN where a head's output is no sum of values.
    """

    target: str
    source_tokens: list[str]
    target_tokens: list[str]
    maps: dict[str, Float[ndarray, "l h t s"]]


class Served(Protocol):
    """A model that answers; it is one of `Translates`, `Attends` and `Writes` too.

    Attributes:
      about: the model in a few words.
      rows: texts that share a batch.
      takes: options that a request may give: of "beam", "temperature" and "seed".
    """

    about: str
    rows: int
    takes: frozenset[str]

    def length(self, text: str) -> int:
        """Tokens of a text.

        Raises:
          ValueError: the model cannot read it.
        """
        ...

    def bucket(self, text: str) -> Hashable:
        """Texts of equal buckets are answered by one program."""
        ...

    def example(self, tokens: int) -> str:
        """A text of so many tokens, with which programs are compiled beforehand; "" for none."""
        ...


@runtime_checkable
class Translates(Served, Protocol):
    """A model that translates."""

    def translate(self, texts: Sequence[str], beam: int | None) -> list[str]:
        """The translation of each text, by a beam of such a size or by the model's own search."""
        ...


@runtime_checkable
class Attends(Served, Protocol):
    """A model that tells where it looks."""

    def attention(self, pair: Pair) -> Attention:
        """The attention of a pair, whose texts are not empty."""
        ...


@runtime_checkable
class Writes(Served, Protocol):
    """A model that goes on with texts.

    Attributes:
      written: tokens that it writes where nobody says how many.
    """

    written: int

    def generate(self, prompts: Sequence[Prompt], tokens: int) -> list[str]:
        """Each prompt and so many tokens more."""
        ...


def repeated_token(tokenizer: Tokenizer, tokens: int) -> str:
    """A text of so many tokens, all the same; "" where there is none."""
    for token in range(len(SPECIAL_TOKENS), min(tokenizer.size, _TRIED)):
        text = tokenizer.decode([token] * tokens)
        if text.strip() and tokenizer.encode(text) == [token] * tokens:
            return text
    return ""
