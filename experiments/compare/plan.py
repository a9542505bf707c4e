"""Budgets of candidates: widths or steps by which they are matched with the first.

Matching by parameters chooses widths, by operations or time the number of steps. Warm-up,
evaluations and checkpoints keep their share of the steps. The first candidate sets the measure.
"""

import math
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
from flax import nnx

from attention_jax.data.batching import Batches, pipeline
from attention_jax.evaluation import budgets
from attention_jax.training import loop
from experiments.common import first_weights, flags, initial, low_rank
from experiments.common.experiment import Experiment
from experiments.compare.candidates import Candidate
from experiments.compare.config import BATCHES, Comparison

# In the time of a step: as many as show it, after all shapes are compiled.
TIMED_SECONDS = 3.0
_STRETCHED = ("warmup_steps", "evaluate_every", "checkpoint_every")


class Program(NamedTuple):
    """The training that runs are planned for.

    Attributes:
      experiment: builds models, and says what is minimized.
      known: what models know of the data.
      batches: those of training.
    """

    experiment: Experiment
    known: Any
    batches: Batches


def configured(shared: Any, changes: Mapping[str, Any]) -> Any:
    """The shared configuration with the flags of a candidate; those of JSON have lists."""
    own = {name: tuple(x) if isinstance(x, list) else x for name, x in changes.items()}
    return flags.replace(shared, **own)


def make_plan(
    comparison: Comparison, candidate: Candidate, first: dict[str, Any] | None, program: Program
) -> dict[str, Any]:
    """The flags and the budget of a candidate, as plain data.

    Args:
      comparison: how candidates are matched.
      candidate: the one to plan.
      first: the plan of the first candidate, with which the others are matched; None for itself.
      program: what is trained.

    Raises:
      ValueError: the model cannot be built so, or no width has as many parameters.
    """
    match, shared = comparison.match, comparison.shared
    changes = dict(candidate.flags)
    if match == "parameters" and first is not None and candidate.place is None:
        changes |= _width(configured(shared, changes), first["parameters"], program)
    config = first_weights.resolved(comparison.experiment, configured(shared, changes))
    parameters = count_parameters(config, program)
    if not candidate.is_trained:
        return _planned(shared, changes, config, parameters, 0.0)
    operations = flops_of_step(config, program)
    seconds = seconds_of_step(config, program) if match == "time" else None
    if comparison.varied and comparison.varied[0] in BATCHES and first is not None:
        name = comparison.varied[0]
        steps = comparison.values["steps"] * first["flags"][name] / changes[name]
        changes |= _stretched(shared, steps)
    if match == "flops" and first is not None:
        changes |= _stretched(shared, first["flops"] / operations)
    if seconds is not None:
        changes |= _stretched(shared, comparison.values["max_seconds"] / seconds)
    return _planned(shared, changes, config, parameters, operations) | {"seconds_of_step": seconds}


def _planned(
    shared: Any, changes: dict[str, Any], config: Any, parameters: int, operations: float
) -> dict[str, Any]:
    """The plan of so many operations a step; a model of another library has no one width."""
    values, own = flags.values(configured(shared, changes)), flags.values(config)
    place = initial.place(config)
    has_width = initial.given_outline(place) is None
    return {
        "flags": changes,
        "width": own["width"] if has_width else None,
        "place": place,
        "parameters": parameters,
        "steps": values["steps"],
        "flops_of_step": operations,
        "flops": operations * values["steps"],
        "seconds_of_step": None,
    }


def _width(config: Any, target: int, program: Program) -> dict[str, Any]:
    """The width with as many parameters; a feed-forward layer keeps its share of it."""
    values = flags.values(config)
    above = bool(values.get("encoder_attention_layers"))
    is_transformer = values["model"] == "transformer" or above
    # Sinusoids and rotations take coordinates of a head in pairs, and an RNN reads two ways.
    heads = values["heads"] if is_transformer else 1
    multiple = 2 * math.lcm(heads, values.get("decoder_heads", 1))
    share = values["feed_forward"] / values["width"]

    def sizes(width: int) -> dict[str, Any]:
        hidden = {"feed_forward": max(1, round(share * width))} if is_transformer else {}
        return {"width": width} | hidden

    def size(width: int) -> int:
        return count_parameters(configured(config, sizes(width)), program)

    return sizes(budgets.nearest_width(size, target, multiple=multiple))


def _stretched(shared: Any, steps: float) -> dict[str, Any]:
    """So many steps, of which warm-up, evaluations and checkpoints have the same share."""
    values, whole = flags.values(shared), max(1, round(steps))
    share = whole / values["steps"]
    return {"steps": whole} | {x: max(1, round(values[x] * share)) for x in _STRETCHED}


def count_parameters(config: Any, program: Program) -> int:
    """Numbers that a model learns; nothing is computed."""
    build = program.experiment.build(config, program.known)
    params = nnx.split(nnx.eval_shape(lambda: build(jax.random.key(0))))[1]
    return sum(leaf.size for leaf in jax.tree.leaves(nnx.as_pure(params)))


def _stepper(config: Any, program: Program) -> Any:
    experiment = program.experiment
    settings, build = low_rank.trained(config, experiment.build(config, program.known))
    return loop.stepper(build, settings, experiment.objective(config))


def flops_of_step(config: Any, program: Program) -> float:
    """Operations of a mean step: of each shape of batches, as often as it comes."""
    state, step = _stepper(config, program)
    state = jax.eval_shape(lambda: state)
    counts: Counter = Counter()
    of_shapes: dict[Any, Any] = {}
    for batch in program.batches.epoch():
        like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), batch)
        shapes = tuple(x.shape for x in jax.tree.leaves(like))
        counts[shapes] += 1
        of_shapes[shapes] = like
    total = sum(n * budgets.flops(step, state, of_shapes[x]) for x, n in sorted(counts.items()))
    return total / counts.total() * config.training.accumulate


def seconds_of_step(config: Any, program: Program) -> float:
    """Seconds of a mean step, over a few seconds of training after all shapes are compiled."""
    (state, step), seen = _stepper(config, program), set()
    for batch in program.batches.epoch():
        shapes = tuple(x.shape for x in jax.tree.leaves(batch))
        if shapes not in seen:
            seen.add(shapes)
            state, _ = step(state, batch)
    jax.block_until_ready(state)
    iterator, count, start = pipeline(program.batches), 0, time.perf_counter()
    while count < 5 or time.perf_counter() - start < TIMED_SECONDS:
        state, _ = step(state, next(iterator))
        jax.block_until_ready(state)
        count += 1
    return (time.perf_counter() - start) / count * config.training.accumulate
