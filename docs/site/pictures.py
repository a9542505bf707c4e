"""Pictures of where each variant looks: drawn once for a state of the library, by all processors.

What was drawn stays in a folder named after the sources, so that a second build draws nothing.
"""

import hashlib
import json
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from docs.site.names import LIBRARY, ROOT

# What the picture of a variant depends on.
ROOMS = ("core", "engine", "variants", "analysis/plots")


def draw_all(names: list[str], folder: Path) -> dict[str, str]:
    """Draws what is missing; gives the caption of each picture, or why there is none."""
    kept = folder / _state()
    kept.mkdir(parents=True, exist_ok=True)
    missing = [name for name in names if not (kept / f"{name}.json").is_file()]
    if missing:
        # A fork of a process in which JAX runs may hang.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(mp_context=context, initializer=_prepare) as pool:
            list(pool.map(draw, missing, [kept] * len(missing)))
    return {name: json.loads((kept / f"{name}.json").read_text("utf-8")) for name in names}


def path(name: str, folder: Path) -> Path | None:
    """The picture of a variant; None where there is none."""
    found = folder / _state() / f"{name}.png"
    return found if found.is_file() else None


def draw(name: str, folder: Path) -> None:
    """Draws one variant, and writes the caption beside it."""
    from attention_jax.analysis.plots import variant_patterns

    try:
        found = variant_patterns.patterns(name)
        variant_patterns.draw(found, folder / f"{name}.png", title=name)
        caption = variant_patterns.caption(found)
    except ValueError as error:
        caption = f"No picture: {error}"
    (folder / f"{name}.json").write_text(json.dumps(caption), encoding="utf-8")


def _prepare() -> None:
    """Compiling is what costs, and small pictures need no fast programs."""
    os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")
    os.environ.setdefault("JAX_PLATFORMS", "cpu")


def _state() -> str:
    digest = hashlib.sha256()
    for room in ROOMS:
        for file in sorted((ROOT / LIBRARY / room).rglob("*.py")):
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]
