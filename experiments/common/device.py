"""The device that a program computes on, and where compiled programs are kept."""

import os
import sys
from collections.abc import Callable

import jax

from attention_jax.core.allocator import keep_memory
from attention_jax.training.preemption import outlive_requests_to_save
from experiments.common import endings


def prepare(
    platform: str | None, compile_cache: str, *, join: Callable[[], None] = lambda: None
) -> None:
    """Picks the platform and the compile cache, before anything is computed, and keeps memory.

    SIGUSR1, which asks training for a checkpoint, ends no program that is not training yet.
    A cache that cannot be written is named on standard error, and done without.

    Args:
      platform: what --platform says.
      compile_cache: what --compile_cache says.
      join: connects the processes of a run, before a device is asked for.

    Raises:
      ValueError: there is no such device here.
    """
    keep_memory()
    outlive_requests_to_save()
    if platform:
        jax.config.update("jax_platforms", platform)
    join()
    if platform:
        _check(platform)
    if not compile_cache:
        return
    try:
        os.makedirs(compile_cache, exist_ok=True)
        writable = os.access(compile_cache, os.W_OK)
    except (OSError, ValueError):
        writable = False
    if not writable:
        print(
            f"--compile_cache={compile_cache} is no folder that can be written; programs are "
            "compiled anew each time",
            file=sys.stderr,
        )
        return
    jax.config.update("jax_compilation_cache_dir", compile_cache)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)


def _check(platform: str) -> None:
    """Refuses a platform of which there is no device."""
    try:
        jax.devices(platform)
    # JAX answers with an assertion where it was built without one.
    except (RuntimeError, AssertionError) as error:
        why = endings.in_one_line(error)
        raise ValueError(
            f"`--platform` must be a device that is here; got {platform}{why and ': '}"
            f"{why.rstrip('.')}. Leave it out for the best that is."
        ) from None
