"""Who is compared, and with what budget: candidates from flags, and how they are matched.

Matching by parameters chooses widths, by operations or time the number of steps. Warm-up,
evaluations and checkpoints keep their share of the steps. The first candidate sets the measure.
"""

import contextlib
import json
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import jax
from absl import flags
from flax import nnx

from attention_jax.data.batching import Batches, pipeline
from attention_jax.evaluation import budgets
from attention_jax.training import loop
from attention_jax.training.objectives import Objective
from experiments import common
from experiments.contests import Contest

FLAGS = flags.FLAGS
MATCHES = ("parameters", "flops", "time", "steps")
# In the time of a step: as many as show it, after all shapes are compiled.
TIMED_SECONDS = 3.0
_DEFAULTS = {"transformer": "scaled_dot", "rnn": "additive", "cnn": "none"}
_STRETCHED = ("warmup_steps", "evaluate_every", "checkpoint_every")


class Candidate(NamedTuple):
    """A model with an attention, and its flags beside those that all share."""

    name: str
    flags: dict[str, Any]


class LeftOut(NamedTuple):
    """A model and an attention that do not go together."""

    name: str
    reason: str


def candidates(
    models: Iterable[str],
    attentions: Iterable[str],
    options: dict[str, Iterable[str]],
    contest: Contest,
) -> tuple[list[Candidate], list[LeftOut]]:
    """Each model with each attention; one written model:attention stands as it is.

    Args:
      models: names among those that are known.
      attentions: of variants, or files of them; "none" for RNNs. Without any, each model gets
        its default.
      options: flags of "transformer", "rnn" and "cnn", as name=value.
      contest: says which models there are, and which attentions each can have.

    Raises:
      ValueError: a name is unknown, there is nothing to compare, or a pair named as one does not
        go together.
    """
    found: dict[str, Candidate] = {}
    left: list[LeftOut] = []
    for item in models:
        model, colon, own = item.partition(":")
        if model not in contest.models:
            listed = ", ".join(contest.models)
            raise ValueError(f"`--models` must be among {listed}; got {model!r}.")
        kind = contest.models[model]["model"]
        for attention in [own] if colon else (list(attentions) or [_DEFAULTS[kind]]):
            name = f"{model}-{Path(attention).stem}"
            reason = _why_not(kind, attention, contest)
            if reason and colon:
                raise ValueError(f"`--models` must name what goes together; got {item}. {reason}")
            if reason:
                left.append(LeftOut(name, reason))
                continue
            candidate = Candidate(name, _flags(contest.models[model], attention, options))
            if found.setdefault(name, candidate) != candidate:
                raise ValueError(f"`--attentions` must differ in name; two of them are {name}.")
    if not found:
        because = f" {left[0].reason}" if left else ""
        raise ValueError(f"`--models` and `--attentions` leave nothing to compare.{because}")
    return list(found.values()), left


def _why_not(kind: str, attention: str, contest: Contest) -> str:
    """Why a model cannot have an attention; empty where it can."""
    if attention == "none":
        return "A Transformer is its attention." if kind == "transformer" else ""
    if kind == "cnn":
        return "A CNN has no attention."
    return contest.why_not(kind, attention)


def _flags(
    of_model: dict[str, Any], attention: str, options: dict[str, Iterable[str]]
) -> dict[str, Any]:
    kind, chosen = of_model["model"], dict(of_model)
    is_file = attention.endswith(".py")
    chosen["attention_file" if is_file else "attention"] = attention
    for item in options.get(kind, ()):
        name, equals, text = item.partition("=")
        if not equals or name not in FLAGS or name in (*chosen, "seed"):
            raise ValueError(f"`--{kind}_option` must be flag=value, of a flag; got {item!r}.")
        try:
            chosen[name] = FLAGS[name].parser.parse(text)
        except ValueError as error:
            raise ValueError(
                f"`--{kind}_option={item}` is no value of its flag: {error}."
            ) from None
    return chosen


@contextlib.contextmanager
def flags_set(values: dict[str, Any]) -> Generator[None, None, None]:
    """Flags as they are for one candidate, inside a `with` block."""
    before = {name: FLAGS[name].value for name in values}
    try:
        for name, value in values.items():
            setattr(FLAGS, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(FLAGS, name, value)


class Program(NamedTuple):
    """What runs train, and on what, as flags say when it is called.

    Attributes:
      builder: `() -> (key -> model)`.
      objective: `() -> Objective`.
      batches: those of training.
    """

    builder: Callable[[], Callable[..., Any]]
    objective: Callable[[], Objective]
    batches: Batches


def make_plan(
    candidate: Candidate, first: dict[str, Any] | None, program: Program
) -> dict[str, Any]:
    """What a candidate gets, beside what it has then: plain data.

    Args:
      first: the plan of the first candidate, with which the others are matched; None for itself.

    Raises:
      ValueError: the model cannot be built so, or no width has as many parameters.
    """
    changes = dict(candidate.flags)
    if FLAGS.match == "parameters" and first is not None:
        changes |= _width(changes, first["parameters"], program)
    with flags_set(changes):
        parameters = count_parameters(program)
        operations = flops_of_step(program)
        seconds = seconds_of_step(program) if FLAGS.match == "time" else None
    if FLAGS.match == "flops" and first is not None:
        changes |= _stretched(first["flops"] / operations)
    if seconds is not None:
        changes |= _stretched(FLAGS.max_seconds / seconds)
    steps = changes.get("steps", FLAGS.steps)
    return {
        "flags": changes,
        "width": changes.get("width", FLAGS.width),
        "parameters": parameters,
        "steps": steps,
        "flops_of_step": operations,
        "flops": operations * steps,
        "seconds_of_step": seconds,
    }


def _width(changes: dict[str, Any], target: int, program: Program) -> dict[str, Any]:
    """The width with as many parameters; a feed-forward layer keeps its share of it."""
    with flags_set(changes):
        is_transformer = FLAGS.model == "transformer"
        # Sinusoids and rotations take coordinates of a head in pairs, and an RNN reads two ways.
        multiple = 2 * FLAGS.heads if is_transformer else 2
        share = FLAGS.feed_forward / FLAGS.width

    def sizes(width: int) -> dict[str, Any]:
        hidden = {"feed_forward": max(1, round(share * width))} if is_transformer else {}
        return {"width": width} | hidden

    def size(width: int) -> int:
        with flags_set(changes | sizes(width)):
            return count_parameters(program)

    return sizes(budgets.nearest_width(size, target, multiple=multiple))


def _stretched(steps: float) -> dict[str, Any]:
    """So many steps, of which warm-up, evaluations and checkpoints have the same share."""
    whole = max(1, round(steps))
    share = whole / FLAGS.steps
    return {"steps": whole} | {x: max(1, round(getattr(FLAGS, x) * share)) for x in _STRETCHED}


def count_parameters(program: Program) -> int:
    """Of the model that flags name; nothing is computed."""
    build = program.builder()
    params = nnx.split(nnx.eval_shape(lambda: build(jax.random.key(0))))[1]
    return sum(leaf.size for leaf in jax.tree.leaves(nnx.as_pure(params)))


def _stepper(program: Program) -> Any:
    return loop.stepper(program.builder(), common.settings(), program.objective())


def flops_of_step(program: Program) -> float:
    """Operations of a mean step: of each shape of batches, as often as it comes."""
    state, step = _stepper(program)
    state = jax.eval_shape(lambda: state)
    counts: Counter = Counter()
    of_shapes: dict[Any, Any] = {}
    for batch in program.batches.epoch():
        like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), batch)
        shapes = tuple(x.shape for x in jax.tree.leaves(like))
        counts[shapes] += 1
        of_shapes[shapes] = like
    total = sum(n * budgets.flops(step, state, of_shapes[x]) for x, n in sorted(counts.items()))
    return total / counts.total() * FLAGS.accumulate


def seconds_of_step(program: Program) -> float:
    """Seconds of a mean step, over a few seconds of training after all shapes are compiled."""
    (state, step), seen = _stepper(program), set()
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
    return (time.perf_counter() - start) / count * FLAGS.accumulate


def load_plans(
    folder: Path,
    measure: dict[str, Any],
    *,
    is_new: Callable[[str, Iterable[str]], bool] = lambda flag, kept: False,
) -> dict[str, Any]:
    """The plans that a folder holds already; none in a new one, which is marked as taken.

    Args:
      measure: all that must be the same for results to be comparable.
      is_new: of a flag and those that were kept: whether it means nothing for these.

    Raises:
      ValueError: the folder holds another comparison, or something else.
    """
    path = folder / "plan.json"
    if not path.exists():
        others = [x.name for x in folder.iterdir() if x.name != "compare.lock"]
        if others:
            raise ValueError(f"`--folder` must be new or of a comparison; {folder} is neither.")
        save_plans(folder, measure, {})
        return {}
    kept = json.loads(path.read_text())
    flags_then = kept["measure"].get("flags", [])
    flags_now = [line for line in measure["flags"] if not is_new(line, flags_then)]
    measure = measure | {"flags": flags_now}
    changed = [name for name in measure if kept["measure"].get(name) != measure[name]]
    if changed:
        name = changed[0]
        raise ValueError(
            f"`--folder` must not hold another comparison; {folder} has other {name}: "
            f"{_shown(kept['measure'].get(name), measure[name])}. Name another folder."
        )
    return kept["plans"]


def _shown(old: Any, new: Any) -> str:
    if isinstance(old, list) and isinstance(new, list):
        old, new = (
            [x for x in a if x not in b] or ["nothing"] for a, b in ((old, new), (new, old))
        )
        return f"{' '.join(old)}, now {' '.join(new)}"
    return f"{old}, now {new}"


def save_plans(folder: Path, measure: dict[str, Any], plans: dict[str, Any]) -> None:
    """Writes the plans, for later calls to keep."""
    write_whole(folder / "plan.json", json.dumps({"measure": measure, "plans": plans}, indent=2))


def write_whole(path: Path, text: str) -> None:
    """Replaces a file at once, so that a kill leaves the old one or the new one."""
    unfinished = path.with_name(path.name + ".unfinished")
    unfinished.write_text(text + "\n", encoding="utf-8")
    unfinished.replace(path)
