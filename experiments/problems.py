"""What scripts of memory share: the problem, the model and its objective, as flags say."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags
from flax import nnx

from attention_jax.core.types import Params
from attention_jax.data import memory_tasks
from attention_jax.data.memory_tasks import DrawnBatches
from attention_jax.models import language
from attention_jax.training import objectives
from experiments import common, run_folders, timing

FLAGS = flags.FLAGS
PROBLEMS = ("associative", "copying", "induction", "adding")
# Added to --seed, so that no batch of one of the three is drawn for another.
VALIDATION_SEED, TEST_SEED = 2_000_000, 1_000_000
VALIDATION_ROWS = 256
EPOCH_ROWS = 1024  # training never repeats itself; an epoch is a name for so many sequences


def define_flags() -> None:
    """The problem, its sizes, and how it is tested."""
    flags.DEFINE_enum("problem", "associative", PROBLEMS, "What must be remembered.")
    flags.DEFINE_integer("length", 64, "Positions of a training sequence.", lower_bound=2)
    flags.DEFINE_integer("rows", 64, "Sequences a batch.", lower_bound=1)
    flags.DEFINE_integer("vocabulary", 8192, "Associative, induction: tokens.", lower_bound=3)
    flags.DEFINE_integer("pairs", 4, "Associative: pairs of a sequence.", lower_bound=1)
    flags.DEFINE_float("power", 0.01, "Associative: power of the gaps; 1 makes them uniform.")
    flags.DEFINE_integer("symbols", 10, "Copying: how many.", lower_bound=1)
    flags.DEFINE_integer("alphabet", 8, "Copying: of how many different ones.", lower_bound=1)
    flags.DEFINE_list(
        "shorter_lengths", [], "Train on sequences of these lengths too, one length a batch, all "
        "as likely; associative: with --pairs in proportion."
    )  # fmt: skip
    flags.DEFINE_list(
        "test_lengths", None, "Lengths of tests beside --length. Default: its double and fourfold."
    )
    flags.DEFINE_integer("test_rows", 1024, "Sequences of each test.", lower_bound=1)


run_folders.keep_flags_of(__name__)


def problem(length: int, pairs: int | None = None) -> memory_tasks.Problem:
    """The problem that flags name, at a length; associative: with as many pairs as they say."""
    own: dict[str, dict[str, Any]] = {
        "associative": {
            "pairs": pairs or FLAGS.pairs,
            "vocabulary": FLAGS.vocabulary,
            "power": FLAGS.power,
        },
        "copying": {"symbols": FLAGS.symbols, "alphabet": FLAGS.alphabet},
        "induction": {"vocabulary": FLAGS.vocabulary},
        "adding": {},
    }
    return partial(getattr(memory_tasks, FLAGS.problem), length=length, **own[FLAGS.problem])


def check(lengths: Sequence[int]) -> None:
    """Refuses lengths that the problem does not fit into, before anything is trained."""
    _check(*map(problem, lengths))


def training() -> DrawnBatches:
    """Batches to learn from: of --length, and of shorter ones where flags add such."""
    whole, shorter = FLAGS.length, timing.lengths("shorter_lengths", FLAGS.shorter_lengths)
    if max(shorter, default=0) >= whole:
        raise ValueError(
            f"`--shorter_lengths` must be below --length={whole}; got {max(shorter)}. Where longer "
            "ones are to be learned, make --length the longest."
        )
    parts = [problem(length, max(1, FLAGS.pairs * length // whole)) for length in shorter]
    return _batches(problem(whole), *parts, seed=FLAGS.seed, rows=EPOCH_ROWS)


def validation() -> DrawnBatches:
    """Batches that pick the best checkpoint, of the length of training."""
    seed = FLAGS.seed + VALIDATION_SEED
    return _batches(problem(FLAGS.length), seed=seed, rows=VALIDATION_ROWS)


def tests(length: int) -> DrawnBatches:
    """Batches of a test of --test_rows sequences at least."""
    return _batches(problem(length), seed=FLAGS.seed + TEST_SEED, rows=FLAGS.test_rows)


def _batches(*parts: memory_tasks.Problem, seed: int, rows: int) -> DrawnBatches:
    _check(*parts)
    per_epoch = -(-rows // FLAGS.rows)
    return DrawnBatches(
        memory_tasks.mixed(*parts), rows=FLAGS.rows, seed=seed, batches_per_epoch=per_epoch
    )


def _check(*parts: memory_tasks.Problem) -> None:
    for part in parts:
        part(np.random.default_rng(0), 1)


def test_lengths() -> tuple[int, ...]:
    """The length of training, and the others that flags ask for."""
    texts = FLAGS.test_lengths
    if texts is None:
        return FLAGS.length, 2 * FLAGS.length, 4 * FLAGS.length
    return tuple(dict.fromkeys((FLAGS.length, *timing.lengths("test_lengths", texts))))


def builder(max_length: int) -> Callable[[jax.Array], Any]:
    """`key -> model` for sequences up to a length, as flags say."""
    tokens = {"copying": FLAGS.alphabet + 2, "adding": 1}.get(FLAGS.problem, FLAGS.vocabulary)
    config = common.model_config(tokens, max_length=max_length)

    def build(key: jax.Array) -> Any:
        rngs = nnx.Rngs(key)
        body = language.build(config, rngs=rngs)
        return language.SequenceRegressor(body, 2, rngs=rngs) if FLAGS.problem == "adding" else body

    return build


def objective() -> objectives.Objective:
    """What the problem asks for: a token, or a number."""
    return objectives.regression if FLAGS.problem == "adding" else objectives.next_token


def scorer(graphdef: Any) -> Callable[[Params, DrawnBatches], dict[str, list]]:
    """A function that counts what is right in each sequence, and at each distance.

    It gives `rows`, [right, count] of each sequence; and `distances`, [low, high, right, count] of
    the predictions whose need lies low to high positions back, high not included.
    """

    @jax.jit
    def right(params: Params, batch: Any) -> jax.Array:
        model: Any = nnx.merge(graphdef, params)
        if FLAGS.problem == "adding":
            return jnp.abs(model.predict(batch.vectors) - batch.targets) < 0.04
        return model.logits(batch.tokens).argmax(-1) == batch.targets

    def score(params: Params, batches: DrawnBatches) -> dict[str, list]:
        rows, hits, far = [], [], []
        for index in range(batches.batches_per_epoch):
            batch, distance = batches.drawn(index)
            counts = batch.weights > 0
            hit = np.asarray(right(params, batch)) & counts
            by_row = (x.reshape(len(x), -1).sum(1) for x in (hit, counts))
            rows += np.stack(list(by_row), axis=1).tolist()
            hits.append(hit[counts])
            far.append(distance[counts])
        return {"rows": rows, "distances": _by_distance(np.concatenate(hits), np.concatenate(far))}

    return score


def _by_distance(hits: np.ndarray, far: np.ndarray) -> list[list[int]]:
    """Counts between powers of two."""
    power = np.floor(np.log2(np.maximum(far, 1))).astype(int)
    found = []
    for at in np.unique(power):
        inside = hits[power == at]
        found.append([int(2**at), int(2 ** (at + 1)), int(inside.sum()), len(inside)])
    return found
