"""The one `main` of all experiments: load, train, score, and write the run's folder."""

import json
import shutil
import sys
from functools import partial
from pathlib import Path
from typing import Any

import jax

from attention_jax.core.files import write_whole
from attention_jax.training import loop
from experiments.common import flags, run_folder
from experiments.common.experiment import Experiment, Run, structure
from experiments.common.load_run import save_params

try:
    import resource
except ImportError:  # Windows has none
    resource = None


def launch(experiment: Experiment) -> None:
    """Runs an experiment's command."""

    def main() -> None:
        config = flags.config_from_flags(experiment.config)
        if config.run.list:
            print(experiment.listing())
        else:
            train(experiment, config)

    flags.launch(main, experiment.config)


def train(experiment: Experiment, config: Any) -> Path:
    """Trains and scores a run; returns its folder.

    What cannot be honored is refused before the folder is made or changed.

    Raises:
      ValueError: a value that cannot be honored, or a folder that is in use.
      loop.TrainingDiverged: a number is no longer finite.
    """
    config = run_folder.check_attention(config)
    settings, objective = config.training.settings(config.run.seed), experiment.objective(config)
    settings.check()
    data = experiment.load(config)
    folder = run_folder.choose(experiment, config, experiment.folder_name(config, data))
    known = experiment.learn(config, data, folder if config.run.resume else None)
    build = experiment.build(config, known)
    graphdef = structure(build)
    batches = experiment.batches(config, data, known)
    validate = experiment.validate(config, data, known, graphdef)
    for note in experiment.notes(config, data):
        print(note)
    if config.run.overwrite and not config.run.resume and folder.exists():
        shutil.rmtree(folder)
    result = loop.fit(
        build,
        batches,
        validate,
        folder,
        settings,
        objective=objective,
        resume=config.run.resume,
        on_accepted=partial(run_folder.accept, experiment, config, known, folder),
    )
    config = run_folder.inside(config, folder)
    facts = end_training(config, result, folder)
    run = Run(experiment, config, folder, known, result.graphdef, result.params)
    outcome = experiment.evaluate(run, data, facts)
    # The last file of a run: where it stands, the run is whole.
    write_whole(folder / "result.json", json.dumps(outcome.summary, indent=2) + "\n")
    print(outcome.text)
    return folder


def end_training(config: Any, result: loop.Result, folder: Path) -> dict[str, Any]:
    """Keeps the parameters, and returns what result.json says of every run."""
    memory = peak_memory_bytes()
    save_params(folder, result.params)
    return {
        "model": config.model.model,
        "attention": config.model.attention_text,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(result.params)),
        "steps": result.steps,
        "seconds": round(result.seconds, 1),
        "first_step_seconds": round(result.first_step_seconds, 2),
        "target_tokens": result.tokens,
        "peak_memory_bytes": memory,
    }


def peak_memory_bytes() -> int | None:
    """The most memory that this process held: of its first device, or of a CPU's process."""
    found = (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    if found is not None or resource is None:
        return found
    # Linux counts kibibytes, macOS bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
