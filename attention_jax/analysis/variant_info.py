"""Facts about variants: the docstring of each in parts, its options, and what it supports.

    variant_info.describe("alibi").claim

The text is the docstring of the variant's file; its abilities come from `variant_support`.
"""

import inspect
import re
import textwrap
from typing import NamedTuple

from attention_jax import variants
from attention_jax.analysis.variant_support import Support, recorded, support_of
from attention_jax.core.plain_types import typed_calls
from attention_jax.variants._registry import origin


class Text(NamedTuple):
    """A docstring in parts.

    Attributes:
      claim: the first sentence.
      equation: its first indented lines.
      remarks: its other paragraphs; indented where they are indented there.
      reference, cost: the paragraphs of that name, without the word.
    """

    claim: str
    equation: str
    remarks: tuple[str, ...]
    reference: str
    cost: str

    @property
    def short_cost(self) -> str:
        """The first expression of the cost."""
        return re.split(r",? (?:products|numbers|a head|each)\b|[,;:.](?:\s|$)", self.cost)[0]


class Entry(NamedTuple):
    """One variant.

    Attributes:
      docstring: of its file, of which `claim` to `cost` are parts, as in `Text`; where the file has
        none, the claim is that of the function.
      signature: of the function, with its defaults.
      options: the docstring of the function.
      support: its abilities.
      aliases: other names that `variants.get` takes.
    """

    name: str
    docstring: str
    claim: str
    equation: str
    remarks: tuple[str, ...]
    reference: str
    cost: str
    signature: str
    options: str
    support: Support
    aliases: tuple[str, ...]

    @property
    def family(self) -> str:
        """The family it belongs to."""
        return self.support.family

    @property
    def supports(self) -> tuple[str, ...]:
        """Its abilities in words."""
        return self.support.words


@typed_calls
def describe(name: str, **options: object) -> Entry:
    """The entry of a variant of the library, or of a file of your own.

    Args:
      name: as `variants.get` takes it.
      **options: of the variant.

    Raises:
      ValueError: there is no such variant or option.
    """
    variant, spec = variants.get(name, **options), variants.parse(name)
    title, module, factory = origin(spec)
    text, words = inspect.cleandoc(module.__doc__ or ""), inspect.getdoc(factory) or ""
    known = {} if options or spec.options else recorded()
    return Entry(
        name=title,
        docstring=text,
        **read(text or words)._asdict(),
        signature=f"{spec.function}{_without_types(inspect.signature(factory))}",
        options=words,
        support=known[title] if title in known else support_of(variant),
        aliases=tuple(getattr(module, "ALIASES", ())),
    )


@typed_calls
def read(docstring: str) -> Text:
    """Claim, equation, remarks, reference and cost of a docstring."""
    claim, *paragraphs = re.split(r"\n\s*\n", docstring.strip())
    found = {"equation": "", "reference": "", "cost": ""}
    remarks = []
    for paragraph in paragraphs:
        if paragraph.startswith(" "):
            if found["equation"]:
                remarks.append(paragraph)
            else:
                found["equation"] = textwrap.dedent(paragraph)
            continue
        for part in re.split(r"\n(?=(?:Reference|Cost): )", paragraph):
            word, _, rest = " ".join(part.split()).partition(": ")
            if word in ("Reference", "Cost"):
                found[word.lower()] = rest
            else:
                remarks.append(" ".join(part.split()))
    return Text(" ".join(claim.split()), remarks=tuple(remarks), **found)


def _without_types(signature: inspect.Signature) -> inspect.Signature:
    plain = [x.replace(annotation=inspect.Parameter.empty) for x in signature.parameters.values()]
    return signature.replace(parameters=plain, return_annotation=inspect.Signature.empty)
