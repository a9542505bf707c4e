"""Configuration, sequences and model of a run about memory."""

import math
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Literal, NamedTuple

import jax
import numpy as np
from flax import nnx

from attention_jax.data import memory_tasks
from attention_jax.data.memory_tasks import DrawnBatches
from attention_jax.models import language
from attention_jax.training import objectives
from experiments.common.config import DeviceFlags, MeshFlags, ModelFlags, RunFlags, TrainingFlags
from experiments.common.experiment import Build
from experiments.common.flags import Flag, Only
from experiments.common.timing import lengths

PROBLEMS = ("associative", "copying", "induction", "parity", "permutations", "adding")
# Added to --seed, so that no batch of one of the three is drawn for another.
VALIDATION_SEED, TEST_SEED = 2_000_000, 1_000_000
VALIDATION_ROWS = 256
EPOCH_ROWS = 1024  # training never repeats itself; an epoch is a name for so many sequences


class DataFlags(NamedTuple):
    """The problem, its sizes, and how it is tested.

    Attributes:
      problem: what must be remembered.
      length: positions of a training sequence.
      rows: sequences a batch.
      vocabulary: associative, induction: tokens.
      pairs: associative: pairs of a sequence.
      power: associative: power of the gaps; 1 makes them uniform.
      symbols: copying: symbols to copy.
      alphabet: copying: different symbols there are.
      items: permutations: that change places; of 5 there are 120 permutations, each a token.
      moved: permutations: a token changes the places of so many items at most; 2: swaps alone, of
        which 5 items have 10. Default: tokens are all permutations.
      shorter_lengths: train on sequences of these lengths too, one length a batch, all as likely;
        associative: with --pairs in proportion.
      test_lengths: lengths of tests beside --length. Default: its double and fourfold.
      test_rows: sequences of each test.
    """

    problem: Literal["associative", "copying", "induction", "parity", "permutations", "adding"] = (
        "associative"
    )
    length: Annotated[int, Flag(low=2)] = 64
    rows: Annotated[int, Flag(low=1)] = 64
    vocabulary: Annotated[int, Flag(low=3)] = 8192
    pairs: Annotated[int, Flag(low=1)] = 4
    power: float = 0.01
    symbols: Annotated[int, Flag(low=1)] = 10
    alphabet: Annotated[int, Flag(low=1)] = 8
    items: Annotated[int, Flag(low=2, high=6)] = 5
    moved: Annotated[int | None, Flag(low=2, high=6)] = None
    shorter_lengths: Annotated[tuple[str, ...], Flag(listed=True)] = ()
    test_lengths: Annotated[tuple[str, ...] | None, Flag(listed=True, may_change=True)] = None
    test_rows: Annotated[int, Flag(low=1, may_change=True)] = 1024


class CostFlags(NamedTuple):
    """Costs by length.

    Attributes:
      cost_lengths: lengths at which the time and memory of a step are measured;
        64,256,1024,4096,16384 shows how they grow.
      cost_repeats: counted calls of each cost.
    """

    cost_lengths: Annotated[tuple[str, ...], Flag(listed=True, kept=False)] = ()
    cost_repeats: Annotated[int, Flag(low=1, kept=False)] = 3


class MemoryConfig(NamedTuple):
    """A run of experiments.memory, each field a group of flags."""

    run: RunFlags = RunFlags()
    data: DataFlags = DataFlags()
    model: ModelFlags = ModelFlags(dropout=0.0)
    # Of a number, which --problem=adding asks for, there is no perplexity.
    training: Annotated[TrainingFlags, Only(select=("loss", "accuracy"))] = TrainingFlags()
    costs: CostFlags = CostFlags()
    device: DeviceFlags = DeviceFlags()
    mesh: MeshFlags = MeshFlags()


class Sequences(NamedTuple):
    """Batches of training and validation, and those of each test by their length."""

    training: DrawnBatches
    validation: DrawnBatches
    tests: dict[int, DrawnBatches]


def load(config: MemoryConfig) -> Sequences:
    """The sequences; none of training is one of validation or of a test.

    Raises:
      ValueError: the problem does not fit into a length.
    """
    own, seed = config.data, config.run.seed
    check(own, lengths("cost_lengths", config.costs.cost_lengths))
    tests = {length: testing(own, seed, length) for length in test_lengths(own)}
    return Sequences(training(own, seed), validation(own, seed), tests)


def problem(data: DataFlags, length: int, pairs: int | None = None) -> memory_tasks.Problem:
    """The problem at a length; associative: with as many pairs as are given, or as flags say."""
    recall = memory_tasks.multi_query_associative_recall
    symbols = {"symbols": data.symbols, "alphabet": data.alphabet}
    gaps = {"pairs": pairs or data.pairs, "power": data.power}
    tokens = {"vocabulary": data.vocabulary}
    draw, options = {
        "associative": (recall, gaps | tokens),
        "copying": (memory_tasks.copying, symbols),
        "induction": (memory_tasks.induction, tokens),
        "parity": (memory_tasks.permutations, {"items": 2}),
        "permutations": (memory_tasks.permutations, {"items": data.items, "moved": data.moved}),
        "adding": (memory_tasks.adding, {}),
    }[data.problem]
    return partial(draw, length=length, **options)


def check(data: DataFlags, lengths: Sequence[int]) -> None:
    """Refuses lengths that the problem does not fit into, before anything is trained.

    Raises:
      ValueError: it does not.
    """
    _check([problem(data, length) for length in lengths])


def training(data: DataFlags, seed: int) -> DrawnBatches:
    """Batches to learn from: of --length, and of shorter ones where flags add such.

    Raises:
      ValueError: one of the shorter ones is not.
    """
    whole, shorter = data.length, lengths("shorter_lengths", data.shorter_lengths)
    if max(shorter, default=0) >= whole:
        raise ValueError(
            f"`--shorter_lengths` must be below --length={whole}; got {max(shorter)}. Where longer "
            "ones are to be learned, make --length the longest."
        )
    parts = [problem(data, length, max(1, data.pairs * length // whole)) for length in shorter]
    return _batches(data, [problem(data, whole), *parts], seed=seed, rows=EPOCH_ROWS)


def validation(data: DataFlags, seed: int) -> DrawnBatches:
    """Batches that pick the best checkpoint, of the length of training."""
    parts = [problem(data, data.length)]
    return _batches(data, parts, seed=seed + VALIDATION_SEED, rows=VALIDATION_ROWS)


def testing(data: DataFlags, seed: int, length: int) -> DrawnBatches:
    """Batches of a test of --test_rows sequences at least."""
    return _batches(data, [problem(data, length)], seed=seed + TEST_SEED, rows=data.test_rows)


def test_lengths(data: DataFlags) -> tuple[int, ...]:
    """The length of training, and the others that flags ask for."""
    if data.test_lengths is None:
        return data.length, 2 * data.length, 4 * data.length
    return tuple(dict.fromkeys((data.length, *lengths("test_lengths", data.test_lengths))))


def build(config: MemoryConfig, max_length: int) -> Build:
    """`key -> model` for sequences up to a length."""
    own = config.data
    counts = {"copying": own.alphabet + 2, "adding": 1, "parity": 2}
    counts["permutations"] = math.factorial(own.items)
    tokens = counts.get(own.problem, own.vocabulary)
    network = config.model.network(tokens, max_length=max_length)

    def make(key: jax.Array) -> nnx.Module:
        rngs = nnx.Rngs(key)
        body = language.build(network, rngs=rngs)
        if own.problem == "adding":
            return language.SequenceRegressor(body, 2, rngs=rngs)
        return body

    return make


def objective(config: MemoryConfig) -> objectives.Objective:
    """The loss of what the problem asks for: a token, or a number."""
    adds = config.data.problem == "adding"
    return objectives.regression if adds else objectives.next_token


def _batches(
    data: DataFlags, parts: Sequence[memory_tasks.Problem], *, seed: int, rows: int
) -> DrawnBatches:
    _check(parts)
    per_epoch = -(-rows // data.rows)
    return DrawnBatches(
        memory_tasks.mixed(*parts), rows=data.rows, seed=seed, batches_per_epoch=per_epoch
    )


def _check(parts: Sequence[memory_tasks.Problem]) -> None:
    for part in parts:
        part(np.random.default_rng(0), 1)
