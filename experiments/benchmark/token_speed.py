"""Time of a token in decoding as the text before it grows.

    python -P -m experiments.benchmark.token_speed --output=experiments/results/token_speed.json

A row is one layer of a variant, 8 heads of width 64 in float32, that reads the last tokens of a
text of some length, one after another in one program (`attention_jax.analysis.token_time`); its
time is that of one token. All variants of a length take turns, so that a machine that slows down
slows each.
"""

from collections.abc import Iterator, Sequence
from typing import Annotated, NamedTuple

from matplotlib.figure import Figure

from attention_jax import variants
from attention_jax.analysis import token_time
from attention_jax.analysis.plots import style
from attention_jax.core import checks
from experiments.benchmark import rows
from experiments.benchmark.rows import OURS, Results, Row, number
from experiments.common import flags, timing
from experiments.common.config import DeviceFlags
from experiments.common.flags import Flag
from experiments.common.markdown import table

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
      picture: file of a figure; its suffix names the format.
    """

    variants: Annotated[tuple[str, ...], Flag(listed=True)] = CHOSEN
    lengths: Annotated[tuple[str, ...], Flag(listed=True)] = ("1024", "4096", "16384", "65536")
    repeats: Annotated[int, Flag(low=3)] = 15
    output: str | None = None
    picture: str | None = None


def main() -> None:
    """Measures length after length, prints the table, writes all there are and draws them."""
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
    if config.picture:
        plot(results, config.picture)


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


def plot(results: Results, path: str | None = None) -> Figure:
    """Draws the time of a token against the text before it, a line for each variant.

    Args:
      results: with a row for each variant and length.
      path: the file to write; its suffix names the format.
    """
    figure, panels = style.figure(size=(8.6, 4.4))
    axes = panels[0, 0]
    for at, name in enumerate(dict.fromkeys(row.case["variant"] for row in results.rows)):
        own = {
            row.case["length"]: row.ours_ms for row in results.rows if row.case["variant"] == name
        }
        found = sorted((length, 1e3 * time) for length, time in own.items() if time is not None)
        axes.plot(*zip(*found, strict=True), **style.line(at), label=name)
    style.length_axis(axes, sorted({row.case["length"] for row in results.rows}))
    style.log_axis(axes)
    axes.set_xlabel("tokens before")
    style.panel(axes, "time of a token in one layer, microseconds")
    style.legend_beside(axes)
    return style.saved(figure, path)


if __name__ == "__main__":
    flags.launch(main, TokenSpeed(), DeviceFlags())
