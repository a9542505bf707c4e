"""The engine under the transformations of JAX, and its memory."""

import functools
import os
import subprocess
import sys
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax.core import masks
from attention_jax.engine import blockwise, reference
from attention_jax.engine.request import make_request
from tests.support.engine_requests import LEARNED, QKV, agree, asked, close, dense, engine

FLOATS = ("query", "key", "value", "table", "slopes")


def loss_of(attend, x):
    """A scalar of everything that may be mapped, with b and h in the user's functions."""
    request = asked(x, normalizer="sink", mask="array")
    request.update(
        score_mod=lambda s, b, h, i, j: s + x["table"][b, h, i % 4, j % 5],
        mask=masks.Mask(lambda b, h, i, j: j <= i + b) & request["mask"],
        query_offset=x["offset"],
        dropout_rate=0.3,
        dropout_key=x["dropout_key"],
        return_lse=True,
    )
    out, lse = attend(*(x[name] for name in FLOATS[:3]), **request)
    return (jnp.sin(out).sum(-1) * jnp.where(lse == -jnp.inf, 0, lse)).sum()


def value_and_gradient(attend, x):
    floats = {name: x[name] for name in FLOATS}
    return jax.value_and_grad(lambda floats: loss_of(attend, {**x, **floats}))(floats)


ONE = jax.jit(functools.partial(value_and_gradient, dense))


@pytest.fixture
def several(draw):
    """Three of everything."""
    x = zip(FLOATS, (*QKV, LEARNED["table"], LEARNED["slopes"]), strict=True)
    x = {name: jnp.stack([leaf, jnp.cos(leaf), leaf / 2]) for name, leaf in x}
    x.update(visible=draw(3, 2, 1, 8, 9) < 1, offset=jnp.array([0, 2, 1], jnp.int32))
    return {**x, "dropout_key": jax.random.split(jax.random.key(0), 3)}


@pytest.mark.slow
@pytest.mark.parametrize(
    "names",
    [
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("query", "key value", "table slopes", "visible", "offset", "dropout_key")
        ),
        "all",
    ],
)
def test_vmap_over_each_argument(names, several):
    mapped = names.split() if names != "all" else list(several)
    axes = {name: 0 if name in mapped else None for name in several}
    x = {name: leaf if name in mapped else leaf[0] for name, leaf in several.items()}
    got = jax.jit(jax.vmap(functools.partial(value_and_gradient, engine), (axes,)))(x)
    for n in range(3):
        own = {name: leaf[n] if name in mapped else leaf for name, leaf in x.items()}
        jax.tree.map(lambda x, y, n=n: close(x[n], y), got, ONE(own))


@pytest.mark.slow
def test_gradients_of_mapped_attention(several):
    def loss(floats):
        return jax.vmap(functools.partial(loss_of, engine))({**several, **floats}).sum()

    got = jax.jit(jax.grad(loss))({name: several[name] for name in FLOATS})
    for n in range(3):
        _, expected = ONE({name: leaf[n] for name, leaf in several.items()})
        jax.tree.map(lambda x, y, n=n: close(x[n], y), got, expected)


@pytest.mark.slow
def test_scanned_checkpointed_and_linearized(several):
    def compute(attend, floats):
        def scanned(floats):
            def body(carry, one):
                moved = {**one, "query": one["query"] + jnp.tanh(carry)}
                return carry + loss_of(attend, moved), None

            return jax.lax.scan(jax.checkpoint(body), 0.0, {**several, **floats})[0]

        return jax.grad(scanned)(floats), jax.linearize(scanned, floats)[1](floats)

    agree(compute, {name: several[name] for name in FLOATS})


@pytest.mark.slow
def test_shards_of_heads_and_sequences():
    """In a process of its own, which has two devices."""
    program = """
        import jax, jax.numpy as jnp, numpy as np
        from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
        from attention_jax import masks
        from attention_jax.engine import blockwise
        from attention_jax.engine.request import make_request
        mesh = jax.make_mesh((1, 2), ("data", "model"), axis_types=(AxisType.Auto,) * 2)
        def loss(qkv, slopes):
            lower = lambda s, b, h, i, j: s - slopes[h] * abs(i - j)
            request = make_request(*qkv, score_mod=lower, mask=masks.causal)
            return (blockwise.run(request, block_sizes=(4, 4)) ** 2).sum()
        draw = np.random.default_rng(0).normal
        qkv = [jnp.asarray(draw(size=(2, 8, n, 4)), jnp.float32) for n in (4, 2, 2)]
        run, slopes = jax.jit(jax.value_and_grad(loss, (0, 1))), jnp.array([0.5, 0.2, 0.1, 0.3])
        expected = run(qkv, slopes)
        for spec in (P("data", None, "model"), P("model"), P(None, "model")):
            got = run(jax.device_put(qkv, NamedSharding(mesh, spec)), slopes)
            close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
            jax.tree.map(close, got, expected)
        print(len(jax.devices()), "devices agree")
    """
    flags = "--xla_force_host_platform_device_count=2 --xla_backend_optimization_level=0"
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", textwrap.dedent(program)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert "2 devices agree" in done.stdout, done.stderr


@pytest.mark.slow
def test_memory_of_derivatives_grows_with_the_length_and_not_its_square():
    def loss(*x):
        request = asked({"slopes": x[3]}, score_mod="alibi", mask="causal")
        return (engine(*x[:3], **request, block_sizes=(128, 128)) ** 2).sum()

    gradient = jax.grad(loss, (0, 1, 2, 3))
    for function in (gradient, lambda *x: jax.jvp(gradient, x, x)[1]):
        sizes = []
        for length in (1024, 2048, 4096):
            x = (jax.ShapeDtypeStruct((1, length, 1, 16), jnp.float32),) * 3
            slopes = jax.ShapeDtypeStruct((1,), jnp.float32)
            compiled = jax.jit(function).lower(*x, slopes).compile()
            sizes.append(compiled.memory_analysis().temp_size_in_bytes)
        # At the least one array of the request; dense, several of length x length floats.
        assert 1024 * 16 * 4 < sizes[0] and sizes[2] < 4096**2 * 4 / 8
        assert sizes[1] < 2.3 * sizes[0] and sizes[2] < 2.3 * sizes[1]


@pytest.mark.slow
def test_gradients_of_queries_alone_where_devices_share_a_program(monkeypatch):
    monkeypatch.setattr(blockwise.partition, "devices", lambda: 4)
    table = jnp.linspace(-1.0, 1.0, 4)
    q = jnp.sin(jnp.arange(2.0 * 5 * 4 * 3)).reshape(2, 5, 4, 3)

    def loss(run, q):
        request = make_request(q, q, q, score_mod=lambda s, b, h, i, j: s * table[h])
        return (run(request) ** 2).sum()

    got = jax.jit(jax.grad(lambda q: loss(blockwise.run, q)))(q)
    expected = jax.grad(lambda q: loss(reference.run, q))(q)
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)
