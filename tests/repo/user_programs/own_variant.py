"""A variant of one's own, with a parameter for each head, and a mechanism of the library."""

import jax
import jax.numpy as jnp

import attention_jax as aj
from attention_jax import Variant


def manhattan(*, p: float = 1.0) -> Variant:
    """Minus the distance between query and key, by a scale that is learned."""

    def init(key: jax.Array, *, heads: int, **sizes: int) -> dict[str, jax.Array]:
        return {"scale": jnp.ones(())}

    def score(params: dict[str, jax.Array]):
        return lambda q, k: -params["scale"] * (jnp.abs(q - k) ** p).sum()

    return aj.from_score(score, init)


x = jax.random.normal(jax.random.key(1), (1, 5, 2, 4))
for variant in (manhattan(p=2.0), aj.variants.get("sliding_window", size=3)):
    params = variant.init(jax.random.key(0), heads=2, kv_heads=2, head_width=4)
    assert variant.attend(params, x, x, x).shape == x.shape
assert "alibi" in aj.variants.names()
