"""Lists, explains, draws and tries variants of attention; shows a trained model at work.

attention-jax list                                   all of the library, by family
attention-jax show sliding_window                    one in full
attention-jax draw "sliding_window(size=8)"          where it looks, as a figure
attention-jax try mine.py                            your own file: promises, figure, cost
attention-jax gallery --output=gallery.html          all of them, as one page
attention-jax lesson --output=lesson.html            a trained translator to type to and look into

`python -m attention_jax` does the same.
"""

import argparse
import os
import sys
import textwrap
from collections.abc import Sequence

from attention_jax import variants
from attention_jax.analysis import variant_info, variant_list, variant_support
from attention_jax.core.files import write_whole
from attention_jax.core.messages import said

TEXT = 'a variant, such as alibi, "sliding_window(size=8)", mine.py or "mine.py:mine(p=2)"'


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command; wrong arguments end it with a line that names the remedy."""
    parser = _parser()
    flags = parser.parse_args(arguments)
    try:
        flags.run(flags)
    except BrokenPipeError:  # of `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (ValueError, OSError, ImportError) as error:
        parser.exit(2, f"{parser.prog}: {error}\n")


def _list(flags: argparse.Namespace) -> None:
    for line in variant_list.lines(variant_list.rows(flags.variants or variants.names())):
        print(line)


def _show(flags: argparse.Namespace) -> None:
    entry = variant_info.describe(flags.variant)
    # A file of one's own may lack either docstring.
    parts = entry.name, entry.docstring, entry.signature, textwrap.indent(entry.options, "    ")
    print(*filter(None, parts), sep="\n\n", end="\n\n")
    if entry.aliases:
        print(said("Also called: {names}.").format(names=", ".join(entry.aliases)))
    print(said("Family: {family}.").format(family=said(entry.family)))
    print(said("Supports: {abilities}.").format(abilities=", ".join(map(said, entry.supports))))
    # Layers are not imported where variants are only listed.
    from attention_jax.analysis import cache_cost, token_time

    variant = variants.resolve(flags.variant)
    for line in cache_cost.lines(variant):
        print(line)
    for line in token_time.lines(variant) if flags.time else ():
        print(line, flush=True)


def _draw(flags: argparse.Namespace) -> None:
    # Drawing is not imported where only words are asked for.
    from attention_jax.analysis.plots import variant_patterns

    spec = variants.parse(flags.variant)
    try:
        found = variant_patterns.patterns(spec.name, **spec.options)
    except ValueError as error:
        raise ValueError(f"No figure of {flags.variant}: {error}") from error
    output = flags.output or f"{variants.slug(flags.variant)}.png"
    variant_patterns.draw(found, output, title=spec.name)
    print(f"{output}: {spec.name}, {variant_patterns.caption(found)}")


def _gallery(flags: argparse.Namespace) -> None:
    from attention_jax.analysis.decoding_costs import decoding_costs
    from attention_jax.analysis.pages import variant_gallery
    from attention_jax.analysis.plots import variant_patterns

    entries, patterns, costs = [], {}, {}
    names = variants.names()
    for number, name in enumerate(names, 1):
        print(f"\r{number}/{len(names)} {name:<30}", end="", file=sys.stderr, flush=True)
        entries.append(variant_info.describe(name))
        try:
            patterns[name] = variant_patterns.patterns(name)
        except ValueError as error:
            patterns[name] = str(error)
        costs[name] = decoding_costs(variants.get(name), timed=flags.time)
    print(file=sys.stderr)
    write_whole(flags.output, variant_gallery.page(entries, patterns, costs))
    print(flags.output)


def _lesson(flags: argparse.Namespace) -> None:
    from attention_jax.analysis.pages.live import demo

    write_whole(flags.output, demo.page())
    print(flags.output)


def _try(flags: argparse.Namespace) -> None:
    from attention_jax.analysis import variant_trial

    variant, broken = variants.resolve(flags.variant), 0
    for verdict in variant_trial.verdicts(variant):
        print(variant_trial.line(verdict), flush=True)
        broken += verdict.mark == "broken"
    print(f"\n{', '.join(variant_support.support_of(variant).words)}")
    for line in variant_trial.cost_lines(variant):
        print(line, flush=True)
    try:
        _draw(flags)
    except ValueError as error:  # one without weights has no figure
        print(error)
    if broken:
        sys.exit(1)


def _record(flags: argparse.Namespace) -> None:
    """Writes what `list` reads; after a change of what a variant of the library supports."""
    print(variant_support.record())


def _shared() -> tuple[argparse.ArgumentParser, argparse.ArgumentParser]:
    """Arguments of several verbs: a variant, and whether tokens are timed."""
    one, timed = (argparse.ArgumentParser(add_help=False) for _ in range(2))
    one.add_argument("variant", help=TEXT)
    timed.add_argument("--time", action="store_true", help="measure the time of a token too")
    return one, timed


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="attention-jax", description="Lists, explains, draws and tries variants of attention."
    )
    verbs = parser.add_subparsers(
        metavar="list | show | draw | try | gallery | lesson", required=True
    )

    def verb(
        name: str, run: object, words: str, *shared: argparse.ArgumentParser
    ) -> argparse.ArgumentParser:
        made = verbs.add_parser(name, help=words, parents=shared)
        made.set_defaults(run=run)
        return made

    one, timed = _shared()
    made = verb("list", _list, "the variants by family, and what each supports")
    made.add_argument("variants", nargs="*", help="these alone; files of your own too")
    verb("show", _show, "one variant in full", one, timed)
    made = verb("draw", _draw, "a figure of where a variant looks", one)
    made.add_argument("--output", metavar="FILE", help="the figure; its suffix names the format")
    made = verb("try", _try, "holds a file of your own to every promise, draws it, times it", one)
    made.add_argument("--output", metavar="FILE", help="the figure")
    made = verb("gallery", _gallery, "all variants as one HTML page", timed)
    made.add_argument("--output", metavar="FILE", default="gallery.html", help="the page")
    made = verb("lesson", _lesson, "a page in which a trained translator computes, to look into")
    made.add_argument("--output", metavar="FILE", default="lesson.html", help="the page")
    # For those who work on the library; without help it is not listed.
    verbs.add_parser("record").set_defaults(run=_record)
    return parser


if __name__ == "__main__":
    main()
