"""Runs of several processes: how they come together, what each may do, and how they end."""

import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

import jax

from attention_jax.parallel import distributed, processes
from attention_jax.parallel.mesh import MeshShape, completed, parse


def join(*, asked: bool, timeout_seconds: float) -> None:
    """Connects this process with the others of its run; all but the first print no results.

    Raises:
      ValueError: there are none although `asked`, or one of them does not come.
    """
    distributed.join(asked=asked, timeout_seconds=timeout_seconds)
    if jax.distributed.is_initialized() and not processes.is_first():
        sys.stdout = open(os.devnull, "w", encoding="utf-8")


def ended(main: Callable[[list[str]], None], rest: list[str]) -> None:
    """Runs a program; one of several processes that fails ends at once.

    It must not wait for the others at its end, as JAX would have it: they wait for it.
    """
    try:
        main(rest)
    except BaseException as error:
        if not jax.distributed.is_initialized():
            raise
        code: Any = 1
        if isinstance(error, SystemExit):
            code = error.code if isinstance(error.code, int) else 1
            if isinstance(error.code, str):
                print(error.code, file=sys.stderr)
        else:
            traceback.print_exception(error)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def check_mesh(text: str | None, *, model: str, has_positions: bool) -> MeshShape | None:
    """The mesh that --mesh names on the devices that are here; None where it is not given.

    Raises:
      ValueError: the devices are others, or the model has no positions that devices could share.
    """
    if not text:
        return None
    shape = completed(parse(text), jax.device_count())
    if shape.context > 1 and not (has_positions and model == "transformer"):
        why = "an RNN reads one after another" if has_positions else "images are read whole"
        raise ValueError(
            f"`--mesh` may share positions by context among devices with --model=transformer of "
            f"sequences alone ({why}); got context={shape.context}. Leave context out, and give "
            "its devices to data or fsdp."
        )
    return shape
