"""Temporary memory of a training step on 8 devices, mesh by mesh, beside one device.

    python -m experiments.benchmark.mesh_memory --output=experiments/results/mesh_memory.json

A step of each experiment's models is compiled for virtual devices of the CPU, and nothing is run.
The memory is what XLA plans for a device beside parameters and optimizer: activations, gradients
and gathered parameters. Points that --output has already are not compiled again, unless --anew asks
for it.
"""

from collections.abc import Mapping
from itertools import product
from typing import Annotated, Any, NamedTuple

import jax
import numpy as np

from attention_jax.data.tokenizer import Tokenizer
from attention_jax.data.types import ImageBatch, Seq2SeqBatch, TokenBatch
from attention_jax.nn.patches import ImageConfig
from attention_jax.training.prepare import plan
from attention_jax.training.step import begin, compile_steps
from experiments.benchmark import rows, virtual
from experiments.benchmark.rows import OURS, Results, Row
from experiments.common import flags, together
from experiments.common.config import DeviceFlags
from experiments.common.experiment import find
from experiments.common.flags import Flag
from experiments.common.markdown import table
from experiments.images.config import Known

SUITE = "mesh_memory"
MODULE = f"experiments.benchmark.{SUITE}"
DEVICES = 8
ONE = "one device"
MESHES = (
    "data=8",
    "fsdp=8",
    "data=4,tensor=2",
    "data=2,context=4",
    "fsdp=2,tensor=2,context=2",
)
ROWS, LENGTH, VOCABULARY = 16, 512, 8192
FRAMES, TRANSCRIPT = 4 * LENGTH, 128  # convolutions halve the number of frames twice
SIZES = ("--width=256", "--layers=4", "--heads=8", "--feed_forward=1024")
NO_ATTENTION = ("--model=rnn", "--attention=none")
MODELS: dict[tuple[str, str], tuple[str, ...]] = {
    ("translation", "Transformer"): (),
    ("translation", "RNN"): ("--model=rnn",),
    ("language", "Transformer"): (f"--context={LENGTH}",),
    ("language", "gated delta"): (f"--context={LENGTH}", "--attention=gated_delta"),
    ("language", "RNN"): (f"--context={LENGTH}", *NO_ATTENTION),
    ("images", "Transformer"): (),
    ("images", "RNN"): ("--model=rnn",),
    ("speech", "Transformer"): (),
    ("speech", "RNN"): ("--model=rnn", "--layers=2"),  # its decoder is as deep as its pyramid
    ("memory", "Transformer"): (f"--length={LENGTH}",),
    ("memory", "gated delta"): (f"--length={LENGTH}", "--attention=gated_delta"),
    ("memory", "RNN"): (f"--length={LENGTH}", *NO_ATTENTION),
}


class MeshMemory(NamedTuple):
    """A measurement of memory on meshes.

    Attributes:
      experiments: some of translation, language, images, speech and memory.
      mesh: one mesh alone. Default: all, and one device.
      anew: measure what the file has already, too.
      output: JSON file of the results.
    """

    experiments: Annotated[tuple[str, ...], Flag(listed=True)] = tuple(
        dict.fromkeys(name for name, _ in MODELS)
    )
    mesh: Annotated[str | None, Flag(choices=(ONE, *MESHES))] = None
    anew: bool = False
    output: str | None = None


def main() -> None:
    """Compiles point after point, prints each, and writes all there are."""
    config = flags.config_from_flags(MeshMemory())
    known = MeshMemory().experiments
    if not config.experiments or not set(config.experiments) <= set(known):
        raise ValueError(
            f"`--experiments` must be some of {','.join(known)}; got "
            f"{','.join(config.experiments)}."
        )
    results = virtual.begun(SUITE, config.output, chosen=("--experiments", "--mesh", "--anew"))
    meshes = (config.mesh,) if config.mesh else (ONE, *MESHES)
    points = product((key for key in MODELS if key[0] in config.experiments), meshes)
    done = set() if config.anew else {_key(row) for row in results.rows}
    for name, model, mesh in ((*key, mesh) for key, mesh in points):
        if (name, model, mesh) not in done:
            row = as_row(name, model, mesh)
            found = row.temporary_bytes
            print(f"{name}, {model}, {mesh}: {row.not_measured or found}", flush=True)
            results = virtual.with_row(results, row, _place)
            rows.write(results, config.output)


def as_row(name: str, model: str, mesh: str) -> Row:
    """The memory of a model on a mesh, or on one device."""
    found = virtual.call(MODULE, 1 if mesh == ONE else DEVICES, name, model, mesh)
    refused = found.pop("refused", None)
    return Row(
        suite=SUITE,
        case={"experiment": name, "model": model, "mesh": mesh},
        temporary_bytes=found.pop("temporary", None),
        not_measured={OURS: refused} if refused else {},
        facts=found,
    )


def _key(row: Row) -> tuple[str, str, str]:
    return row.case["experiment"], row.case["model"], row.case["mesh"]


def _place(row: Row) -> tuple[int, int]:
    """The place of a row in the file."""
    name, model, mesh = _key(row)
    return list(MODELS).index((name, model)), (ONE, *MESHES).index(mesh)


def measure(name: str, model: str, mesh: str) -> dict[str, Any]:
    """Bytes of a step, in a process that has the devices; or why the mesh is refused."""
    experiment = find(name)
    own = [*SIZES, *MODELS[name, model]]
    config, _ = flags.parse(experiment.config, own)
    known, batch = _data(name)
    build, objective = experiment.build(config, known), experiment.objective(config)
    settings = config.training.settings(0)
    if mesh == ONE:
        graphdef, make = begin(build, settings.transform(), 0)
        state = jax.eval_shape(make)
        steps: Any = compile_steps(graphdef, settings.transform(), objective=objective)
        memory = steps.whole.lower(state, batch).compile().memory_analysis()
        parameters = sum(4 * x.size for x in jax.tree.leaves(state.params))
        return {"temporary": memory.temp_size_in_bytes, "parameter_bytes": parameters}
    try:
        together.check_mesh(mesh, model=config.model.model, has_positions=experiment.has_positions)
    except ValueError as error:
        return {"refused": str(error)}
    batches: Any = [batch]
    planned = plan(build, settings._replace(mesh=mesh), batches, objective)
    assert planned
    return {"temporary": planned.temporary_bytes}


def _data(name: str) -> tuple[Any, Any]:
    """The model's knowledge of an experiment's data, and a batch without contents."""
    ids, real = np.zeros((ROWS, LENGTH), np.int32), np.ones((ROWS, LENGTH), np.float32)
    words = Tokenizer.learn([" ".join(map(str, range(VOCABULARY - 4)))], kind="word")
    if name == "translation":
        return words, Seq2SeqBatch(ids, real > 0, ids, ids, real)
    if name == "speech":
        target, weights = ids[:, :TRANSCRIPT], real[:, :TRANSCRIPT]
        frames = np.zeros((ROWS, FRAMES, 40), np.float32)
        heard = np.ones((ROWS, FRAMES), bool)
        letters = Tokenizer.learn(["abcdefghijklmnopqrstuvwxyz "], kind="character")
        return letters, Seq2SeqBatch(frames, heard, target, target, weights)
    if name == "images":
        image = ImageConfig(64, 128, 1, 4)  # of 512 patches
        pixels = np.zeros((ROWS, *image[:3]), np.float32)
        return Known(tuple("0123456789"), image), ImageBatch(pixels, ids[:, 0], real[:, 0])
    return words if name == "language" else None, TokenBatch(ids, ids, real)


def lines(results: Results) -> list[str]:
    """The table, a model in each line: megabytes, and the share of one device's."""
    titles = ("experiment, model", "parameters, MB", f"{ONE}, MB", *MESHES)
    found = {_key(row): row for row in results.rows}
    return table(titles, (_cells(*key, found) for key in MODELS if (*key, ONE) in found))


def _cells(name: str, model: str, found: Mapping[tuple[str, str, str], Row]) -> tuple[str, ...]:
    one = found[name, model, ONE]
    whole = one.temporary_bytes or 0
    shared = (found.get((name, model, mesh)) for mesh in MESHES)
    sizes = (row and row.temporary_bytes for row in shared)
    return (
        f"{name}, {model}",
        f"{one.facts['parameter_bytes'] / 1e6:,.0f}",
        f"{whole / 1e6:,.0f}",
        *(f"{own / 1e6:,.0f} ({own / whole:.2f})" if own else "-" for own in sizes),
    )


if __name__ == "__main__":
    flags.launch(main, MeshMemory(), DeviceFlags())
