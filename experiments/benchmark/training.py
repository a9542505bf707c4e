"""Training steps beside the same models in PyTorch, eager and compiled, and beside their limit.

    scripts/bench --suite=training --output=training.json
    scripts/bench --suite=training --cases=nanogpt_small,vit --peers=torch

A row is a model, as `training_cases` lists them: forward, backward and the optimizer's update, of
one batch of random data that lies in memory. All sides have the same sizes, dropout, loss, clipping
and optimizer, take a step each in turn, and wait for its loss. The limit is the time of the step's
matrix products alone, each at its best on this machine, as `products` measures it in the same run.
"""

import time
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import jax

from attention_jax.core.wording import one_line
from attention_jax.training import loop
from experiments.benchmark import products, rows
from experiments.benchmark.rows import OURS, Row, number, spread
from experiments.benchmark.training_cases import Case

PEERS = ("torch", "torch_compile")


class Settings(NamedTuple):
    """Sides and rounds.

    Attributes:
      peers: some of `PEERS`.
      repeats: counted steps of each side.
      limit: times the matrix products by themselves.
    """

    peers: tuple[str, ...] = PEERS
    repeats: int = 15
    limit: bool = True


class Ours(NamedTuple):
    """A compiled step of ours, and what is known of it."""

    step: Callable[[], float]
    temporary_bytes: int
    compile_seconds: float
    update: Callable[..., Any]
    state: Any  # shapes


def measure(case: Case, settings: Settings, peers: ModuleType | None) -> Row:
    """The row of a case; a peer that fails says so in it.

    Args:
      case: the model.
      settings: sides and rounds.
      peers: `training_torch`; None where torch is not installed.
    """
    jax.clear_caches()  # so that compile seconds do not depend on the rows before
    ours = our_step(case)
    calls: dict[str, Callable[[], object]] = {OURS: ours.step}
    reasons: dict[str, str] = {}
    for name in settings.peers:
        try:
            if peers is None:
                raise ImportError("torch is not installed: the extra `peers`")
            calls[name] = peers.training_step(case, compiled=name == "torch_compile")
            calls[name]()  # compiles, where it does; a failure is the row's
        except Exception as error:  # of any library; the other sides go on
            calls.pop(name, None)
            reasons[name] = f"not available: {type(error).__name__}: {one_line(error)[:160]}"
    row = rows.measure("training", settings_of(case), calls, repeats=settings.repeats)
    row = row._replace(
        temporary_bytes=ours.temporary_bytes,
        not_measured=reasons,
        facts=row.facts | {"compile_seconds": ours.compile_seconds},
    )
    return with_limit(row, case, ours) if settings.limit else row


def our_step(case: Case) -> Ours:
    """The update that `training.fit` makes, compiled; it waits for its loss."""
    state, update = loop.stepper(case.build, case.training, case.objective)
    batch = jax.device_put(case.batch)
    jitted: Any = update
    start = time.perf_counter()
    program = jitted.lower(state, batch).compile()
    seconds = time.perf_counter() - start
    shapes = jax.eval_shape(lambda x: x, state)
    held = [state]

    def step() -> float:
        held[0], totals = program(held[0], batch)
        return float(totals.loss / totals.tokens)

    size = program.memory_analysis().temp_size_in_bytes
    return Ours(step, size, seconds, update, shapes)


def settings_of(case: Case) -> dict[str, Any]:
    """The sizes by which a row is told from others."""
    network = case.network
    named = ("width", "layers", "heads", "feed_forward", "cell", "attention", "vocabulary_size")
    found = {name: getattr(network, name) for name in named if hasattr(network, name)}
    shapes = {name: list(value.shape) for name, value in case.batch._asdict().items()}
    shapes = {
        name: shape
        for name, shape in shapes.items()
        if name in ("source", "target_in", "tokens", "images")
    }
    return {
        "model": case.name,
        **found,
        "dropout_rate": network.dropout_rate,
        "optimizer": case.training.optimizer,
        "batch": shapes,
    }


def with_limit(row: Row, case: Case, ours: Ours) -> Row:
    """The row with operations and time of its matrix products alone."""
    found = products.limit(ours.update, ours.state, case.batch)
    facts = {
        "limit_ms": 1e3 * found.seconds,
        "share_of_limit": row.ours_ms and 1e3 * found.seconds / row.ours_ms,
        "products": found.count,
        "distinct_products": found.distinct,
        "products_complete": found.complete,
    }
    return row._replace(flops=found.flops, facts=row.facts | facts)


def header() -> str:
    """The names of the columns of `line`."""
    return (
        f"{'':<18}{'ours ms':>9}{'torch':>21}{'torch.compile':>21}"
        f"{'limit ms':>10}{'limit/ours':>11}{'peak %':>7}{'faults':>8}{'MB':>8}{'compile s':>10}"
    )


def line(row: Row) -> str:
    """A row in one line; ratios with their lowest and highest."""
    facts, share = row.facts, row.share_of_peak
    size = row.temporary_bytes
    return (
        f"{row.case['model']:<18}{number(row.ours_ms, ',.1f'):>9}"
        + "".join(f"{spread(row.ratio.get(name)):>21}" for name in PEERS)
        + f"{number(facts.get('limit_ms'), ',.1f'):>10}"
        + f"{number(facts.get('share_of_limit'), '.2f'):>11}"
        + f"{number(None if share is None else 100 * share, '.0f'):>7}"
        + f"{number(row.faults, ',.0f'):>8}"
        + f"{number(None if size is None else size / 1e6, ',.1f'):>8}"
        + f"{number(facts.get('compile_seconds'), '.1f'):>10}"
    )
