"""Options of a search: rules on what it may write, and how it ranks.

options = decoding.DecodingOptions(min_length=3, no_repeat_ngram=2)
decoded = decoding.beam(step, state, max_length=64, options=options)
"""

import dataclasses

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from attention_jax.core import checks, plain_types
from attention_jax.data.types import EOS
from attention_jax.decoding.forced_words import Words
from attention_jax.decoding.rules import (
    Logits,
    Rule,
    forbid_early_end,
    forbid_repeated_ngrams,
    forbid_tokens,
    force_prefix,
    penalize_repetition,
)

LENGTH_FORMS = ("wu", "power")
_RULED = ("repetition_penalty", "no_repeat_ngram", "min_length", "prefix", "never", "never_first")


@dataclasses.dataclass(frozen=True)
class DecodingOptions:
    """Options that greedy decoding, sampling and beam search share, and a few of one of them.

    The rules apply in the order in which Hugging Face's generation applies them: repetition
    penalty, n-grams, least length, tokens, prefix. `sample` then applies temperature, top-k, top-p
    and min-p. What is left at its default does no work: the compiled program is the one without it.

    Attributes:
      repetition_penalty: above 1, tokens that occurred become less likely; see
        `rules.penalize_repetition`. 1 for none.
      no_repeat_ngram: no sequence of so many tokens occurs twice; 0: any may.
      min_length: least number of tokens before EOS.
      prefix: tokens that every output begins with. Where another rule forbids one of them, it
        stands all the same.
      before: tokens [b s] that came before the output, such as a prompt, for `repetition_penalty`
        and `no_repeat_ngram`; PAD on the left.
      never: tokens that no output holds, but for its prefix.
      never_first: tokens that do not stand right after the prefix; the end may be one.
      min_p: of `sample`: share of the largest probability, in (0, 1], below which tokens are
        dropped; None for no bound.
      words: of `beam`: tokens of each word that every finished sentence holds, wherever; see
        `forced_words`. A sentence that is cut may lack some.
      length_form: of `beam`: "wu", or "power" as Hugging Face's generation has it; see `beam`.

    Raises:
      ValueError: an attribute is out of its range.

    Reference: Nguyen et al. 2024, arXiv:2407.01082 (min-p); see `rules` for the others.
    """

    repetition_penalty: float = 1.0
    no_repeat_ngram: int = 0
    min_length: int = 0
    prefix: tuple[int, ...] = ()
    before: Int[Array, "b s"] | None = dataclasses.field(default=None, compare=False)
    min_p: float | None = None
    length_form: str = "wu"
    words: Words = ()
    never: tuple[int, ...] = ()
    never_first: tuple[int, ...] = ()

    def __post_init__(self):
        plain_types.check_fields(self)
        if self.before is not None:
            checks.shape("before", self.before, "b s")
            checks.whole("before", self.before)
        checks.above_zero("repetition_penalty", self.repetition_penalty)
        for name in ("no_repeat_ngram", "min_length"):
            if getattr(self, name) != 0:
                checks.positive(name, getattr(self, name), remedy="Use 0 for none.")
        _check_tokens("prefix", self.prefix)
        _check_tokens("never", self.never)
        _check_tokens("never_first", self.never_first, least=EOS)
        for word in self.words:
            _check_tokens("words", word)
        if () in self.words:
            raise ValueError("`words` must each hold a token; got an empty one. Leave it out.")
        if len(set(self.words)) < len(self.words):
            raise ValueError(f"`words` must differ; got {self.words}. Name each once.")
        if self.min_p is not None and not 0 < self.min_p <= 1:
            raise ValueError(
                f"`min_p` must lie in (0, 1]; got {self.min_p}. Use None to keep all tokens."
            )
        checks.one_of("length_form", self.length_form, LENGTH_FORMS)

    @property
    def least(self) -> int:
        """Tokens, EOS included, that the shortest output has."""
        longest = max(map(len, self.words), default=0)
        return max(self.min_length, len(self.prefix), longest) + 1

    @property
    def changes_scores(self) -> bool:
        """True where `beam` sums numbers that are not the model's log-probabilities."""
        return self.repetition_penalty != 1.0

    @property
    def rule(self) -> Rule | None:
        """The rules as one function; None where there are none."""
        return self._apply if self.changed(_RULED) else None

    def before_of(self, rows: int) -> Int[Array, "b s"] | None:
        """The tokens before the output of each row.

        Raises:
          ValueError: there are others than of so many rows.
        """
        if self.before is None:
            return None
        if len(self.before) not in (1, rows):
            raise ValueError(
                f"`before` must have a row for each of {rows}, or one for all; got "
                f"{len(self.before)}. Repeat it."
            )
        return jnp.repeat(self.before, rows // len(self.before), axis=0)

    def after(self, before: Int[Array, "b s"] | None) -> "DecodingOptions":
        """The same with other tokens before the output."""
        return self if before is None else dataclasses.replace(self, before=before)

    def changed(self, names: tuple[str, ...]) -> list[str]:
        """Those of the names whose options are not at their default."""
        return [name for name in names if getattr(self, name) != getattr(_DEFAULT, name)]

    def refuse(self, *names: str, search: str, remedy: str) -> None:
        """Raises where one of the named options is set, which a search does not have."""
        for name in self.changed(names):
            raise ValueError(
                f"`{name}` does not go with {search}; got {getattr(self, name)!r}. {remedy}"
            )

    def refuse_all(self, *, search: str, remedy: str) -> None:
        """Raises where any option is set."""
        names = (field.name for field in dataclasses.fields(self) if field.compare)
        self.refuse(*names, search=search, remedy=remedy)

    def _apply(self, logits: Logits, tokens: Int[Array, "r t"], position: Int[Array, ""]) -> Logits:
        given, past, length = logits, tokens, position
        if self.before is not None:
            beams = len(tokens) // len(self.before)
            past = jnp.concatenate([jnp.repeat(self.before, beams, axis=0), tokens], axis=1)
            length = position + self.before.shape[1]
        if self.repetition_penalty != 1.0:
            logits = penalize_repetition(logits, past, penalty=self.repetition_penalty)
        if self.no_repeat_ngram:
            logits = forbid_repeated_ngrams(logits, past, length, size=self.no_repeat_ngram)
        if self.min_length:
            logits = forbid_early_end(logits, position, least=self.min_length)
        if self.never or self.never_first:
            first, never, at = len(self.prefix), self.never, self.never_first
            logits = forbid_tokens(logits, position, never=never, never_first=at, first=first)
        if self.prefix:
            logits = force_prefix(logits, given, position, prefix=self.prefix)
        return logits


def _check_tokens(name: str, tokens: tuple[int, ...], *, least: int = EOS + 1) -> None:
    """Refuses tokens that no text holds."""
    several = isinstance(tokens, tuple)
    whole = several and all(isinstance(token, (int, np.integer)) for token in tokens)
    if not whole or any(token < least for token in tokens):
        others = "BOS and EOS" if least > EOS else "PAD and BOS"
        raise ValueError(
            f"`{name}` must hold tokens of text, above {least - 1}; got {tokens}. Leave out "
            f"{others}."
        )


_DEFAULT = DecodingOptions()
