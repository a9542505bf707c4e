"""Exported folders, read: `load_exported`.

    model = load_exported("exported")
    state = model.start(model.encode(source, source_mask), max_length=64)
    decoded = decoding.greedy(model.step, state, max_length=64)

Nothing of the model's own code is needed, nor its parameters' names or structure.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from attention_jax.models.exported import manifest, onnx, stablehlo
from attention_jax.models.exported.manifest import Manifest
from attention_jax.models.exported.ports import Call
from attention_jax.models.exported.stand_ins import MODELS, Exported

READERS: Mapping[str, Callable[[Path, Manifest], dict[str, Call]]] = {
    stablehlo.FORMAT: stablehlo.calls,
    onnx.FORMAT: onnx.calls,
}


def load_exported(folder: str | Path) -> Exported:
    """The model of an exported folder.

    Args:
      folder: that `python -m experiments.export` wrote.

    Returns:
      One of `MODELS`. Of StableHLO it may be jitted, and searched with; of ONNX it takes and gives
      NumPy arrays, and is called step by step.

    Raises:
      ValueError: a file is missing or was changed, or the folder is of a version that is not read.
      ModuleNotFoundError: a package that runs the programs is missing.
    """
    path = Path(folder)
    own = manifest.read(path)
    if own.format not in READERS or own.kind not in MODELS:
        raise ValueError(
            f"`folder` must be of a format among {', '.join(READERS)} and a kind among "
            f"{', '.join(MODELS)}; got {own.format}, {own.kind}. Update attention_jax."
        )
    return MODELS[own.kind](own, READERS[own.format](path, own), path)
