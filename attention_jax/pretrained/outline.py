"""Pretrained models without their parameters: what builds one, as values that JSON can hold.

found = outline("opus-mt-en-de")
kept = found.described()                    # with the tokenizer all that builds the model again
restored(kept, found.tokenizer).build(key)
"""

from os import PathLike
from typing import NamedTuple

import jax
from flax import nnx

from attention_jax.core.plain_types import typed_calls
from attention_jax.data.tokenizer import Tokenizer
from attention_jax.data.types import EOS, UNKNOWN
from attention_jax.pretrained import families, tensors
from attention_jax.pretrained.packages import located
from attention_jax.pretrained.sources import Source, source_of
from attention_jax.pretrained.tensors import Tensors
from attention_jax.pretrained.types import Config, Described, Family, Settings, replaced
from attention_jax.pretrained.vocabulary import Order, order_of, order_with


class Outline(NamedTuple):
    """A pretrained model without its parameters.

    Attributes:
      family: how it is read and written.
      config: what its config.json says, as ours.
      order: where each of our tokens stands in theirs; None of a model without tokens.
      tokenizer: None where there is none beside the model.
      settings: what its config.json says.
    """

    family: Family
    config: Config
    order: Order | None
    tokenizer: Tokenizer | None
    settings: Settings

    @property
    def network(self) -> Config:
        """The configuration of its model, whose tokens are ours."""
        return self.config if self.order is None else silenced(self.config, self.family, self.order)

    def build(self, key: jax.Array) -> nnx.Module:
        """The model with random parameters."""
        return self.family.build(self.network, nnx.Rngs(key))

    def described(self) -> Described:
        """Values of which `restored` makes the outline again, with the tokenizer."""
        return {
            "family": self.family.name,
            "settings": dict(self.settings.values),
            "tensors": sorted(self.settings.tensors),
        }


@typed_calls
def outline(path: str | PathLike[str]) -> Outline:
    """The outline of a model, as `load` takes its path; no tensor is read.

    Raises:
      FileNotFoundError: a file is missing.
      ValueError: the family is not known, or the files are damaged.
    """
    return opened(source_of(located(path)))[0]


def opened(source: Source, family: str | None = None) -> tuple[Outline, Tensors]:
    """The outline of a model as it lies somewhere, and its tensors by the names of the table."""
    own = families.of_type(source.settings) if family is None else families.get(family)
    content = tensors.renamed(tensors.without(source.tensors, own.prefix), own.older)
    return _outline(own, source.settings.of(content.names), source.tokenizer), content


@typed_calls
def restored(described: Described, tokenizer: Tokenizer | None) -> Outline:
    """The outline that `Outline.described` describes.

    Args:
      described: by it, or from a file of JSON.
      tokenizer: that of the model.
    """
    settings = Settings(described["settings"], tensors=described["tensors"])
    return _outline(families.get(described["family"]), settings, tokenizer)


def silenced(config: Config, family: Family, order: Order) -> Config:
    """With a bias of logits, where there are tokens that must not be written."""
    config = replaced(config, vocabulary_size=len(order.theirs))
    if not (family.writes_tokens and order.silent):
        return config
    return replaced(config, output_bias=True)


def _outline(family: Family, settings: Settings, tokenizer: Tokenizer | None) -> Outline:
    tokenizer = _ended(tokenizer, family.special(settings).end) if family.has_tokens else None
    config = family.config(settings)
    order = _order(family, settings, config, tokenizer)
    return Outline(family, config, order, tokenizer, settings)


def _ended(tokenizer: Tokenizer | None, end: int | None) -> Tokenizer | None:
    """The tokenizer with the model's end of a text, where its own is another."""
    if tokenizer is None or end not in tokenizer.theirs:
        return tokenizer
    own = tokenizer.theirs[EOS], tokenizer.theirs[UNKNOWN]
    return tokenizer if end is None or end in own else tokenizer.ending_with(end)


def _order(
    family: Family, settings: Settings, config: Config, tokenizer: Tokenizer | None
) -> Order | None:
    if not family.has_tokens:
        return None
    special, size = family.special(settings), config.vocabulary_size
    if tokenizer is None:
        return order_of(special, size)
    return order_with(tokenizer.theirs, special, size)
