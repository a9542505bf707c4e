"""The machine of a benchmark: processor, versions, and its matrix peak."""

import contextlib
import importlib.metadata
import importlib.util
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

import attention_jax

SIZES, SECONDS = (1024, 2048), 0.5
_PACKAGES = ("jax", "jaxlib", "flax", "numpy", "torch", "transformers")


def environment() -> dict[str, Any]:
    """Machine, versions and command of a run: neither the names of hosts nor those of folders."""
    return {
        "cpu": _cpu_model(),
        "architecture": platform.machine(),
        "system": platform.system(),
        "cores": os.cpu_count(),
        "memory_bytes": _memory_bytes(),
        "devices": [device.device_kind for device in jax.devices()],
        "python": platform.python_version(),
        "attention_jax": attention_jax.__version__,
        **{name: _version(name) for name in _PACKAGES},
        "command": [word for word in sys.argv[1:] if not _names_a_file(word)],
    }


def _names_a_file(word: str) -> bool:
    return word.startswith(("--output", "--picture", "--compile_cache")) or os.path.isabs(
        word.partition("=")[2]
    )


def _cpu_model() -> str | None:
    with contextlib.suppress(OSError):
        for text in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if text.startswith("model name"):
                return text.partition(":")[2].strip()
    return platform.processor() or None


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return None


def _version(name: str) -> str | None:
    return importlib.metadata.version(name) if importlib.util.find_spec(name) else None


def matrix_peak(sizes: tuple[int, ...] = SIZES, seconds: float = SECONDS) -> float:
    """Best GFLOP/s of a square matrix product in float32, by JAX and, where installed, by torch.

    Args:
      sizes: of the matrices.
      seconds: how long each product is tried.
    """
    return max(
        2e-9 * n**3 / _best_seconds(product, seconds)
        for n in sizes
        for product in _products(n).values()
    )


def _products(n: int) -> dict[str, Callable[[], object]]:
    x = jax.random.normal(jax.random.key(0), (n, n), jnp.float32)
    multiply = jax.jit(jnp.matmul)
    found: dict[str, Callable[[], object]] = {"jax": lambda: jax.block_until_ready(multiply(x, x))}
    if importlib.util.find_spec("torch"):
        import torch

        torch.set_num_threads(os.cpu_count() or 1)
        own = torch.randn(n, n)
        found["torch"] = lambda: own @ own
    return found


def _best_seconds(call: Callable[[], object], seconds: float) -> float:
    call()
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end or best == float("inf"):
        begin = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - begin)
    return best
