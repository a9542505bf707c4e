"""Decoding beside Hugging Face's `generate` and CTranslate2: translations, and sampled texts.

    scripts/bench --suite=decoding --output=decoding.json
    scripts/bench --suite=decoding --peer=ctranslate2 --output=decoding.json

Sizes are equal, weights random, and EOS is never chosen, so that all sentences reach the length
that is asked for. A row is a model, tokens a sentence, sentences a batch and beams; both sides take
turns in one process. CTranslate2 has the weights of Hugging Face's Marian, whose layers are
normalized last; ours are normalized first. Texts are sampled from the `TOP_K` most probable tokens,
by a language model as deep and wide as the decoder, beside Hugging Face's GPT-2.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Int

from attention_jax.core.types import State
from attention_jax.data.types import EOS, SPECIAL_TOKENS
from attention_jax.decoding import beam, greedy, sample
from attention_jax.models.language import TransformerLM
from attention_jax.models.seq2seq_transformer import Seq2SeqTransformer
from attention_jax.nn.transformer import TransformerConfig
from experiments.benchmark import rows
from experiments.benchmark.rows import OURS, Row

SOURCE = 32  # tokens of each source
SHORT = 2048  # tokens of a call up to which it is warmed by another
TOP_K = 50  # tokens among which sampling draws
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
    models: tuple[str, ...] = tuple(MODELS)
    streams: tuple[int, ...] = ()
    sampled: int = 1024


class Job(NamedTuple):
    """One row."""

    model: str
    tokens: int
    batch: int
    beams: int
    task: str = "translate"  # or "sample"


class Peer(NamedTuple):
    """Another library.

    Attributes:
      name: of the library.
      theirs: `(config, source, job) -> call` that gives its tokens.
      reference: the same of a library whose weights it has, where it has another's.
    """

    name: str
    theirs: Callable[..., Callable[[], object]]
    reference: Callable[..., Callable[[], object]] | None = None


def jobs(settings: Settings) -> Iterator[Job]:
    """All rows, in the order in which they are measured."""
    for model in settings.models:
        for tokens in settings.lengths:
            for batch in settings.batches:
                for beams in settings.beams:
                    yield Job(model, tokens, batch, beams)
        for streams in settings.streams:
            yield Job(model, settings.sampled, streams, 1, "sample")


def measure(job: Job, settings: Settings, peer: Peer | None) -> Row:
    """Times of a whole search of both sides.

    Args:
      peer: the other side; None where it is not installed.
    """
    config = MODELS[job.model]._replace(vocabulary_size=settings.vocabulary)
    least = len(SPECIAL_TOKENS)
    source = jax.random.randint(
        jax.random.key(1), (job.batch, SOURCE), least, settings.vocabulary, jnp.int32
    )
    calls: dict[str, Any] = {OURS: (sampled if job.task == "sample" else ours)(config, source, job)}
    if peer is not None:
        calls[peer.name] = peer.theirs(config, source, job)
    memory: Any = calls[OURS].func.memory_analysis()
    # Threads of another side still wait for work, busily, for 0.2 s after its call.
    short = job.batch * job.tokens <= SHORT
    row = rows.measure("decoding", job._asdict(), calls, repeats=settings.repeats, warm=short)
    facts = dict(row.facts)
    if peer is not None and peer.reference is not None:
        expected = peer.reference(config, source, job)()
        facts["tokens_alike"] = float(np.mean(np.asarray(calls[peer.name]()) == expected))
    return row._replace(temporary_bytes=memory.temp_size_in_bytes, facts=facts)


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


def sampled(config: TransformerConfig, source: Array, job: Job) -> partial[Array]:
    """A call that samples tokens, with nothing to begin with, by a compiled program."""
    del source
    build = partial(_build_language, config._replace(positions="learned"))
    graphdef, _ = nnx.split(nnx.eval_shape(build))
    params = jax.jit(lambda: nnx.split(build())[1])()

    @jax.jit
    def search(params: State, key: Array) -> Int[Array, "b n t"]:
        model = nnx.merge(graphdef, params)

        def step(state: State, token: Array) -> tuple[State, Array]:
            state, logits = model.step(state, token)
            return state, logits.at[:, EOS].add(NEVER)

        state = model.start(job.batch, job.tokens)
        return sample(step, state, key=key, max_length=job.tokens, top_k=TOP_K).tokens

    key = jax.random.key(2)
    return partial(search.lower(params, key).compile(), params, key)


def _build(config: TransformerConfig) -> Seq2SeqTransformer:
    return Seq2SeqTransformer(config, rngs=nnx.Rngs(0))


def _build_language(config: TransformerConfig) -> TransformerLM:
    return TransformerLM(config, rngs=nnx.Rngs(0))


def header() -> str:
    """The names of the columns of `line`."""
    return f"{'':<38}{'ours':>10}{'theirs':>10}   ratio  spread         (ms a token)"


def line(row: Row) -> str:
    """A row in one line."""
    job = Job(**row.case)
    search = "sampled" if job.task == "sample" else f"beam {job.beams}"
    name = f"{job.model}: {job.batch} x {job.tokens} tokens, {search}"
    text = f"{name:<38}{(row.ours_ms or 0.0) / job.tokens:>10.3f}"
    for side, ratio in row.ratio.items():
        text += f"{row.peer_ms[side] / job.tokens:>10.3f}{ratio.median:>8.2f}"
        text += f"  {ratio.lowest:.2f} to {ratio.highest:.2f}"
    return f"{text}   {rows.costs(row)}"
