"""Time and memory of a step as sequences grow: one of training, and one of reading on."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from attention_jax.core.types import Params
from attention_jax.training import step
from experiments.common import timing
from experiments.memory.config import MemoryConfig, build, objective, problem

READ = 32  # tokens


def measure(config: MemoryConfig, length: int) -> dict[str, Any]:
    """Costs of one sequence of a length: medians of a few calls, with lowest and highest.

    `training` is a whole update, `reading` a token read at the end of as many, `temporary_bytes`
    what the update needs beside its arguments, and `state_bytes` what reading on keeps.
    """
    settings, repeats = config.training.settings(config.run.seed), config.costs.cost_repeats
    graphdef, state = step.start(build(config, length), settings.transform(), settings.seed)
    batch, _ = problem(config.data, length)(np.random.default_rng(0), 1)
    whole: Any = step.compile_steps(
        graphdef, settings.transform(), objective=objective(config)
    ).whole
    compiled = whole.lower(state, batch).compile()
    held = [jax.tree.map(jnp.copy, state)]  # the update overwrites its state

    def train() -> Any:
        held[0], totals = compiled(held[0], batch)
        return totals

    found = {
        "length": length,
        **timing.spread("training_seconds", timing.repeated(train, repeats).seconds),
        "temporary_bytes": getattr(compiled.memory_analysis(), "temp_size_in_bytes", None),
    }
    if config.data.problem != "adding":  # whose model reads no tokens
        found |= reading(graphdef, state.params, length, repeats)
    return found


def reading(graphdef: nnx.GraphDef, params: Params, length: int, repeats: int) -> dict[str, Any]:
    """The cost of a token at the end of so many: of the last `READ`, divided by their number.

    They are read in one loop, as texts are written, which puts each into the cache where it lies.
    """
    count = min(READ, length)
    past = nnx.merge(graphdef, params).start(1, length)
    past = past._replace(position=past.position + length - count)
    tokens = jnp.zeros((count, 1), jnp.int32)

    @jax.jit
    def read(params: Any, past: Any) -> Any:
        return jax.lax.scan(nnx.merge(graphdef, params).step, past, tokens)

    times = timing.repeated(lambda: read(params, past), repeats)
    return {
        **timing.spread("reading_seconds", [x / count for x in times.seconds]),
        "state_bytes": sum(leaf.nbytes for leaf in jax.tree.leaves(past)),
    }


def line(row: dict[str, Any]) -> str:
    """One length, in words."""
    parts = [f"length {row['length']:>6}: {row['training_seconds'] * 1e3:9.1f} ms a training step"]
    if row["temporary_bytes"] is not None:
        parts.append(f"{row['temporary_bytes'] / 2**20:8.1f} MiB")
    if "reading_seconds" in row:
        parts.append(
            f"{row['reading_seconds'] * 1e3:7.2f} ms a token read, which keeps "
            f"{row['state_bytes'] / 2**10:.0f} KiB"
        )
    return ", ".join(parts)
