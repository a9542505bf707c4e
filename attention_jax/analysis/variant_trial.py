"""A trial of a variant: which promises it keeps, and what it costs beside scaled dot."""

import textwrap
from collections.abc import Iterator
from typing import Literal, NamedTuple

import jax

from attention_jax import variants
from attention_jax.analysis.call_times import call_times
from attention_jax.analysis.variant_support import ways
from attention_jax.core import checks
from attention_jax.core.plain_types import typed_calls
from attention_jax.core.types import Options, Variant
from attention_jax.variants._by_queries import by_queries
from attention_jax.variants._conformance import PROMISES, Case, NotPromised

LENGTHS, HEADS, WIDTH, REPEATS = (256, 1024), 4, 16, 3


class Verdict(NamedTuple):
    """One promise, and whether the variant keeps it.

    Attributes:
      text: the promise in words.
      mark: "kept", "broken", or "n/a" where the variant does not make it.
      why: in words, unless it is kept.
    """

    text: str
    mark: Literal["kept", "broken", "n/a"]
    why: str


class Cost(NamedTuple):
    """Time and temporary memory of one forward pass."""

    seconds: float
    temporary_bytes: int


@typed_calls
def verdicts(variant: Variant) -> Iterator[Verdict]:
    """Each promise in turn; one that ends in any other error counts as broken."""
    case = Case(variant)
    for promise in PROMISES:
        try:
            promise.check(case)
        except NotPromised as why:
            yield Verdict(promise.text, "n/a", str(why))
        except AssertionError as sentence:
            yield Verdict(promise.text, "broken", str(sentence))
        except Exception as error:  # whatever a person's own function raises
            yield Verdict(promise.text, "broken", f"{type(error).__name__}: {_first_line(error)}")
        else:
            yield Verdict(promise.text, "kept", "")


@typed_calls
def line(verdict: Verdict) -> str:
    """The verdict as text of 80 columns; the reason, where there is one, on lines of its own."""
    parts = [f"{verdict.mark:<6}  {verdict.text}", f"        {verdict.why}"]
    return "\n".join(
        textwrap.fill(part, 80, subsequent_indent=" " * 8) for part in parts if part.strip()
    )


@typed_calls
def cost(variant: Variant, length: int) -> Cost:
    """The best of `REPEATS` forward passes, `HEADS` heads of width `WIDTH`, compiled."""
    checks.positive("length", length)
    variant = by_queries(variant)
    mask = next(iter(ways(variant).values()))
    key = jax.random.key(0)
    options = Options(mask, dropout_key=key if variant.stochastic else None)
    x = jax.random.normal(key, (1, length, HEADS, WIDTH))
    params = variant.init(key, heads=HEADS, kv_heads=HEADS, head_width=WIDTH)
    run = jax.jit(lambda params, x: variant.attend(params, x, x, x, options))
    compiled = run.lower(params, x).compile()
    best = min(call_times(lambda: compiled(params, x), REPEATS))
    memory = compiled.memory_analysis()
    return Cost(best, 0 if memory is None else memory.temp_size_in_bytes)


@typed_calls
def cost_lines(variant: Variant) -> Iterator[str]:
    """The cost at each of `LENGTHS`, beside that of scaled dot."""
    yield f"Forward pass, {HEADS} heads of width {WIDTH}; scaled_dot in parentheses:"
    for length in LENGTHS:
        try:
            own, plain = (cost(x, length) for x in (variant, variants.get("scaled_dot")))
        except ValueError as error:
            yield f"  {length:>5} positions: {_first_line(error)}"
            continue
        yield (
            f"  {length:>5} positions: {own.seconds * 1e3:8.2f} ms ({plain.seconds * 1e3:.2f}), "
            f"{own.temporary_bytes / 2**20:8.2f} MiB of memory "
            f"({plain.temporary_bytes / 2**20:.2f})"
        )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0]
