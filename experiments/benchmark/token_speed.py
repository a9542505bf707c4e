"""Time of a token in decoding as the text before it grows.

    python -P -m experiments.benchmark.token_speed --output=experiments/results/token_speed.json

A row is one layer of a variant, 8 heads of width 64 in float32, that reads the last tokens of a
text of some length, one after another in one program (`attention_jax.analysis.token_time`); its
time is that of one token. All variants of a length take turns, so that a machine that slows down
slows each.
"""

from collections.abc import Iterator, Sequence
from typing import Annotated, NamedTuple

from attention_jax import variants
from attention_jax.analysis import token_time
from attention_jax.core import checks
from experiments.benchmark import rows
from experiments.benchmark.markdown import table
from experiments.benchmark.rows import OURS, Results, Row, number
from experiments.common import flags, timing
from experiments.common.config import DeviceFlags
from experiments.common.flags import Flag

SUITE = "tokens"
# Every kind of cache: keys and values of all, of few and of near ones, latents, and each kind of
# state.
CHOSEN = (
    "scaled_dot",
    "alibi",
    "latent",
    "local_monotonic",
    "linear",
    "based",
    "retention",
    "gated_linear",
    "gated_delta",
    "mamba2",
    "kda",
    "rwkv7",
)


class TokenSpeed(NamedTuple):
    """A measurement of tokens.

    Attributes:
      variants: those that are measured.
      lengths: tokens of the text.
      repeats: counted calls of each.
      output: JSON file of the results.
    """

    variants: Annotated[tuple[str, ...], Flag(listed=True)] = CHOSEN
    lengths: Annotated[tuple[str, ...], Flag(listed=True)] = ("1024", "4096", "16384", "65536")
    repeats: Annotated[int, Flag(low=3)] = 15
    output: str | None = None


def main() -> None:
    """Measures length after length, prints the table, and writes all there are."""
    config = flags.config_from_flags(TokenSpeed())
    sizes = timing.lengths("lengths", config.lengths)
    checks.at_most("STEPS", token_time.STEPS, "lengths", min(sizes))
    results = rows.start(SUITE)
    for length in sizes:
        results = rows.added(results, *measure(config.variants, length, repeats=config.repeats))
        rows.write(results, config.output)
    results = rows.finished(results)
    print(*lines(results), sep="\n")
    rows.write(results, config.output)


def measure(names: Sequence[str], length: int, *, repeats: int) -> Iterator[Row]:
    """The rows of all variants at one length."""
    calls = {name: token_time.reads(variants.get(name), length) for name in names}
    for name, times in timing.interleaved(calls, repeats, warm=True).items():
        own = times._replace(seconds=tuple(x / token_time.STEPS for x in times.seconds))
        yield rows.from_times(SUITE, {"variant": name, "length": length}, {OURS: own})


def lines(results: Results) -> list[str]:
    """The table: microseconds of a token, a variant in each line."""
    sizes = sorted({row.case["length"] for row in results.rows})
    found = {(row.case["variant"], row.case["length"]): row.ours_ms for row in results.rows}
    titles = ("microseconds of a token", *(f"after {n:,}" for n in sizes))
    names = dict.fromkeys(row.case["variant"] for row in results.rows)

    def cell(time: float | None) -> str:
        return number(None if time is None else 1e3 * time)

    return table(titles, ((name, *(cell(found.get((name, n))) for n in sizes)) for name in names))


if __name__ == "__main__":
    flags.launch(main, TokenSpeed(), DeviceFlags())
