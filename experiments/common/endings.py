"""How a program ends that cannot go on: in one line, where the user can mend it."""

import traceback
from types import TracebackType

import jax
from absl import flags

from attention_jax.parallel.processes import FirstFailed
from attention_jax.training.checkpoints import CheckpointDamaged
from attention_jax.training.result import TrainingDiverged

# Errors that tell the user in one line what to mend; of all others Python prints a traceback.
EXPECTED = (
    ValueError,
    OSError,
    ImportError,
    flags.Error,
    TrainingDiverged,
    CheckpointDamaged,
    FirstFailed,
)
_TOO_LARGE = (
    "arrays must fit into memory, which those of this call do not: {}. Make the batch, the model "
    "or the data smaller."
)
_SHOWN = 120  # characters of a path
_IN_A_FILE = "{}, line {}: {}: {}. ATTENTION_JAX_TRACEBACK=1 shows how it came there."


def line(error: BaseException) -> str | None:
    """The one line in which an error ends; None for one that the user cannot mend."""
    said = in_one_line(error)
    if isinstance(error, MemoryError) or _is_out_of_memory(error):
        return _TOO_LARGE.format(said.rstrip(".") or "no memory is left")
    if found := _in_own_file(error.__traceback__):
        return _IN_A_FILE.format(*found, type(error).__name__, said.rstrip("."))
    return said if isinstance(error, EXPECTED) else None


def in_one_line(error: BaseException) -> str:
    """The message of an error, whatever it quotes; the system's own names its file first."""
    said = str(error)
    if isinstance(error, OSError) and error.strerror and isinstance(error.filename, str):
        why = f"{error.strerror[:1].lower()}{error.strerror[1:]}"
        said = (
            f"{_shortened(error.filename)} cannot be used: {why}. Name another place, or mend it."
        )
    return " ".join(said.splitlines())


def _shortened(path: str) -> str:
    """A path, or of a very long one its ends."""
    return path if len(path) <= _SHOWN else f"{path[: _SHOWN // 2]}...{path[-_SHOWN // 2 :]}"


def _is_out_of_memory(error: BaseException) -> bool:
    """True where a device, or NumPy, cannot hold an array."""
    device = isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" in str(error)
    return device or (isinstance(error, ValueError) and "array is too big" in str(error))


def _in_own_file(found: TracebackType | None) -> tuple[str, int] | None:
    """The file and line of an attention of the user's own, where an error arose in one."""
    frames = [(frame, number) for frame, number in traceback.walk_tb(found)]
    if not frames:
        return None
    frame, number = frames[-1]
    # Such files are run without being imported: their modules have no specification.
    own = frame.f_globals.get("__spec__") is None and frame.f_globals["__name__"] != "__main__"
    name = frame.f_code.co_filename
    return (name, number) if own and name.endswith(".py") else None
