"""Time of a token in decoding as the text before it grows.

    python -P -m experiments.benchmark.token_speed --output=experiments/results/token_speed.json

A row is one layer of a variant, 8 heads of width 64 in float32, that reads the last `STEPS` tokens
of a text of some length, one after another in one program; its time is that of one token. The cache
has room for the text, and is changed in place. All variants of a length take turns, so that a
machine that slows down slows each.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array

from attention_jax import variants
from attention_jax.analysis.cache_cost import HEADS, WIDTH
from attention_jax.core import checks
from attention_jax.nn.attention import MultiHeadAttention
from experiments.benchmark import rows
from experiments.benchmark.markdown import table
from experiments.benchmark.rows import OURS, Results, Row, number
from experiments.common import flags, timing
from experiments.common.config import DeviceFlags
from experiments.common.flags import Flag

SUITE = "tokens"
STEPS = 16  # tokens of a call
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
    checks.at_most("STEPS", STEPS, "lengths", min(sizes))
    results = rows.start(SUITE)
    for length in sizes:
        results = rows.added(results, *measure(config.variants, length, repeats=config.repeats))
        rows.write(results, config.output)
    results = rows.finished(results)
    print(*lines(results), sep="\n")
    rows.write(results, config.output)


def measure(names: Sequence[str], length: int, *, repeats: int) -> Iterator[Row]:
    """The rows of all variants at one length."""
    calls = {name: reads(name, length) for name in names}
    for name, times in timing.interleaved(calls, repeats, warm=True).items():
        own = times._replace(seconds=tuple(x / STEPS for x in times.seconds))
        yield rows.from_times(SUITE, {"variant": name, "length": length}, {OURS: own})


def reads(name: str, length: int) -> Callable[[], Array]:
    """A call that reads the last tokens of a text of this length, by a compiled program."""
    width = HEADS * WIDTH

    def build() -> MultiHeadAttention:
        return MultiHeadAttention(width, heads=HEADS, variant=variants.get(name), rngs=nnx.Rngs(0))

    graphdef, _ = nnx.split(nnx.eval_shape(build))
    params = jax.jit(lambda: nnx.split(build())[1])()
    x = jax.random.normal(jax.random.key(1), (STEPS, 1, 1, width))
    first = length - STEPS

    @functools.partial(jax.jit, donate_argnums=1)
    def read(params: Any, cache: Any, x: Array) -> tuple[Any, Array]:
        layer = nnx.merge(graphdef, params)

        def step(cache: Any, own: tuple[Array, Array]) -> tuple[Any, Array]:
            return layer.decode_step(own[0], cache, own[1])

        at = first + jnp.arange(STEPS, dtype=jnp.int32)
        return jax.lax.scan(step, cache, (x, at))

    # Copies, for keys and values begin as one array, which cannot be given away twice.
    empty = nnx.merge(graphdef, params).init_cache(1, length)
    held = [_at(jax.tree.map(jnp.array, empty), first)]

    def call() -> Array:
        cache, out = read(params, held[0], x)
        held[0] = _at(cache, first)
        return out

    return call


def _at(cache: Any, position: int) -> Any:
    """A cache whose next position is this one, where it counts positions."""
    whole = lambda leaf: jnp.issubdtype(leaf.dtype, jnp.integer)  # noqa: E731
    return jax.tree.map(lambda x: jnp.full_like(x, position) if whole(x) else x, cache)


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
