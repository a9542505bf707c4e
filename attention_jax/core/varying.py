"""JAX's check of the axes of a mesh along which arrays vary, switched off for a function.

`jax.shard_map(check_vma=False)` is public, but what is called inside another's `shard_map` cannot
pass it. So this file reads a private name of JAX, and no other does
(`tests/repo/test_private_names.py`).
"""

import contextlib

from jax._src import config


def is_checked() -> bool:
    """True where arrays that are traced now have types that name these axes."""
    return config._check_vma.value


def unchecked(*, where: bool = True) -> contextlib.AbstractContextManager:
    """Traces without these axes; where `where` is False, as before."""
    return config._check_vma(False) if where else contextlib.nullcontext()
