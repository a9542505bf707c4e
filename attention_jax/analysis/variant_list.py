"""The list of variants by family, in lines that fit a terminal of 80 columns."""

import ast
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from attention_jax import variants
from attention_jax.analysis.variant_info import describe, read
from attention_jax.analysis.variant_support import FAMILIES, Support, recorded
from attention_jax.core.messages import said
from attention_jax.core.plain_types import typed_calls

COLUMNS = 80
LEGEND = """\
b, c, x  roles: bidirectional, within one sequence seen whole; causal, up to
         each query; cross, from one sequence to another
masks    pairs: any mask; keys: padding beside the causal mask
s        decodes by steps of its own, in place of kept keys and values
r        serves in RNN decoders
m        memory linear in the length, of output and gradient

All take heads that share keys and values. More on one: attention-jax show NAME"""
_NAME, _MARKS = 19, "{:<3} {:<5} {:<3} "


class Row(NamedTuple):
    """One variant of the list."""

    name: str
    claim: str
    support: Support


@typed_calls
def rows(names: Iterable[str]) -> list[Row]:
    """The rows of these variants; those in the record are read without importing them."""
    known = recorded()
    found = []
    for name in names:
        if name in known:
            found.append(Row(name, read(_docstring(name)).claim, known[name]))
        else:
            entry = describe(name)
            found.append(Row(name, entry.claim, entry.support))
    return found


@typed_calls
def lines(found: Iterable[Row]) -> Iterator[str]:
    """The list as text: families one after another, a line for each variant, the legend."""
    found = list(found)
    head = _MARKS.format("bcx", "masks", "srm")
    yield f"{'':<{_NAME + 2}}{head}".rstrip()
    for family in FAMILIES:
        members = [row for row in found if row.support.family == family]
        if members:
            yield said(family)
        for row in members:
            start = f"  {row.name:<{_NAME}}{_marks(row.support)}"
            yield start + textwrap.shorten(row.claim, COLUMNS - len(start), placeholder=" ...")
    yield ""
    yield from said(LEGEND).splitlines()


def _marks(support: Support) -> str:
    roles = "".join(
        mark if role in support.roles else "-"
        for mark, role in (("b", "bidirectional"), ("c", "causal"), ("x", "cross"))
    )
    abilities = "".join(
        mark if has else "-"
        for mark, has in (("s", support.steps), ("r", support.rnn), ("m", support.linear_memory))
    )
    kind = "pairs" if support.mask_kind == "pairwise" else "keys"
    return _MARKS.format(roles, kind, abilities)


def _docstring(name: str) -> str:
    """The docstring of a variant's file, which is parsed and not run."""
    (folder,) = variants.__path__
    source = (Path(folder) / f"{name}.py").read_text(encoding="utf-8")
    return ast.get_docstring(ast.parse(source)) or ""
