import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import variants
from attention_jax.core import masks
from attention_jax.core.types import Options
from attention_jax.variants._builders import chosen_keys


def scores(params, x):
    """Equation 1 of the report of DeepSeek-V3.2, in float64 loops."""
    params = {name: np.asarray(p, np.float64) for name, p in params.items()}
    t, (_, n, c) = len(x), params["query"].shape
    keys = x @ params["key"]
    keys = keys / np.sqrt((keys**2).mean(-1, keepdims=True) + 1e-5)
    own = np.zeros((t, t))
    for i, j, head in np.ndindex(t, t, n):
        product = (x[i] @ params["query"][:, head]) @ keys[j] / np.sqrt(c)
        own[i, j] += (x[i] @ params["weight"][:, head]) * max(product, 0)
    return own


def oracle(params, x, q, k, v, count, shown=lambda b, h, i, j: j <= i, bias=0.0):
    """Softmax over the chosen keys; `bias` of the index scores is in the logits."""
    x, q, k, v = (np.asarray(a, np.float64) for a in (x, q, k, v))
    out = np.zeros((*q.shape[:3], v.shape[-1]))
    for b in range(len(q)):
        own = scores(params, x[b])
        for i, h in np.ndindex(*q.shape[1:3]):
            seen = [j for j in range(len(own)) if shown(b, h, i, j)]
            chosen = sorted(seen, key=lambda j: -own[i, j])[:count]
            if chosen:
                at = h * k.shape[2] // q.shape[2]
                logits = k[b, chosen, at] @ q[b, i, h] / np.sqrt(q.shape[-1])
                weights = np.exp(logits + bias * own[i, chosen])
                out[b, i, h] = weights / weights.sum() @ v[b, chosen, at]
    return out


def made(x, **options):
    variant = variants.get("indexed_sparse", **options)
    params = variant.init(jax.random.key(0), heads=4, kv_heads=2, head_width=8, width=x.shape[-1])
    return variant, params


def run(variant, mask=masks.causal, **options):
    return jax.jit(
        lambda params, x, *qkv: variant.attend(
            params, *qkv, Options(mask, **options), features=variant.features(params, x)
        )
    )


@pytest.mark.parametrize("held", [2**22, 500])  # at once, and in turns
def test_matches_the_equations(draw, monkeypatch, held):
    monkeypatch.setattr(chosen_keys, "HELD", held)
    qkv, x = (draw(2, 23, 4, 8), draw(2, 23, 2, 8), draw(2, 23, 2, 6)), draw(2, 23, 12)
    variant, params = made(x, keys=5)
    out = run(variant)(params, x, *qkv)
    np.testing.assert_allclose(out, oracle(params, x, *qkv, 5), rtol=1e-4, atol=1e-5)


def test_chooses_among_what_the_mask_shows(draw):
    qkv, x = (draw(1, 23, 4, 8), draw(1, 23, 2, 8), draw(1, 23, 2, 6)), draw(1, 23, 12)
    variant, params = made(x, keys=3)

    def shown(b, h, i, j):
        return (j <= i) & ((i - j < 6) | (j % 5 == 0)) & (i != 9)

    out = run(variant, masks.causal & shown)(params, x, *qkv)
    want = oracle(params, x, *qkv, 3, shown)
    np.testing.assert_allclose(out, want, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_the_indexer_learns_as_if_its_score_were_a_bias(draw):
    qkv, x = (draw(1, 9, 4, 8), draw(1, 9, 2, 8), draw(1, 9, 2, 6)), draw(1, 9, 12)
    variant, params = made(x, keys=4)
    attend = run(variant)

    def loss(params, biased=False):
        own = attend(params, x, *qkv) if not biased else 0
        return (jnp.asarray(own) ** 2).sum()

    got = jax.grad(loss)(params)["weight"]
    moved = np.zeros_like(got)
    # At a fixed choice, and from logits without the bias on: d/de of bias e (I(params + e) - I).
    step, base = 1e-4, {name: np.asarray(p, np.float64) for name, p in params.items()}
    for at in np.ndindex(*moved.shape):
        sides = []
        for sign in (1, -1):
            changed = base["weight"].copy()
            changed[at] += sign * step
            sides.append(shifted(base, base | {"weight": changed}, x, qkv, 4))
        moved[at] = (sides[0] - sides[1]) / (2 * step)
    np.testing.assert_allclose(got, moved, rtol=1e-3, atol=1e-4)


def shifted(base, changed, x, qkv, count):
    """The loss with the choice of `base`, and the change to another set in the logits."""
    x, q, k, v = (np.asarray(a, np.float64) for a in (x, *qkv))
    old, new, total = scores(base, x[0]), scores(changed, x[0]), 0.0
    for i, h in np.ndindex(*q.shape[1:3]):
        chosen, at = sorted(range(i + 1), key=lambda j: -old[i, j])[:count], h // 2
        logits = k[0, chosen, at] @ q[0, i, h] / np.sqrt(q.shape[-1])
        weights = np.exp(logits + new[i, chosen] - old[i, chosen])
        total += ((weights / weights.sum() @ v[0, chosen, at]) ** 2).sum()
    return total


def test_queries_elsewhere_are_refused(draw):
    x = draw(1, 5, 12)
    variant, params = made(x)
    with pytest.raises(ValueError, match="indexed_sparse needs the queries at the positions"):
        run(variant)(params, x[:, :1], draw(1, 1, 4, 8), draw(1, 5, 2, 8), draw(1, 5, 2, 8))
