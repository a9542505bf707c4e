"""Memory of context parallelism: what each device holds for a step over a long sequence.

    python -P -m experiments.benchmark.context_memory --output=context_memory.json

A step is causal attention with learned slopes, and the gradients of queries, keys, values and
slopes. It is compiled for one device and for --shards devices of the host, and nothing is run:
printed is the temporary memory of each device, as XLA plans it, and how many times that of one
device holds it.
"""

import json
from functools import partial
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jaxtyping import Array

import attention_jax as aj
from attention_jax import masks
from attention_jax.core.files import write_whole
from experiments.common import flags
from experiments.common.config import DeviceFlags
from experiments.common.flags import Flag

AXIS = "sequence"
FORMS = {
    "one device": None,
    "gather": aj.Context(AXIS),
    "ring": aj.Context(AXIS, "ring"),
    "ring, zigzag": aj.Context(AXIS, "ring", "zigzag"),
}


class ContextMemory(NamedTuple):
    """A measurement of context parallelism.

    Attributes:
      tokens: of one sequence; all shards together hold it.
      shards: devices of the host among which it is divided.
      heads: of queries, keys and values.
      width: of a head.
      output: JSON file of the results.
    """

    tokens: Annotated[int, Flag(low=1)] = 65536
    shards: Annotated[int, Flag(low=1, high=64)] = 8
    heads: Annotated[int, Flag(low=1)] = 8
    width: Annotated[int, Flag(low=1)] = 64
    output: str | None = None


def main() -> None:
    """Compiles form after form, and prints what each device holds."""
    config = flags.config_from_flags(ContextMemory())
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", config.shards)
    found: dict[str, Any] = {}
    for form, context in FORMS.items():
        found[form] = temporary_bytes(config, context)
        times = found["one device"] / found[form]
        print(f"{form}: {found[form] / 2**20:.0f} MiB, {times:.2f} times less", flush=True)
    if config.output:
        write_whole(config.output, json.dumps(config._asdict() | {"bytes": found}, indent=2) + "\n")


def temporary_bytes(config: ContextMemory, context: aj.Context | None) -> int:
    """Memory that XLA plans beside arguments and results, for each device."""
    devices = jax.devices()[: 1 if context is None else config.shards]
    mesh = jax.make_mesh((len(devices),), (AXIS,), axis_types=(AxisType.Auto,), devices=devices)
    divided = NamedSharding(mesh, PartitionSpec(None, AXIS))
    shape = 1, config.tokens, config.heads, config.width
    vectors = jax.ShapeDtypeStruct(shape, jnp.float32, sharding=divided)
    slopes = jax.ShapeDtypeStruct((config.heads,), jnp.float32)
    step = jax.jit(jax.grad(partial(loss, context), (0, 1, 2, 3)))
    with jax.set_mesh(mesh):
        compiled = step.lower(vectors, vectors, vectors, slopes).compile()
    planned: Any = compiled.memory_analysis()
    return planned.temp_size_in_bytes


def loss(context: aj.Context | None, q: Array, k: Array, v: Array, slopes: Array) -> Array:
    """A number of the output, whose derivative in each entry differs."""

    def nearer(score: Array, b: Array, h: Array, i: Array, j: Array) -> Array:
        return score - slopes[h] * jnp.abs(i - j)

    out = aj.attention(q, k, v, mask=masks.causal, score_mod=nearer, context=context)
    return jnp.sin(out).sum()


if __name__ == "__main__":
    flags.launch(main, ContextMemory(), DeviceFlags())
