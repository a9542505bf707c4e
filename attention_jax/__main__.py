"""Lists, explains and draws the variants of attention.

python -m attention_jax                                      all of them, a line each
python -m attention_jax alibi --picture=alibi.png            one
python -m attention_jax sliding_window --option=size=8 --picture=window.png
python -m attention_jax --gallery=gallery.html               all of them, as one page
"""

import argparse
import ast
import difflib
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attention_jax import variants
from attention_jax.analysis.variant_info import Entry, describe

_COLUMNS = {
    "bidirectional": lambda entry: "bidirectional" in entry.roles,
    "causal": lambda entry: "causal" in entry.roles,
    "cross": lambda entry: "cross" in entry.roles,
    "masks": lambda entry: entry.mask_kind,
    "steps": lambda entry: entry.steps,
    "RNN": lambda entry: entry.rnn,
    "linear": lambda entry: entry.linear_memory,
}
_LEGEND = """
bidirectional   within one sequence, seen whole
causal          within one sequence, seen up to each query
cross           from one sequence to another
masks           pairs: any mask; keys: padding, beside the causal mask
steps           decoders go on by steps of its own, in place of kept keys and values
RNN             serves in RNN decoders
linear          memory grows with the length: neither output nor gradient needs t x s numbers
cost            its first term, of one head: t queries and s keys of width d, values of width e

All of them serve heads that share keys and values. One in full: python -m attention_jax NAME"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command; wrong arguments end it with a line on what is right."""
    parser = _parser()
    flags = parser.parse_args(arguments)
    try:
        _run(flags)
    except (ValueError, OSError) as error:
        parser.exit(2, f"{parser.prog}: {error}\n")


def _run(flags: argparse.Namespace) -> None:
    if flags.name is None:
        for flag in ("picture", "option"):
            if getattr(flags, flag):
                raise ValueError(f"--{flag} goes with the name of a variant; add one.")
        if flags.gallery:
            _write_gallery(flags.gallery)
        else:
            _print_all()
        return
    if flags.gallery:
        raise ValueError("--gallery is a page of all variants; leave the name out.")
    _check_name(flags.name)
    options = dict(_option(text) for text in flags.option)
    if not flags.picture:
        _print_one(describe(flags.name, **options))
        return
    # Drawing is not imported where only words are asked for.
    from attention_jax.analysis.plots import variant_patterns

    found = variant_patterns.patterns(flags.name, **options)
    variant_patterns.draw(found, flags.picture, title=flags.name)
    print(f"{flags.picture}: {flags.name}, {variant_patterns.caption(found)}")


def _print_all() -> None:
    names = variants.names()
    width = max(map(len, names)) + 2
    print(f"{'':<{width}}" + "".join(f"{x:<{_width(x)}}" for x in _COLUMNS) + f"{'cost':<38}claim")
    for name in names:
        entry = describe(name)
        marks = "".join(f"{_mark(of(entry)):<{_width(x)}}" for x, of in _COLUMNS.items())
        cost = _cut(entry.short_cost, 36)
        print(f"{name:<{width}}{marks}{cost:<38}{entry.claim}", flush=True)
    print(_LEGEND)


def _print_one(entry: Entry) -> None:
    print(f"{entry.name}\n\n{entry.docstring}\n\n{entry.signature}")
    print(textwrap.indent(f"\n{entry.options}\n", "    "))
    print(f"Family: {entry.family}.\nSupports: {', '.join(entry.supports)}.")


def _mark(value: bool | str) -> str:
    return value if isinstance(value, str) else "yes" if value else "-"


def _width(column: str) -> int:
    return max(len(column), len("pairs")) + 2


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 3].rstrip() + "..."


def _write_gallery(path: str) -> None:
    from attention_jax.analysis.pages import variant_gallery
    from attention_jax.analysis.plots import variant_patterns

    entries, patterns = [], {}
    names = variants.names()
    for number, name in enumerate(names, 1):
        print(f"\r{number}/{len(names)} {name:<30}", end="", file=sys.stderr, flush=True)
        entries.append(describe(name))
        try:
            patterns[name] = variant_patterns.patterns(name)
        except ValueError as error:
            patterns[name] = str(error)
    print(file=sys.stderr)
    Path(path).write_text(variant_gallery.page(entries, patterns), encoding="utf-8")
    print(path)


def _check_name(name: str) -> None:
    if name not in variants.names():
        close = difflib.get_close_matches(name, variants.names(), n=3, cutoff=0.5)
        meant = f" Did you mean {' or '.join(close)}?" if close else ""
        raise ValueError(
            f"there is no variant {name!r}.{meant} There are: {', '.join(variants.names())}."
        )


def _option(text: str) -> tuple[str, Any]:
    name, _, value = text.partition("=")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m attention_jax",
        description="Lists the variants of attention, with what each supports; or explains one.",
    )
    parser.add_argument("name", nargs="?", help="a variant, to be explained")
    parser.add_argument("--picture", metavar="FILE", help="draws where the variant looks")
    parser.add_argument(
        "--option", metavar="NAME=VALUE", action="append", default=[],
        help="an option of the variant; may be repeated",
    )  # fmt: skip
    parser.add_argument("--gallery", metavar="FILE", help="writes a page of all variants, as HTML")
    return parser


if __name__ == "__main__":
    main()
