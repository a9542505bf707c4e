"""The variants: one file a mechanism, with a function of the file's name in it.

variants.names()                           all of them
variants.get("sliding_window", size=64)    one, with options from Python
variants.resolve("sliding_window(size=64)")    the same of a text, as flags have it
variants.get("path/to/mine.py")            a file of your own

A new variant is a new file, and nothing else. `from_score` and the others make one of its parts.
"""

from typing import Any

from attention_jax.core.types import Variant
from attention_jax.variants import _registry
from attention_jax.variants._builders.delta import from_delta
from attention_jax.variants._builders.linear import from_decay, from_features
from attention_jax.variants._builders.pair import from_mask, from_score
from attention_jax.variants._builders.stateful import from_weights
from attention_jax.variants._registry import aliases, canonical_name, names
from attention_jax.variants._text import layers, parse, slug, split

# Of a stack of layers: one attention for all, or a pattern that is repeated.
Pattern = Variant | str | tuple[Variant | str, ...]

__all__ = [
    "Pattern",
    "aliases",
    "canonical_name",
    "from_decay",
    "from_delta",
    "from_features",
    "from_mask",
    "from_score",
    "from_weights",
    "get",
    "label",
    "layers",
    "names",
    "parse",
    "pattern",
    "resolve",
    "slug",
    "split",
]


def get(name: str, **options: Any) -> Variant:
    """A variant of the library, or of a user's own file.

    Args:
      name: one of `names()` or an alias such as "mla"; a path that ends in `.py`, to a file with a
        function named like the file that returns a `Variant`; or a text as `resolve` takes it.
      **options: keywords of that function.

    Raises:
      ValueError: no such variant, file, function or option; an option of another type; or no
        `Variant` came back.

    >>> get("sliding_window", size=64) is get("sliding_window", size=64)
    True
    """
    _require_text("name", name)
    spec = parse(name)
    return _registry.make(spec._replace(options=spec.options | options))


def resolve(attention: Variant | str, *, argument: str = "attention") -> Variant:
    """The variant of a configuration or a flag; a `Variant` is itself.

    Args:
      attention: a Variant, or a text: "alibi", "sliding_window(size=64)", "mine.py",
        "mine.py:manhattan(p=2)". Options are literals of Python.
      argument: its name in an error.

    Raises:
      ValueError: the text could not be read, or as `get`.

    >>> resolve("axial(width=4, along='row')").roles
    ('bidirectional', 'causal')
    """
    if isinstance(attention, Variant):
        return attention
    _require_text(argument, attention)
    return _registry.make(parse(attention))


def pattern(attention: Pattern, *, argument: str = "attention") -> tuple[Variant | str, ...]:
    """The attentions that the layers of a stack have in turn, over and over; each is checked.

    Args:
      attention: a text in brackets, with counts; or a tuple of variants and texts. One variant,
        or its text, is a pattern of itself.
      argument: its name in an error.

    Raises:
      ValueError: the text could not be read, the tuple is empty, or as `get`.

    >>> pattern("[2*alibi, scaled_dot]"), pattern("alibi")
    (('alibi', 'alibi', 'scaled_dot'), ('alibi',))
    """
    if isinstance(attention, tuple) and not isinstance(attention, Variant):
        found = attention
        if not found:
            raise ValueError(
                f"`{argument}` must have an attention for at least one layer; got an empty tuple. "
                "Name one, such as 'scaled_dot'."
            )
    else:
        found = layers(attention) if isinstance(attention, str) else (attention,)
    for one in dict.fromkeys(found):
        resolve(one, argument=argument)
    return found


def label(attention: Pattern) -> str:
    """A word for errors and legends: the text, or "a Variant" for a value, which has no name."""
    if isinstance(attention, tuple) and not isinstance(attention, Variant):
        return f"[{', '.join(map(label, attention))}]"
    return attention if isinstance(attention, str) else "a Variant"


def _require_text(name: str, value: object) -> None:
    if not isinstance(value, str):
        raise ValueError(
            f"`{name}` must be the name of a variant, such as 'alibi' or 'sliding_window(size=64)'"
            f", or a Variant; got {type(value).__name__}. `variants.names()` lists them."
        )
