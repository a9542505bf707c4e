"""Scores of memory, at each length and distance, in training and after it."""

import json
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from attention_jax.analysis.plots import run_plots
from attention_jax.core.files import write_whole
from attention_jax.core.messages import said
from attention_jax.core.types import Params
from attention_jax.data.memory_tasks import DrawnBatches
from attention_jax.parallel.placement import fetch, spread
from attention_jax.training.evaluate import loss_evaluator
from attention_jax.training.loop import Evaluate
from experiments.common import guesses
from experiments.common.experiment import Outcome, Run
from experiments.common.guesses import Guess
from experiments.common.run_folder import size_and_time
from experiments.common.timing import lengths
from experiments.memory import costs, plots
from experiments.memory.config import MemoryConfig, Sequences, objective

NEAR = 0.04  # a sum that is off by less is right


def validate(
    config: MemoryConfig, data: Sequences, known: None, graphdef: nnx.GraphDef
) -> Evaluate:
    """`params -> scores` on the sequences for validation."""
    del known
    losses = loss_evaluator(graphdef, objective(config))

    def scores_of(params: Params) -> dict[str, float]:
        return measures(config, losses(params, data.validation))

    return scores_of


def evaluate(run: Run, data: Sequences, facts: dict[str, Any]) -> Outcome:
    """Scores the tests, measures costs; writes outcomes.json and figures."""
    config, folder = run.config, run.folder
    own, model = config.data, config.model
    losses = loss_evaluator(run.graphdef, objective(config))
    score = scorer(run.graphdef, adds=own.problem == "adding")
    named = {test_name(config, length): batches for length, batches in data.tests.items()}
    found = {name: score(run.params, batches) for name, batches in named.items()}
    scores = {name: measures(config, losses(run.params, tests)) for name, tests in named.items()}
    rows = {test: {"accuracy": counts["rows"]} for test, counts in found.items()}
    write_whole(folder / "outcomes.json", json.dumps(rows) + "\n")
    costs_at = lengths("cost_lengths", config.costs.cost_lengths)
    summary = {
        "task": own.problem,
        "positions": model.positions if model.model == "transformer" else None,
        "cell": model.cell.upper() if model.model == "rnn" else None,
        **facts,
        "tests": scores,
        "length": own.length,
        "lengths": {test_name(config, length): length for length in data.tests},
        "distances": {test: counts["distances"] for test, counts in found.items()},
        "costs": [costs.measure(config, length) for length in costs_at],
    }
    run_plots.curves(folder / "metrics.jsonl", folder / "curves.png")
    plots.draw({plots.label(summary): summary}, folder / "memory.png")
    return Outcome(summary, closing_text(run, summary))


def test_name(config: MemoryConfig, length: int) -> str:
    """The name of the test at a length; the first is of the length of training."""
    return "test" if length == config.data.length else f"length_{length}"


def measures(config: MemoryConfig, scores: dict[str, float]) -> dict[str, float]:
    """Those that mean something: of a number no perplexity."""
    adds = config.data.problem == "adding"
    return {key: x for key, x in scores.items() if not adds or key != "perplexity"}


def scorer(
    graphdef: nnx.GraphDef, *, adds: bool
) -> Callable[[Params, DrawnBatches], dict[str, list[list[int]]]]:
    """A function that counts what is right in each sequence, and at each distance.

    It gives `rows`, [right, count] of each sequence; and `distances`, [low, high, right, count] of
    the predictions whose need lies low to high positions back, high not included.
    """

    @jax.jit
    def right(params: Params, batch: Any) -> jax.Array:
        model: Any = nnx.merge(graphdef, params)
        if adds:
            return jnp.abs(model.predict(batch.vectors) - batch.targets) < NEAR
        return model.logits(batch.tokens).argmax(-1) == batch.targets

    def score(params: Params, batches: DrawnBatches) -> dict[str, list[list[int]]]:
        rows, hits, far = [], [], []
        for index in range(batches.batches_per_epoch):
            batch, distance = batches.drawn(index)
            counts = batch.weights > 0
            hit = fetch(right(params, spread(batch, params)))[: len(counts)] & counts
            by_row = (x.reshape(len(x), -1).sum(1) for x in (hit, counts))
            rows += np.stack(list(by_row), axis=1).tolist()
            hits.append(hit[counts])
            far.append(distance[counts])
        return {"rows": rows, "distances": _by_distance(np.concatenate(hits), np.concatenate(far))}

    return score


def guess(config: MemoryConfig, data: Sequences) -> Guess:
    """Accuracy of the answer that is most frequent in training; of numbers, of their mean."""
    answers = {
        test_name(config, length): _answers(batches) for length, batches in data.tests.items()
    }
    trained = _answers(data.training)
    if config.data.problem == "adding":
        near = {name: np.abs(own - trained.mean()) < NEAR for name, own in answers.items()}
        return {name: guesses.of_hits(own) for name, own in near.items()}
    return guesses.of_classes(trained, answers)


def _answers(batches: DrawnBatches) -> np.ndarray:
    """All that is to be predicted in an epoch."""
    return np.concatenate([x.targets[x.weights > 0] for x in batches.epoch()])


def closing_text(run: Run, summary: dict[str, Any]) -> str:
    """The tables, and where the figures are."""
    heads = [said(x) for x in ("length", "accuracy", "loss", "accuracy by distance")]
    lines = ["\n{:>8}{:>10}{:>9}   {}".format(*heads)]
    for test, scores in summary["tests"].items():
        by_distance = "  ".join(
            f"{low}-{high - 1}: {right / count:.1%}"
            for low, high, right, count in summary["distances"][test]
        )
        length = summary["lengths"][test]
        lines.append(
            f"{length:>8}{scores['accuracy']:>10.2%}{scores['loss']:>9.4f}   {by_distance}"
        )
    lines += map(costs.line, summary["costs"])
    lines.append(f"\n{size_and_time(summary)}")
    drawn = f"{run.folder}/memory.png {run.folder}/curves.png"
    lines.append(said("figures: {paths}").format(paths=drawn))
    return "\n".join(lines)


def _by_distance(hits: np.ndarray, far: np.ndarray) -> list[list[int]]:
    """Counts between powers of two."""
    power = np.floor(np.log2(np.maximum(far, 1))).astype(int)
    found = []
    for at in np.unique(power):
        inside = hits[power == at]
        found.append([int(2**at), int(2 ** (at + 1)), int(inside.sum()), len(inside)])
    return found
