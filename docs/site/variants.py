"""Pages of the variants, one each, and their table; all of it from the registry and docstrings."""

import itertools
from pathlib import Path

from attention_jax import variants
from attention_jax.analysis import variant_info, variant_support
from docs.site import api, docstrings, equations, names, pictures

# Where a variant can stand, by a member of its `Support`.
PLACES = {
    "bidirectional": "Encoders and other whole sequences",
    "causal": "Decoders and language models (causal)",
    "cross": "Cross-attention",
}


def pages(folder: Path) -> dict[str, str]:
    """MyST of each variant's page and of their table, by the page's name.

    Args:
      folder: where pictures are kept.
    """
    entries = [variant_info.describe(name) for name in variants.names()]
    captions = pictures.draw_all([entry.name for entry in entries], folder)
    found = {f"variants/{x.name}": page_of(x, captions[x.name], folder) for x in entries}
    return found | {"variants/index": _index(entries)}


def pictures_of(folder: Path) -> dict[str, Path]:
    """The pictures that the pages show, by their place in the site."""
    found = {name: pictures.path(name, folder) for name in variants.names()}
    return {f"variants/pictures/{name}.png": path for name, path in found.items() if path}


def page_of(entry: variant_info.Entry, caption: str, folder: Path) -> str:
    """MyST of a variant's page; its picture is in the folder, or the caption says why not."""
    module = names.modules()[f"attention_jax.variants.{entry.name}"]
    drawn = pictures.path(entry.name, folder)
    parts = [
        f"# {entry.name}",
        docstrings.prose(entry.claim),
        _equation(entry.equation),
        *map(_remark, entry.remarks),
        f"**Cost:** {docstrings.prose(entry.cost)}" if entry.cost else "",
        f"**Reference:** {docstrings.prose(entry.reference)}" if entry.reference else "",
        "## Where it looks",
        _picture(entry.name, caption) if drawn else docstrings.prose(caption),
        "## Where it can stand",
        _places(entry),
        "## In code",
        f'```python\nvariant = aj.variants.get("{entry.name}")\n```',
        f"```{{py:module}} {module.name}\n```",
        api.described(module),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _equation(text: str) -> str:
    """The equation, typeset, and folded below it the text that it was made of."""
    if not text:
        return ""
    plain = f"<details><summary>As plain text</summary>\n\n```text\n{text}\n```\n\n</details>"
    return f"```{{math}}\n{equations.latex(text)}\n```\n\n{plain}"


def _remark(text: str) -> str:
    return f"```text\n{text}\n```" if text.startswith(" ") else docstrings.prose(text)


def _picture(name: str, caption: str) -> str:
    alt = f"Attention weights of {name} over {caption}"
    words = "Rows are queries, columns are keys; each row relative to its largest weight."
    return (
        f"```{{figure}} /variants/pictures/{name}.png\n:alt: {alt}\n\n"
        f"{docstrings.prose(caption)}. {words}\n```"
    )


def _places(entry: variant_info.Entry) -> str:
    """A list of the places, those that it cannot take too; then what else it supports."""
    words = {**PLACES}
    lines = [f"- {'✓' if role in entry.supports else '✗'} {text}" for role, text in words.items()]
    others = [word for word in entry.supports if word not in words]
    also = [f"Also called: {', '.join(f'`{x}`' for x in entry.aliases)}."] if entry.aliases else []
    rest = [f"Family: {entry.family}."]
    rest += [f"Supports: {', '.join(others)}."] if others else []
    return "\n\n".join(["\n".join(lines), " ".join(rest + also)])


def _index(entries: list[variant_info.Entry]) -> str:
    """The table of all, by family."""
    order = variant_support.FAMILIES
    ranked = sorted(entries, key=lambda x: (order.index(x.family), x.name))
    parts = [
        "# Variants",
        f"{len(entries)} published mechanisms, one a page. Each name works as "
        '`attention="name"` in a model and as `--attention=name` on the command line; '
        "[Variants](/guides/variants.md) explains the options, and how to add yours.",
    ]
    for family, group in itertools.groupby(ranked, key=lambda x: x.family):
        rows = [
            f"| [{x.name}](/variants/{x.name}.md) | {docstrings.prose(x.claim)} | {_marks(x)} |"
            for x in group
        ]
        head = "| | | whole sequences, causal, cross |\n|---|---|---|"
        parts.append(f"## {family.capitalize()}\n\n" + "\n".join([head, *rows]))
    tree = "\n".join(f"/variants/{x.name}" for x in entries)
    parts.append(f"```{{toctree}}\n:hidden:\n\n{tree}\n```")
    return "\n\n".join(parts) + "\n"


def _marks(entry: variant_info.Entry) -> str:
    return " ".join("✓" if role in entry.supports else "–" for role in PLACES)
