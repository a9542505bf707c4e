"""A trained run, read from its folder; and the sentences that it is given."""

import json
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, NamedTuple

import jax
from absl import flags
from flax import nnx

from attention_jax.core.types import Params
from attention_jax.data.tokenizer import Tokenizer
from attention_jax.nn.protocols import Seq2Seq
from attention_jax.training import loop
from attention_jax.training.checkpoints import Checkpoints
from experiments import common

try:
    import resource
except ImportError:  # Windows has none
    resource = None

FLAGS = flags.FLAGS


class Trained(NamedTuple):
    """A model with its parameters and its vocabulary."""

    graphdef: Any
    params: Params
    vocabulary: Tokenizer


def load(folder: Path) -> Trained:
    """A run's model; afterwards flags are the run's, where this command gives no others.

    Raises:
      ValueError: the folder is none of a run, or holds no trained model.
    """
    kind(folder, among=("translation",))
    adopt_flags(folder)
    vocabulary = Tokenizer.load(folder / "vocabulary.json")
    build = common.model_builder(vocabulary.size)
    return Trained(graphdef_of(build), load_final(folder, build), vocabulary)


def adopt_flags(folder: Path) -> None:
    """Sets the flags that a run was trained by, where this command gives no others.

    Those of sampling mean nothing where this command does not sample, and are dropped then.

    Raises:
      ValueError: the folder is none of a run, or --model is of another kind of run.
    """
    own = kind(folder)
    # What another run set must not stay.
    for name in FLAGS:
        FLAGS[name].unparse()
    # The run's flags first, so that those of this command win.
    FLAGS([sys.argv[0], f"--flagfile={folder / 'run.flags'}"])
    inherited = {name: FLAGS[name].present for name in common.SAMPLING if name in FLAGS}
    FLAGS(sys.argv)
    for name, times in inherited.items():
        if not FLAGS.sample and FLAGS[name].present == times:
            FLAGS[name].unparse()
    # A script that also reads runs of pictures knows their models too.
    if FLAGS.model not in common.MODELS and own != "images":
        raise ValueError(
            f"`--model` must be one of {', '.join(common.MODELS)} for a run of experiments.{own}; "
            f"got {FLAGS.model}."
        )


def kind(folder: Path, *, among: Collection[str] | None = None) -> str:
    """The script that a run is of, as the first line of its run.flags says.

    Raises:
      ValueError: the folder is none of a run, or of another script than those of `among`.
    """
    kept = folder / "run.flags"
    if not kept.exists():
        raise ValueError(f"`--run` must be the folder of a run; {folder} holds no run.flags.")
    first = kept.read_text().partition("\n")[0]
    # Runs of the first versions are all translations, and do not say so.
    named = first.startswith("# python -m experiments.")
    script = first.rpartition(".")[2] if named else "translation"
    if among is not None and script not in among:
        raise ValueError(
            f"`--run` must be of experiments.{', experiments.'.join(among)}; {folder} is of "
            f"experiments.{script}."
        )
    return script


def refuse(own: str, *names: str) -> None:
    """Refuses flags that this command gives, but that runs of a kind cannot honour.

    Raises:
      ValueError: one of them is given.
    """
    for name in names:
        if FLAGS[name].value != FLAGS[name].default:
            raise ValueError(
                f"`--{name}` does not go with a run of experiments.{own}; leave it out. What is "
                "to be read is named by --file."
            )


def about(attention: str | None = None) -> str:
    """The model that flags name, in a few words.

    Args:
      attention: that it has. Default: the one that flags name.
    """
    return f"{FLAGS.model}, attention {Path(attention or common.attention_name()).stem}"


def run_folder() -> Path:
    """The folder that --run names."""
    if not FLAGS.run:
        raise ValueError("`--run` must name the folder of a run; got none.")
    return Path(FLAGS.run)


def read_lines(path: str) -> list[str]:
    """The lines of the text file that --file names."""
    if not Path(path).is_file():
        raise ValueError(f"`--file` must be a text file; there is none at {path}.")
    return Path(path).read_text(encoding="utf-8").splitlines()


def graphdef_of(build: Callable[[jax.Array], Seq2Seq]) -> Any:
    """The structure of a model, without its parameters."""
    return nnx.graphdef(nnx.eval_shape(lambda: build(jax.random.key(0))))


def end_training(result: loop.Result, folder: Path) -> dict[str, Any]:
    """Keeps the parameters, and returns what result.json says of every run."""
    memory = peak_memory_bytes()
    save_final(folder, result.params)
    return {
        "model": FLAGS.model,
        "attention": common.attention_name(),
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


def write_result(folder: Path, summary: dict[str, Any]) -> None:
    """Writes result.json, the last file of a run: where it stands, the run is whole."""
    (folder / "result.json").write_text(json.dumps(summary, indent=2) + "\n")


def save_final(folder: Path, params: Any) -> None:
    """Keeps the parameters that the run ends with."""
    Checkpoints(folder / "final").save(0, {"params": params})


def load_final(folder: Path, build: Callable[[jax.Array], Seq2Seq]) -> Any:
    """The parameters that the run ended with; until then, those of its best checkpoint.

    Raises:
      ValueError: the run has saved none yet, or they are of another model.
    """
    template = nnx.as_pure(nnx.split(nnx.eval_shape(lambda: build(jax.random.key(0))))[1])
    like = {"params": template}
    final, kept = (Checkpoints(folder / name) for name in ("final", "checkpoints"))
    found = final.restore_latest(like) or kept.restore_best(like) or kept.restore_latest(like)
    if found is None:
        raise ValueError(f"`--run` must hold a trained model; {folder} has no checkpoint yet.")
    return found.tree["params"]
