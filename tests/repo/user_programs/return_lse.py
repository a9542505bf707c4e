"""The log-sum-exp of each row, asked for or not: the type of what comes back follows."""

import jax.numpy as jnp

import attention_jax as aj


def merged(q: jnp.ndarray, parts: list[tuple[jnp.ndarray, jnp.ndarray]]) -> jnp.ndarray:
    """Attention to keys in pieces, put together by their log-sum-exps."""
    outs, sums = [], []
    for k, v in parts:
        out, lse = aj.attention(q, k, v, return_lse=True)
        outs.append(out)
        sums.append(lse)
    shares = jnp.exp(jnp.stack(sums) - jnp.logaddexp(*sums))
    return (jnp.stack(outs) * shares[..., None]).sum(0)


x = jnp.linspace(0.0, 1.0, 48).reshape(1, 6, 2, 4)
whole = aj.attention(x, x, x)
assert whole.ndim == 4
assert aj.attention(x, x, x, return_lse=False).shape == whole.shape
pieces = merged(x, [(x[:, :2], x[:, :2]), (x[:, 2:], x[:, 2:])])
assert jnp.allclose(pieces, whole, atol=1e-5)
