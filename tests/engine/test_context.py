"""Sequences that an axis of a mesh divides: rows, gradients and plans are those of one device."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

import attention_jax as aj
from attention_jax import masks, normalizers
from tests.support import shared_programs

FUNCTIONS = (
    "alibi",
    "documents",
    "window",
    "content",
    "additive",
    "soft_cap",
    "sink",
    "sigmoid",
    "sigmoid_of_count",
    "relu",
    "dropout",
    "grouped",
    "own_mask",
    "shaw",
    "lse",
    "far",
)
FORMS = [
    (strategy, order, place)
    for strategy in ("gather", "ring")
    for order, place in (("natural", "jit"), ("zigzag", "manual"))
]
OTHERS = [
    ["sparsemax", "gather", "natural", "jit"],
    ["sparsemax", "gather", "zigzag", "manual"],
    ["window", "neighbors", "natural", "jit"],
    ["window", "neighbors", "natural", "manual"],
    ["window", "neighbors", "natural", "mesh"],
    ["wide_window", "neighbors", "natural", "jit"],
    ["content", "gather", "natural", "mesh"],
    ["content", "ring", "zigzag", "mesh"],
    ["alibi", "gather", "natural", "explicit"],
    ["alibi", "ring", "zigzag", "explicit"],
]
# Outputs and gradients of queries, keys and values: all but what adds up over pairs and cancels.
FLOAT32, FLOAT64 = 2e-6, 1e-12


def test_rows_and_gradients_are_those_of_one_device():
    """Gathered and in a ring, in float32; gradients of the captured slopes too."""
    cases = [["alibi", "gather", "natural", "jit"], ["alibi", "ring", "natural", "manual"]]
    for case, found in zip(cases, measured(cases, "float32"), strict=True):
        assert max(found) < FLOAT32, (case, found)


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_every_function_keeps_its_meaning(form):
    """Of the output, of queries, keys, values, and of what the functions capture."""
    cases = [[name, *form] for name in FUNCTIONS]
    for case, found in zip(cases, measured(cases, "float64"), strict=True):
        assert max(found) < FLOAT64, (case, found)


@pytest.mark.slow
def test_other_forms_keep_the_meaning_too():
    for case, found in zip(OTHERS, measured(OTHERS, "float64"), strict=True):
        assert max(found) < FLOAT64, (case, found)


@pytest.mark.slow
def test_float32_rounds_as_one_device_does():
    cases = [[name, *form] for name in ("shaw", "documents", "grouped") for form in FORMS]
    for case, found in zip(cases, measured(cases, "float32"), strict=True):
        assert max(found) < FLOAT32, (case, found)


def measured(cases, dtype):
    return shared_programs.measured("context_cases", [[*case, dtype] for case in cases])


@pytest.fixture
def eight():
    """A mesh of 8 shards, of which no device is asked."""
    mesh = jax.sharding.AbstractMesh((8,), ("sequence",), axis_types=(AxisType.Auto,))
    with jax.sharding.use_abstract_mesh(mesh):
        yield


def like(length, heads=4):
    return jax.ShapeDtypeStruct((2, length, heads, 8), jnp.float32)


def planned(length=64, **options):
    return aj.plan(*[like(length)] * 3, **options)


def refused(line, **options):
    with pytest.raises(ValueError, match=line) as caught:
        planned(**options)
    assert "\n" not in str(caught.value)


def test_plans_say_what_shards_hold(eight):
    plan = planned(64, context="sequence", mask=masks.causal)
    assert "each gathers all 64 keys and values, 32768 bytes" in plan.context
    assert plan.implementation == "dense" and planned(64).context == ""
    ring = planned(2**16, context=aj.Context("sequence", "ring", "zigzag"), mask=masks.causal)
    assert "8192 at a time, in pieces of 1024 by 1024" in ring.context and "zigzag" in ring.context
    mask = masks.causal & masks.sliding_window(100)
    near = planned(512, context=aj.Context("sequence", "neighbors"), mask=mask)
    assert "99 keys before its own 64, and 0 after" in near.context


def test_calls_that_cannot_be_divided_are_refused_in_one_line(eight, users_errors):
    refused("must be a multiple of 8.*got 60.*56 and 64", length=60, context="sequence")
    zigzag = aj.Context("sequence", order="zigzag")
    refused("must be a multiple of 16.*got 56.*48 and 64", length=56, context=zigzag)
    refused("which has 'sequence'; got 'time'", context="time")
    refused("must be the name of an axis", context=3)
    refused("`strategy` must be one of", context=aj.Context("sequence", "all"))
    refused('`order` must be "natural"', context=aj.Context("sequence", "neighbors", "zigzag"))
    ring, near = (aj.Context("sequence", x) for x in ("ring", "neighbors"))
    for normalizer in (normalizers.sparsemax, normalizers.top_k(3), normalizers.entmax(1.3)):
        refused("needs whole rows.*gathers keys", context=ring, normalizer=normalizer)
    refused("promises no window", context=near, mask=masks.causal)
    window = masks.sliding_window(4)
    refused("at the positions of the keys", context=near, mask=window, query_offset=3)


@pytest.mark.parametrize("order", ["natural", "zigzag"])
def test_values_without_channels_leave_the_sums_of_a_ring(draw, order):
    """The output is empty, and its log-sum-exps are those of any values."""
    query, key = draw(1, 4, 2, 3), draw(1, 4, 2, 3)
    mesh = jax.make_mesh((1,), ("parts",), axis_types=(AxisType.Auto,))
    with jax.set_mesh(mesh):
        out, lse = aj.attention(
            query,
            key,
            jnp.zeros((1, 4, 2, 0)),
            mask=masks.causal,
            return_lse=True,
            context=aj.Context("parts", "ring", order),
        )
    _, expected = aj.attention(query, key, key, mask=masks.causal, return_lse=True)
    assert out.shape == (1, 4, 2, 0)
    assert jnp.abs(lse - expected).max() < FLOAT32


def test_a_mesh_must_be_set(draw):
    x = draw(1, 8, 1, 4)
    with pytest.raises(ValueError, match="no mesh is set; got 'sequence'"):
        aj.attention(x, x, x, context="sequence")


def test_what_is_looked_up_inside_shard_map_is_whole(draw):
    """A shard's part of the ids of documents would be read at positions that it does not have."""
    mesh = jax.sharding.AbstractMesh((2,), ("sequence",), axis_types=(AxisType.Auto,))

    def attend(x, ids):
        mask = masks.documents(ids, ids)
        return aj.attention(x, x, x, mask=mask, context="sequence")

    along = P(None, "sequence")
    run = jax.shard_map(attend, mesh=mesh, in_specs=along, out_specs=along)
    with pytest.raises(ValueError, match="`query_ids` of `mask` must have shape.*Axis t must be 8"):
        jax.eval_shape(run, like(8, 1), jax.ShapeDtypeStruct((2, 8), jnp.int32))


def test_explicit_axes_that_shard_map_leaves_are_told():
    kinds = (AxisType.Auto, AxisType.Explicit)
    mesh = jax.sharding.AbstractMesh((2, 2), ("data", "sequence"), axis_types=kinds)

    def attend(x):
        return aj.attention(x, x, x, context="sequence")

    run = jax.shard_map(
        attend, mesh=mesh, in_specs=P("data"), out_specs=P("data"), axis_names={"data"}
    )
    with pytest.raises(ValueError, match="got 'sequence' beside the manual 'data'"):
        jax.eval_shape(run, like(8))


@pytest.mark.parametrize("strategy", ["gather", "ring"])
def test_an_axis_that_shard_map_leaves_divides_itself(strategy):
    """What is captured has the types of the outer mesh, and is looked up in the inner one."""
    mesh = jax.sharding.AbstractMesh((2, 2), ("data", "sequence"), axis_types=(AxisType.Auto,) * 2)

    def attend(x, slopes):
        context = aj.Context("sequence", strategy)

        def lowered(s, b, h, i, j):
            return s - slopes[h] * jnp.abs(i - j).astype(s.dtype)

        return aj.attention(x, x, x, score_mod=lowered, mask=masks.causal, context=context)

    rows = P("data")
    run = jax.shard_map(
        attend, mesh=mesh, in_specs=(rows, P()), out_specs=rows, axis_names={"data"}
    )
    gradient = jax.grad(lambda *x: run(*x).sum(), argnums=(0, 1))
    found = jax.eval_shape(gradient, like(8), jax.ShapeDtypeStruct((1,), jnp.float32))
    assert found[0].shape == like(8).shape and found[1].shape == (1,)


@pytest.mark.slow
def test_explanations_are_of_whole_sequences(draw):
    x = draw(1, 8, 2, 4)
    expected = aj.explain(x, x, x, mask=masks.causal)
    with jax.set_mesh(jax.make_mesh((1,), ("sequence",), axis_types=(AxisType.Auto,))):
        context = aj.Context("sequence", order="zigzag")
        mixed = aj.contexts.zigzag(x, shards=1)
        got = aj.explain(mixed, mixed, mixed, mask=masks.causal, context=context)
    assert str(got) == str(expected)
