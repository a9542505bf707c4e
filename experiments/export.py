"""Writes a trained run as programs that others can run, without this library's models.

python -m experiments.export --run=runs/mine
python -m experiments.export --run=runs/mine --format=onnx --output=served
python -m experiments.export --run=runs/mine --format=onnx --batch=1 --length=64
python -m experiments.export --run=runs/mine --format=safetensors --family=marian

Of a run of translation or speech it writes the encoder, the opening of the caches of a source and
the decoder's step; of a language model the logits of a whole text, the opening and the step; of
images the classifier; of the adding problem the predictor. Beside them lie manifest.json, which
says what each takes and gives, the tokenizer or the classes, and run.flags. The folder appears
whole or not at all. `attention_jax.models.exported.load_exported(folder)` reads it. Weights alone,
for libraries that know such models, are written by --format=safetensors.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, NamedTuple

from attention_jax.core.files import require_empty, whole_folder, write_whole
from attention_jax.data.tokenizer import Tokenizer
from attention_jax.data.types import BOS, EOS, PAD, UNKNOWN
from attention_jax.models.exported import Sizes, onnx, stablehlo
from attention_jax.models.exported.ports import NEXT, Port
from experiments.common import as_pretrained, flags, places
from experiments.common.config import DeviceFlags
from experiments.common.experiment import Run, find
from experiments.common.flags import Flag
from experiments.common.load_run import load_run, run_folder_of
from experiments.common.vocabularies import VOCABULARY

_FLAGS = "run.flags"
# A run, an empty folder, the sizes that programs take and a family -> lines that are printed.
Write = Callable[[Run, Path, Sizes, str | None], list[str]]


def _write_weights(run: Run, folder: Path, sizes: Sizes, family: str | None) -> list[str]:
    """Writes the weights of a run as another library has them."""
    if sizes != Sizes():
        raise ValueError(
            "`--batch`, `--length` and `--longest` are of programs; weights have no such sizes. "
            "Leave them out."
        )
    return as_pretrained.write(run, folder, family)


def _write_programs(
    write: Callable, run: Run, folder: Path, sizes: Sizes, family: str | None
) -> list[str]:
    """Writes the programs of a run, with what it knows of the data beside them."""
    if family is not None:
        raise ValueError(
            f"`--family` goes with --format=safetensors; got {family}. Leave it out: programs "
            "are of any model."
        )
    find(run.experiment.name).keep(run.known, folder)
    write_whole(folder / _FLAGS, (run.folder / _FLAGS).read_bytes())
    found = write(run.model, folder, sizes, about=about(run))
    return [
        f"{one.file}: {_parts(one.inputs)} -> {_parts(one.outputs)}"
        for one in found.programs.values()
    ]


def _parts(ports: Sequence[Port]) -> str:
    """Inputs or outputs by their names, the parts of a state as one."""
    names = (x.name.removeprefix(NEXT).partition(".")[0] for x in ports)
    return ", ".join(dict.fromkeys(names))


FORMATS: Mapping[str, Write] = {
    stablehlo.FORMAT: partial(_write_programs, stablehlo.write),
    onnx.FORMAT: partial(_write_programs, onnx.write),
    "safetensors": _write_weights,
}


class ExportConfig(NamedTuple):
    """A call of experiments.export.

    Attributes:
      run: folder of the run.
      format: stablehlo for JAX on any device, onnx for ONNX Runtime and others, safetensors for
        libraries that know the model.
      family: of --format=safetensors: the model of other libraries that it is written as. Default:
        the first that has the words for it.
      output: the folder to write, new or empty. Default: one named by --format in --run.
      batch: sequences or images of a call. Default: any number.
      length: positions of a source (of speech its frames), a text and a cache. Default: any.
      longest: the most positions, where they are any; some attentions have to know. Default: those
        of learned positions, else no bound.
    """

    run: str | None = None
    format: Annotated[str, Flag(choices=tuple(FORMATS))] = stablehlo.FORMAT
    family: str | None = None
    output: str | None = None
    batch: Annotated[int | None, Flag(low=1)] = None
    length: Annotated[int | None, Flag(low=1)] = None
    longest: Annotated[int | None, Flag(low=1)] = None
    device: DeviceFlags = DeviceFlags()


def main() -> None:
    """Writes the folder, and prints what is in it."""
    print(*export(flags.config_from_flags(ExportConfig())), sep="\n")


def export(own: ExportConfig) -> list[str]:
    """Writes the folder of a call.

    Returns:
      Lines that say what is in it.

    Raises:
      ValueError: --run is none of a trained run, --output is in use, sizes exclude each other, or
        the format cannot have this model.
      ModuleNotFoundError: a package that the format needs is missing.
    """
    sizes = Sizes(own.batch, own.length, own.longest)
    sizes.check()
    folder = run_folder_of(own.run, "build")
    output = places.folder("output", own.output or folder / own.format)
    require_empty("--output", output)
    run = load_run(folder)
    with whole_folder(output) as unfinished:
        lines = FORMATS[own.format](run, unfinished, sizes, own.family)
    size = sum(path.stat().st_size for path in output.iterdir())
    return [f"{output}: {own.format}, {size / 1e6:.2f} MB", *lines]


def about(run: Run) -> dict[str, object]:
    """The words of a manifest about a run: experiment and flags, tokenizer and special ids."""
    found: dict[str, object] = {"experiment": run.experiment.name, "run": run.folder.name}
    found["flags"] = sorted(flags.lines(run.config).values())
    if isinstance(run.known, Tokenizer):
        ids = {"pad": PAD, "bos": BOS, "eos": EOS, "unknown": UNKNOWN}
        found["tokenizer"] = {"file": VOCABULARY, "special_ids": ids}
    return found


if __name__ == "__main__":
    flags.launch(main, ExportConfig())
