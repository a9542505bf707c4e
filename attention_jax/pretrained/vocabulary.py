"""The order of tokens: special ones stand first here, elsewhere where each library puts them.

    row[i] of ours = row[order[i]] of theirs

So decoding, batching and tokenizers need not know from where a model came.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from attention_jax.data.types import BOS, EOS, PAD, UNKNOWN
from attention_jax.pretrained.types import Form, Special

NEVER = -1e9  # the logit of a token that another library has not


@dataclass(frozen=True)
class Order:
    """Where the tokens of ours stand in theirs.

    Attributes:
      theirs: their id of each of our tokens; None for a special token that they have not.
      size: of their vocabulary.
    """

    theirs: tuple[int | None, ...]
    size: int

    @cached_property
    def silent(self) -> tuple[int, ...]:
        """Tokens that must not be written: those that they have not, and those that come twice.

        Of two that are one of theirs the end stays, and the first input before padding, which no
        model reads.
        """
        seen: set[int] = set()
        found = []
        for ours in (*range(EOS, len(self.theirs)), BOS, PAD):
            theirs = self.theirs[ours]
            if theirs is None or theirs in seen:
                found.append(ours)
            else:
                seen.add(theirs)
        return tuple(sorted(found))

    def silence(self, bias: np.ndarray) -> np.ndarray:
        """A bias of logits with which `silent` tokens are never written."""
        bias[list(self.silent)] = NEVER
        return bias

    def rows(self) -> Form:
        """Rows of theirs as rows of ours; one that they have not is zero, or as a bias `NEVER`."""
        own = np.array([0 if i is None else i for i in self.theirs])
        missing = np.array([i for i, x in enumerate(self.theirs) if x is None], int)
        kept = sorted(set(range(len(self.theirs))) - set(self.silent))

        def read(table: np.ndarray) -> np.ndarray:
            if len(table) < self.size:
                raise ValueError(
                    f"A tensor must have a row for each of {self.size} tokens, as config.json "
                    f"says; got shape {table.shape}. The two files are not a pair."
                )
            ours = np.array(table[own])
            ours[missing] = 0
            return self.silence(ours) if ours.ndim == 1 else ours

        def write(table: np.ndarray) -> np.ndarray:
            theirs = np.zeros((self.size, *table.shape[1:]), table.dtype)
            theirs[own[kept]] = table[kept]
            return theirs

        return Form(read, write)


def order_of(special: Special, size: int) -> Order:
    """The order for special tokens by their ids: they first, then all others as they stand.

    Raises:
      ValueError: the model has no such token.
    """
    for role, own in special._asdict().items():
        if own is not None and not 0 <= own < size:
            raise ValueError(
                f"The {role} token must be one of the model's {size}; config.json says {own}. The "
                "weights and their config.json are not a pair."
            )
    first = tuple(special)
    return Order((*first, *(i for i in range(size) if i not in first)), size)


def order_with(tokens: tuple[int | None, ...], special: Special, size: int) -> Order:
    """The order of a tokenizer, completed by the special tokens and rows that it has not.

    Args:
      tokens: their id of each of the tokenizer's tokens.
      special: of the model.
      size: of the model's vocabulary.

    Raises:
      ValueError: the tokenizer has tokens that the model has not.
    """
    largest = max(i for i in tokens if i is not None)
    if largest >= size:
        raise ValueError(
            f"The tokenizer must fit the model's {size} tokens; it has one of id {largest}. Take "
            "the tokenizer that came with the weights."
        )
    head = [own if own is not None else other for own, other in zip(tokens, special, strict=False)]
    named = (*head, *tokens[UNKNOWN + 1 :])
    return Order((*named, *sorted(set(range(size)) - set(named))), size)
