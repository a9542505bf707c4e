"""Every variant under a mesh: divided batches need no other device, and its types are taken."""

from functools import partial

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from attention_jax import variants
from attention_jax.core import masks
from attention_jax.core.types import Options
from attention_jax.variants._by_queries import by_queries
from tests.support import shared_programs

# The exceptions: what is brought together, and why. `lax.while_loop` ends where all rows are done.
LOOKED_UP = "its modifier or mask looks up an array of all sequences, gathered before the loops"
UNDIVIDED_SEARCH = "XLA for CPUs divides no search for the largest of rows"
ALLOWED = {
    "content_bias": ("all-gather", LOOKED_UP),
    "disentangled": ("all-gather", "all-reduce", LOOKED_UP),
    "entmax15": ("all-reduce", "devices agree when the search of all rows is done"),
    "forgetting": ("all-gather", LOOKED_UP),
    "hierarchical": ("all-gather", LOOKED_UP),
    "indexed_sparse": ("all-gather", UNDIVIDED_SEARCH),
    "moba": ("all-gather", "collective-permute", UNDIVIDED_SEARCH),
    "native_sparse": ("all-gather", UNDIVIDED_SEARCH),
    "nystromformer": ("all-gather", LOOKED_UP),
    "reformer": ("all-gather", LOOKED_UP),
    "sparsemax": ("all-reduce", "devices agree when the search of all rows is done"),
    "top_k": ("all-gather", UNDIVIDED_SEARCH),
}
SIZES = {"heads": 4, "kv_heads": 4, "head_width": 8}


@pytest.mark.slow
def test_divided_batches_need_no_other_device():
    names, wrong = variants.names(), {}
    for name, x in zip(names, shared_programs.measured("sharing_variants", names), strict=True):
        kinds = {found.split()[-1] for found in x["found"]}
        # In a loop there is nothing but that agreement, of one boolean.
        agreed = set(x["looped"]) <= {"pred[] all-reduce"}
        if kinds != set(ALLOWED.get(name, ())[:-1]) or not agreed:
            wrong[name] = x
    assert not wrong


def program(name, kind):
    """The variant's loss of arrays, and the arrays, with a mask that captures one of them."""
    variant = by_queries(variants.get(name))
    params = variant.init(jax.random.key(0), **SIZES)
    causal = masks.causal if "causal" in variant.roles else None
    mesh = jax.make_mesh((1,), ("x",), axis_types=(kind,))

    def attend(qkv, lengths, params):
        options = Options(mask=masks.both(causal, masks.lengths(lengths)))
        return variant.attend(params, *qkv, options)

    arrays = (jnp.ones((2, 6, 4, 8)),) * 3, jnp.array([4, 6]), params
    if kind == AxisType.Explicit:
        specs = (P("x"), P("x"), P())
        arrays = tuple(
            jax.device_put(x, NamedSharding(mesh, spec))
            for x, spec in zip(arrays, specs, strict=True)
        )
    else:
        attend = jax.shard_map(attend, mesh=mesh, in_specs=(P("x"), P("x"), P()), out_specs=P("x"))
    return partial(loss, attend), arrays


def loss(attend, qkv, lengths, params):
    return attend(qkv, lengths, params).sum()


@pytest.mark.sampled(2)
@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit], ids=["shard_map", "explicit"])
@pytest.mark.parametrize("name", variants.names())
def test_types_of_a_mesh_are_taken(name, kind):
    """In reverse mode too; traced and lowered, not compiled."""
    run, arrays = program(name, kind)
    lowered = jax.jit(jax.grad(run, (0, 2))).lower(*arrays)
    shapes = jax.tree.map(lambda x: x.shape, (arrays[0], arrays[2]))
    assert jax.tree.map(lambda x: x.shape, lowered.out_info) == shapes
