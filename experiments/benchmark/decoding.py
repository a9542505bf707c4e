"""Decoding of a translation model beside Hugging Face's `generate`, on random sources.

    scripts/bench --suite=decoding --output=decoding.json

Sizes are equal, weights random, and EOS is never chosen, so that all sentences reach the length
that is asked for. A row is a model, tokens a sentence, sentences a batch and beams; both sides take
turns in one process.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Int

from attention_jax.core.types import State
from attention_jax.data.types import EOS, SPECIAL_TOKENS
from attention_jax.decoding import beam, greedy
from attention_jax.models.seq2seq_transformer import Seq2SeqTransformer
from attention_jax.nn.transformer import TransformerConfig
from experiments.benchmark import rows
from experiments.benchmark.rows import OURS, Row

SOURCE = 32  # tokens of each source
NEVER = -1e9  # added to the logit of EOS
MODELS = {
    "tiny": TransformerConfig(0, dropout_rate=0.0),
    "base": TransformerConfig(0, width=512, layers=3, heads=8, feed_forward=2048, dropout_rate=0.0),
}


class Settings(NamedTuple):
    """The rows to measure; the flags of `experiments.benchmark` explain each field."""

    vocabulary: int
    lengths: tuple[int, ...]
    batches: tuple[int, ...]
    beams: tuple[int, ...]
    repeats: int


class Job(NamedTuple):
    """One row."""

    model: str
    tokens: int
    batch: int
    beams: int


def jobs(settings: Settings) -> Iterator[Job]:
    """All rows, in the order in which they are measured."""
    for model in MODELS:
        for tokens in settings.lengths:
            for batch in settings.batches:
                for beams in settings.beams:
                    yield Job(model, tokens, batch, beams)


def measure(
    job: Job, settings: Settings, theirs: Callable[..., Callable[[], object]] | None
) -> Row:
    """Times of a whole search of both sides.

    Args:
      theirs: `(config, source, job) -> call` of the other side; None where it is not installed.
    """
    config = MODELS[job.model]._replace(vocabulary_size=settings.vocabulary)
    least = len(SPECIAL_TOKENS)
    source = jax.random.randint(
        jax.random.key(1), (job.batch, SOURCE), least, settings.vocabulary, jnp.int32
    )
    calls: dict[str, Any] = {OURS: ours(config, source, job)}
    if theirs is not None:
        calls["hugging_face"] = theirs(config, source, job)
    memory: Any = calls[OURS].func.memory_analysis()
    row = rows.measure("decoding", job._asdict(), calls, repeats=settings.repeats)
    return row._replace(temporary_bytes=memory.temp_size_in_bytes)


def ours(config: TransformerConfig, source: Int[Array, "b s"], job: Job) -> partial[Array]:
    """A call that gives the tokens of our search, by a compiled program."""
    build = partial(_build, config)
    graphdef, _ = nnx.split(nnx.eval_shape(build))
    params = jax.jit(lambda: nnx.split(build())[1])()

    @jax.jit
    def search(params: State, source: Int[Array, "b s"]) -> Int[Array, "b n t"]:
        model = nnx.merge(graphdef, params)

        def step(state: State, token: Array) -> tuple[State, Array]:
            state, logits = model.step(state, token)
            return state, logits.at[:, EOS].add(NEVER)

        state = model.start(model.encode(source, jnp.ones(source.shape, bool)), job.tokens)
        if job.beams == 1:
            return greedy(step, state, max_length=job.tokens).tokens
        return beam(step, state, max_length=job.tokens, beam_size=job.beams).tokens

    return partial(search.lower(params, source).compile(), params, source)


def _build(config: TransformerConfig) -> Seq2SeqTransformer:
    return Seq2SeqTransformer(config, rngs=nnx.Rngs(0))


def header() -> str:
    """The names of the columns of `line`."""
    return f"{'':<36}{'ours':>10}{'Hugging Face':>14}   ratio  spread         (ms a token)"


def line(row: Row) -> str:
    """A row in one line."""
    job = Job(**row.case)
    name = f"{job.model}: {job.batch} x {job.tokens} tokens, beam {job.beams}"
    text = f"{name:<36}{(row.ours_ms or 0.0) / job.tokens:>10.3f}"
    for side, ratio in row.ratio.items():
        text += f"{row.peer_ms[side] / job.tokens:>14.3f}{ratio.median:>8.2f}"
        text += f"  {ratio.lowest:.2f} to {ratio.highest:.2f}"
    return f"{text}   {rows.costs(row)}"
