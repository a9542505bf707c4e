"""Attentions of earlier runs: what a name meant before it meant what its paper says."""

import re

from attention_jax import variants

# Of format version 1 and before, by name; what was given stays as it was given.
SHORT = {
    "forgetting": {"gates": "key"},
    "gated": {"gates": "query"},
    "gated_delta": {"gates": "key"},
    "latent": {"rotary_width": 0},
}
_ITEM = re.compile(r"(?P<count>\d+\s*\*\s*)?(?P<text>.+)", re.DOTALL)


def as_then(attention: str) -> str:
    """The text of an attention, or of a pattern, that means now what it meant then.

    >>> as_then("[3*gated_delta(convolution=2), scaled_dot]")
    "[3*gated_delta(convolution=2, gates='key'), scaled_dot]"
    """
    if not attention.strip().startswith("["):
        return _one(attention)
    items = (_ITEM.fullmatch(item) for item in variants.split(attention.strip()[1:-1]))
    found = [f"{x['count'] or ''}{_one(x['text'])}" for x in items if x is not None]
    return f"[{', '.join(found)}]"


def _one(text: str) -> str:
    try:
        spec = variants.parse(text)
        short = {} if spec.is_file else SHORT.get(variants.canonical_name(spec.source), {})
    except ValueError:  # such as "none"; or it is refused where it is used
        return text
    if not set(short) - set(spec.options):
        return text
    options = {**spec.options, **{x: y for x, y in short.items() if x not in spec.options}}
    return f"{spec.source}({', '.join(f'{name}={value!r}' for name, value in options.items())})"
