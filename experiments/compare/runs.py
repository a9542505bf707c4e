"""Runs of a comparison: their folders, how they ended, and the learning rate that counts."""

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from attention_jax.evaluation.text import MEASURES as DECODED
from experiments.compare import launch_local
from experiments.compare.candidates import Candidate
from experiments.compare.config import Comparison


class Run(NamedTuple):
    """One run of one candidate: `rate` is its learning rate, `parent` holds its folder."""

    candidate: str
    rate: str
    seed: int
    parent: Path

    @property
    def name(self) -> str:
        """The run in words."""
        return f"{self.candidate} rate {self.rate} seed {self.seed}"

    @property
    def folder(self) -> Path:
        """The folder of the run, as its experiment writes it."""
        return self.parent / f"rate-{self.rate}-seed-{self.seed}"

    @property
    def log(self) -> Path:
        """The file of what its process says."""
        return self.folder.with_name(self.folder.name + ".log")

    def is_done(self) -> bool:
        """True where it was trained and scored."""
        return (self.folder / "result.json").exists()

    def status(self) -> tuple[str, str]:
        """`done`, `failed` or `missing`, and the reason of a failure."""
        if self.is_done():
            return "done", ""
        if self.log.exists():
            return "failed", launch_local.last_words(self.log)
        return "missing", "it was not started"


def rows(run: Run) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl; none before the first."""
    path = run.folder / "metrics.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [json.loads(line) for line in lines]


def validation_loss(run: Run) -> float | None:
    """The lowest of a run that is done."""
    if not run.is_done():
        return None
    losses = [row.get("loss") for row in rows(run) if row["split"] == "validation"]
    finite = [x for x in losses if x is not None and math.isfinite(x)]
    return min(finite, default=None)


def best_rate(runs: Iterable[Run]) -> str | None:
    """The learning rate of the lowest validation loss with the first seed; None if all failed."""
    runs = list(runs)
    first = min(run.seed for run in runs)
    losses = {
        run.rate: loss
        for run in runs
        if run.seed == first and (loss := validation_loss(run)) is not None
    }
    return min(losses, key=losses.__getitem__, default=None)


def rates(comparison: Comparison, candidate: Candidate) -> list[float]:
    """The learning rates that a candidate tries."""
    own = candidate.flags.get("learning_rate", comparison.values["learning_rate"])
    return (comparison.rates if candidate.is_trained else []) or [own]


def seeds_of(comparison: Comparison, candidate: Candidate) -> range:
    """The seeds of a candidate: one alone, where nothing of it depends on the seed."""
    is_drawn = comparison.values.get("sample") and comparison.score in DECODED
    return comparison.seeds if candidate.is_trained or is_drawn else comparison.seeds[:1]


def rate_text(rate: float) -> str:
    """A learning rate as folders are named by it."""
    return f"{rate:g}"


def runs_of(
    comparison: Comparison, candidate: Candidate, rates: Iterable[float], seeds: Iterable[int]
) -> list[Run]:
    """Runs of a candidate, as they stand."""
    parent, seeds = comparison.folder / "runs" / candidate.name, list(seeds)
    return [Run(candidate.name, rate_text(rate), seed, parent) for rate in rates for seed in seeds]


def sweep_of(comparison: Comparison, candidate: Candidate) -> list[Run]:
    """The runs that choose a candidate's learning rate: each rate with the first seed."""
    return runs_of(comparison, candidate, rates(comparison, candidate), comparison.seeds[:1])


def all_runs(comparison: Comparison, candidate: Candidate) -> list[Run]:
    """The sweep of a candidate, and the other seeds of its best learning rate."""
    sweep = sweep_of(comparison, candidate)
    best = best_rate(sweep)
    if best is None:
        return sweep
    return sweep + runs_of(
        comparison, candidate, [float(best)], seeds_of(comparison, candidate)[1:]
    )


def costs_file(folder: Path, candidate: str) -> Path:
    """The file of a candidate's costs."""
    return folder / "costs" / f"{candidate}.json"
