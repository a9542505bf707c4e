"""What a model remembers, and how far: recall, copying, adding, induction.

    python -m experiments.memory --flagfile=experiments/presets/recall_64.flags
    python -m experiments.memory --flagfile=experiments/presets/recall_64.flags --model=rnn --attention=none
    python -m experiments.memory --problem=copying --length=120 --attention=gated_delta --positions=none
    python -m experiments.memory --problem=adding --length=100 --cost_lengths=64,256,1024,4096,16384

Models are language models: a Transformer over any variant with any kind of positions, or an RNN
with or without attention to its own past. Each is tested at the length of its training and beyond
it, and by how far back lies what an answer needs. A run's folder is that of experiments.language,
without text: memory.png has the curves, and result.json the counts behind them. Curves of several
runs in one picture: experiments.memory_pictures.
"""  # noqa: E501

import json
from functools import partial
from pathlib import Path
from typing import Any

from absl import flags

from attention_jax.analysis.plots import run_plots
from attention_jax.training import evaluate, loop
from experiments import (
    common,
    memory_costs,
    memory_pictures,
    problems,
    run_folders,
    timing,
    trained,
)

FLAGS = flags.FLAGS
common.define_run_flags()
common.define_model_flags()
# Of a number, which --problem=adding asks for, there is no perplexity.
common.define_training_flags(("loss", "accuracy"))
common.define_device_flags()
problems.define_flags()
flags.adopt_module_key_flags(common)
flags.adopt_module_key_flags(problems)
flags.DEFINE_list(
    "cost_lengths", [], "Lengths at which the time and memory of a step are measured; 64,256,1024,"
    "4096,16384 shows how they grow."
)  # fmt: skip
flags.DEFINE_integer("cost_repeats", 3, "Counted calls of each cost.", lower_bound=1)
FLAGS.set_default("dropout", 0.0)


def main() -> None:
    """Trains, tests, measures, draws."""
    if FLAGS.list:
        print(f"problems: {', '.join(problems.PROBLEMS)}\n{common.list_names()}")
        return
    lengths = problems.test_lengths()
    costs_at = timing.lengths("cost_lengths", FLAGS.cost_lengths)
    problems.check(costs_at)
    build, objective = problems.builder(max(lengths)), problems.objective()
    tests = {length: problems.tests(length) for length in lengths}
    batches, validation = problems.training(), problems.validation()
    graphdef = trained.graphdef_of(build)
    folder = run_folders.open_run(f"{FLAGS.problem}_{FLAGS.length}")
    losses = evaluate.loss_evaluator(graphdef, objective)
    result = loop.fit(
        build,
        batches,
        lambda params: measures(losses(params, validation)),
        folder,
        common.settings(),
        objective=objective,
        resume=FLAGS.resume,
        on_accepted=partial(run_folders.accepted, folder),
    )
    facts = trained.end_training(result, folder)
    score = problems.scorer(graphdef)
    found = {name(length): score(result.params, own) for length, own in tests.items()}
    scores = {name(length): measures(losses(result.params, own)) for length, own in tests.items()}
    rows = {test: {"accuracy": own["rows"]} for test, own in found.items()}
    (folder / "outcomes.json").write_text(json.dumps(rows) + "\n")
    extra = {
        "length": FLAGS.length,
        "lengths": {name(length): length for length in lengths},
        "distances": {test: own["distances"] for test, own in found.items()},
        "costs": [memory_costs.measure(length, FLAGS.cost_repeats) for length in costs_at],
    }
    report(facts | {"tests": scores} | extra, folder)


def name(length: int) -> str:
    """That of the test at a length; the first is of the length of training."""
    return "test" if length == FLAGS.length else f"length_{length}"


def measures(scores: dict[str, float]) -> dict[str, float]:
    """Those that mean something: of a number no perplexity."""
    return {key: x for key, x in scores.items() if FLAGS.problem != "adding" or key != "perplexity"}


def report(found: dict[str, Any], folder: Path) -> None:
    """Writes the pictures and result.json, and prints the tables."""
    summary: dict[str, Any] = {
        "task": FLAGS.problem,
        "positions": FLAGS.positions if FLAGS.model == "transformer" else None,
        "cell": FLAGS.cell.upper() if FLAGS.model == "rnn" else None,
        **found,
    }
    run_plots.curves(folder / "metrics.jsonl", folder / "curves.png")
    memory_pictures.draw({memory_pictures.label(summary): summary}, folder / "memory.png")
    trained.write_result(folder, summary)
    print(f"\n{'length':>8}{'accuracy':>10}{'loss':>9}   accuracy by distance")
    for test, scores in summary["tests"].items():
        by_distance = "  ".join(
            f"{low}-{high - 1}: {right / count:.1%}"
            for low, high, right, count in summary["distances"][test]
        )
        print(f"{summary['lengths'][test]:>8}{scores['accuracy']:>10.2%}{scores['loss']:>9.4f}"
              f"   {by_distance}")  # fmt: skip
    for row in summary["costs"]:
        print(memory_costs.line(row))
    print(f"\n{summary['parameters']:,} parameters, {summary['seconds']:.0f} s of training")
    print(f"pictures: {folder}/memory.png {folder}/curves.png")


if __name__ == "__main__":
    common.launch(main)
