"""Hidden pairs reach nothing, derivatives included, whatever the user's functions do there.

The definition asks the functions at the visible pairs alone, which it takes as a list.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax.core import masks, normalizers
from attention_jax.engine import pallas
from attention_jax.engine.request import make_request
from tests.support.engine_requests import REST, arrays_of, asked, close, dense, engine

QKV, _, _ = arrays_of(2, 5, 5, 1, 2, 4, 3)
LEARNED = dict(
    a=jnp.float32(0.5),
    w=jnp.asarray(np.random.default_rng(1).normal(size=(4,)), jnp.float32),
    table=jnp.asarray([-1.0, 0.0, jnp.inf, 1.2, 0.5, 2.0, 1.4, 0.9], jnp.float32),
)


def one_tile(*qkv, **request):
    from attention_jax.engine import dense as short

    return short.run(make_request(*qkv, **{**asked({}), **request}))


def kernels(*qkv, **request):
    request = make_request(*qkv, **{**REST, **request})
    return pallas.run(request, interpret=True, block_sizes=(16, 16))


def definition(q, k, v, *, score, score_mod, mask, **_):
    """The softmax over a list of the visible pairs."""
    (b, t, h, _), (s, g) = q.shape, k.shape[1:3]
    at = np.asarray(list(np.ndindex(b, h, t, s)), np.int32)
    with jax.ensure_compile_time_eval():
        at = jnp.asarray(at[np.asarray(jax.vmap(mask)(*jnp.asarray(at).T))])
    n, head, i, j = at.T
    group, row = head // (h // g), (n * t + i) * h + head
    x = jax.vmap(score)(q[n, i, head], k[n, j, group])
    if score_mod is not None:
        x = jax.vmap(score_mod)(x, *at.T)
    high = jnp.full(b * t * h, -jnp.inf).at[row].max(jax.lax.stop_gradient(x))
    powers = jnp.exp(x - high[row])
    total = jnp.zeros(b * t * h).at[row].add(powers)
    out = jnp.zeros((b * t * h, v.shape[-1])).at[row].add(powers[:, None] * v[n, j, group])
    return (out / jnp.where(total == 0, 1, total)[:, None]).reshape(b, t, h, -1)


def derivatives(attend, functions, qkv, second):
    """The output, its gradient and tangent, and the product with the second derivative if asked."""

    def out(qkv, x):
        return attend(*qkv, **functions(x))

    def gradient(*given):
        return jax.grad(lambda *given: jnp.sin(out(*given)).sum(), (0, 1))(*given)

    def run(*given):
        direction = jax.tree.map(lambda x: jnp.cos(jnp.where(jnp.isfinite(x), x, 0)), given)
        value, tangent = jax.jvp(out, given, direction)
        if not second:
            return value, tangent, gradient(*given)
        return value, tangent, *jax.jvp(gradient, given, direction)

    return jax.jit(run)(tuple(qkv), LEARNED)


def check(attend, functions, qkv=QKV, *, second=False):
    got, expected = (derivatives(f, functions, qkv, second) for f in (attend, definition))
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(expected))
    jax.tree.map(close, got, expected)


def modified(function, mask=masks.causal):
    """A request whose score modifier is `(s, i - j, arrays) -> score`."""

    def functions(x):
        change = lambda s, b, h, i, j: function(s, (i - j).astype(s.dtype), x)  # noqa: E731
        return dict(score=lambda q, k: q @ k, score_mod=change, mask=mask)

    return functions


def scored(function, mask=masks.causal):
    return lambda x: dict(
        score=lambda q, k: function(q, k, x),
        score_mod=None,
        mask=mask,
        normalizer=normalizers.softmax,
    )


def factors_of_a_table(s, n, x):
    """Of a table whose numbers for hidden pairs are not finite, or negative."""
    factor = x["table"][n.astype(jnp.int32) + 3]
    return s * factor + x["a"] * jnp.sqrt(factor)


@pytest.mark.slow
@pytest.mark.parametrize("attend", [engine, one_tile, dense, kernels], ids=lambda x: x.__name__)
def test_a_modifier_that_is_not_finite_at_hidden_pairs(attend):
    check(attend, modified(factors_of_a_table), second=attend is engine)


ZERO = [x.at[0, 3:].set(0) for x in QKV]
SHORT = masks.Mask(lambda b, h, i, j: (j < 3 + 2 * b) & (i < 3 + 2 * b))
EQUAL = [QKV[0], QKV[0][:, :, :1], QKV[2]]
SCORES = {
    "cosine": (
        lambda q, k, x: x["a"] * (q / jnp.sqrt(q @ q)) @ (k / jnp.sqrt(k @ k)),
        SHORT,
        ZERO,
    ),
    "logarithms": (lambda q, k, x: jnp.log(q * q) @ (x["w"] * jnp.log(k * k)), SHORT, ZERO),
    "distance": (
        lambda q, k, x: -x["a"] * jnp.sqrt(((q - k) ** 2).sum()),
        masks.Mask(lambda b, h, i, j: j < i),
        EQUAL,
    ),
    "layer": (
        lambda q, k, x: x["w"] @ jnp.log(jnp.abs(q - k)),
        masks.Mask(lambda b, h, i, j: (j != i) | (h > 0)),
        EQUAL,
    ),
}


@pytest.mark.sampled(1)
@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("attend", [engine, dense], ids=lambda x: x.__name__)
def test_a_score_that_is_not_finite_at_hidden_pairs(attend, name):
    score, mask, qkv = SCORES[name]
    check(attend, scored(score, mask), qkv)
