"""Types that a mesh gives to arrays: inside `jax.shard_map`, and under explicit axes.

One device suffices: the types are those of many.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from attention_jax import attention, explain, plan
from attention_jax.core import masks, normalizers
from attention_jax.engine import partition

EVERYWHERE = ("blockwise", "dense", "reference")
B, T, H, D = 2, 8, 4, 4


def mesh(kind, shape=(1, 1)):
    return jax.make_mesh(shape, ("x", "y"), axis_types=(kind,) * 2)


def close(got, expected):
    leaf = partial(np.testing.assert_allclose, rtol=2e-5, atol=1e-5)
    jax.tree.map(lambda x, y: leaf(jax.device_get(x), jax.device_get(y)), got, expected)


@pytest.fixture
def arrays(draw):
    return *(draw(B, T, H, D) for _ in range(3)), jnp.linspace(0.1, 1.0, H)


def nearer(slopes):
    """With a jitted function, a constant and a custom derivative among what it calls."""

    def score_mod(s, b, h, i, j):
        return jnp.where(i > j, s - slopes[h] * jnp.float32(abs(i - j)), jax.nn.relu(s) * slopes[1])

    return score_mod


def derivatives(function, arrays):
    """The value, the gradient, and the derivative along the arrays."""
    loss = lambda *x: jnp.sin(function(*x)).sum()  # noqa: E731
    value, gradient = jax.value_and_grad(loss, tuple(range(len(arrays))))(*arrays)
    return value, gradient, jax.jvp(loss, arrays, arrays)[1]


def shared(function, specs, out):
    return jax.shard_map(function, mesh=mesh(AxisType.Auto), in_specs=specs, out_specs=out)


BATCH, LENGTH, HEADS = P("x"), P(None, "x"), P("x", None, "y")


@pytest.mark.sampled(1)
@pytest.mark.parametrize(
    "spec, slopes, implementation",
    [
        (LENGTH, P(), "blockwise"),
        (BATCH, P(), "dense"),
        (HEADS, P("y"), "reference"),
        *(
            pytest.param(*specs, name, marks=pytest.mark.slow)
            for specs in ((BATCH, P()), (LENGTH, P()), (HEADS, P("y")))
            for name in EVERYWHERE
        ),
    ],
    ids=str,
)
def test_what_is_captured_varies_as_the_arrays_do(spec, slopes, implementation, arrays):
    """Replicated or divided; with offsets that the place in the mesh tells."""

    def attend(q, k, v, slopes, offset=0):
        mask = masks.causal & masks.sliding_window(5)
        options = dict(score_mod=nearer(slopes), mask=mask, implementation=implementation)
        return attention(q, k, v, query_offset=offset, **options)

    def inside(q, k, v, slopes):
        if spec != LENGTH:
            return attend(q, k, v, slopes)
        k, v = (jax.lax.all_gather(x, "x", axis=1, tiled=True) for x in (k, v))
        return attend(q, k, v, slopes, jax.lax.axis_index("x") * q.shape[1])

    run = shared(inside, (spec, spec, spec, slopes), spec)
    got = jax.jit(partial(derivatives, run))(arrays)
    close(got, jax.jit(partial(derivatives, attend))(arrays))


@pytest.mark.slow
def test_cotangents_of_what_is_replicated_are_summed_once(arrays):
    """Not tile by tile."""
    run = shared(
        lambda *x: attention(*x[:3], score_mod=nearer(x[3]), implementation="blockwise"),
        (*[BATCH] * 3, P()),
        BATCH,
    )
    program = str(jax.make_jaxpr(partial(derivatives, run))(arrays))
    assert program.count("psum_invariant[") == 1 and "pmax" not in program


NORMALIZERS = {
    "sink": lambda slopes: normalizers.softmax_with_sink(slopes),
    "sigmoid": lambda slopes: normalizers.sigmoid(slopes[0]),
    "relu": lambda slopes: normalizers.relu,
    "top_k": lambda slopes: normalizers.top_k(2),
    "sparsemax": lambda slopes: normalizers.sparsemax,
    "entmax": lambda slopes: normalizers.entmax(1.3),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [x if x == "sink" else pytest.param(x, marks=pytest.mark.slow) for x in NORMALIZERS]
)
def test_every_normalizer_runs_where_arrays_vary(name, arrays):
    """Also with arrays of its own."""

    def attend(q, k, v, slopes):
        return attention(q, k, v, normalizer=NORMALIZERS[name](slopes), mask=masks.causal)

    run = shared(attend, (*[BATCH] * 3, P()), BATCH)
    got = jax.jit(partial(derivatives, run))(arrays)
    close(got, jax.jit(partial(derivatives, attend))(arrays))


@pytest.mark.slow
def test_second_derivatives_and_vmap_where_arrays_vary(arrays):
    def curved(function):
        loss = lambda *x: jnp.sin(function(*x)).sum()  # noqa: E731
        return lambda *x: jax.jvp(jax.grad(loss, (0, 3)), x, x)[1]

    def attend(q, k, v, slopes):
        return attention(q, k, v, score_mod=nearer(slopes), mask=masks.causal)

    run = shared(attend, (*[BATCH] * 3, P()), BATCH)
    close(jax.jit(curved(run))(*arrays), jax.jit(curved(attend))(*arrays))
    several = tuple(jnp.stack([x, 2 * x]) for x in arrays)
    close(jax.jit(jax.vmap(run))(*several), jax.jit(jax.vmap(attend))(*several))


@pytest.mark.slow
def test_dropout_and_plans_where_arrays_vary(arrays):
    options = dict(dropout_rate=0.5, dropout_key=jax.random.key(1), mask=masks.causal)
    named = []

    def attend(q, k, v):
        named.append(plan(q, k, v, **options).implementation)
        return attention(q, k, v, **options)

    run = shared(attend, (BATCH,) * 3, BATCH)
    close(jax.jit(run)(*arrays[:3]), attention(*arrays[:3], **options))
    assert named == ["dense"]


@pytest.mark.sampled(1)
@pytest.mark.parametrize(
    "spec, implementation",
    [
        (P("x", None, "y"), "blockwise"),
        (P(None, None, "y"), "dense"),
        pytest.param(P("x"), "blockwise", marks=pytest.mark.slow),
        pytest.param(P("x"), "reference", marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_explicit_axes_divide_the_output_as_the_query(spec, implementation, arrays):
    def attend(q, k, v, slopes):
        return attention(
            q, k, v, score_mod=nearer(slopes), mask=masks.causal, implementation=implementation
        )

    explicit = mesh(AxisType.Explicit)
    of_slopes = P(*spec[2:])
    specs = spec, spec, spec, of_slopes
    placed = tuple(
        jax.device_put(x, NamedSharding(explicit, s)) for x, s in zip(arrays, specs, strict=True)
    )
    run = jax.jit(partial(derivatives, attend))
    close(run(placed), run(arrays))
    out = jax.typeof(jax.jit(attend)(*placed))
    assert out.sharding.spec == P(*spec, *[None] * (4 - len(spec)))


@pytest.mark.slow
def test_explicit_axes_divide_the_log_sum_exp_too(arrays):
    sharding = NamedSharding(mesh(AxisType.Explicit), P("x", None, "y"))
    placed = [jax.device_put(x, sharding) for x in arrays[:3]]
    out, lse = attention(*placed, return_lse=True)
    close((out, lse), attention(*arrays[:3], return_lse=True))
    assert jax.typeof(lse).sharding.spec == P("x", None, "y")


@pytest.mark.sampled(1)
@pytest.mark.parametrize("entry", [attention, explain])
def test_only_what_a_function_captures_is_divided(entry, arrays):
    """Query, key and value have no mesh, and none is set."""
    sharding = NamedSharding(mesh(AxisType.Explicit), P("y"))
    slopes = jax.device_put(arrays[3], sharding)
    documents = jax.device_put(jnp.arange(B * T).reshape(B, T) // 3, sharding)

    def run(slopes, documents):
        own = {"score_mod": nearer(slopes), "mask": masks.documents(documents, documents)}
        return entry(*arrays[:3], **own)

    close(tuple(run(slopes, documents)), tuple(run(*jax.device_get((slopes, documents)))))


def test_an_explanation_of_divided_arrays_is_whole(arrays):
    expected = explain(*arrays[:3], score_mod=nearer(arrays[3]), mask=masks.causal)
    explicit, specs = mesh(AxisType.Explicit), (HEADS, HEADS, HEADS, P("y"))
    *placed, slopes = (
        jax.device_put(x, NamedSharding(explicit, s)) for x, s in zip(arrays, specs, strict=True)
    )
    got = explain(*placed, score_mod=nearer(slopes), mask=masks.causal)
    close(tuple(got), tuple(expected))
    assert str(got) == str(expected)


def test_devices_that_may_share_a_program():
    assert partition.devices() == jax.device_count()
    with jax.set_mesh(mesh(AxisType.Auto)):
        assert partition.devices() == 1
    many = jax.sharding.AbstractMesh((4, 2), ("x", "y"), axis_types=(AxisType.Auto,) * 2)
    counts = []

    def count(x):
        counts.append(partition.devices())
        return x

    with jax.sharding.use_abstract_mesh(many):
        assert partition.devices() == 8
        inside = jax.shard_map(
            count, mesh=many, in_specs=P("x"), out_specs=P("x"), axis_names={"x"}
        )
        jax.eval_shape(inside, jax.ShapeDtypeStruct((4,), jnp.float32))
    assert counts == [2]


@pytest.mark.slow
@pytest.mark.parametrize("implementation", EVERYWHERE)
def test_gradients_are_taken_outside_of_jit_under_explicit_axes(implementation, arrays):
    """Of the arrays and of what a function captures, divided both."""
    slopes = arrays[3]

    def loss(q, k, v, slopes):
        mod = lambda s, b, h, i, j: s - slopes[h] * jnp.float32(abs(i - j))  # noqa: E731
        return attention(q, k, v, score_mod=mod, implementation=implementation).sum()

    expected = jax.grad(loss, (0, 1, 2, 3))(*arrays)
    with jax.set_mesh(mesh(AxisType.Explicit)):
        divided = NamedSharding(jax.sharding.get_mesh(), HEADS)
        own = [jax.device_put(x, divided) for x in arrays[:3]]
        own.append(jax.device_put(slopes, NamedSharding(divided.mesh, P("y"))))
        close(jax.grad(loss, (0, 1, 2, 3))(*own), expected)
