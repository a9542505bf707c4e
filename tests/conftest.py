"""Every test runs with checked shapes, and without promotion of ranks or dtypes."""

import jax
from jaxtyping import config, install_import_hook

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
# Before the first import of the library, so that the hook sees all of it.
install_import_hook("attention_jax", "beartype.beartype")

import pytest  # noqa: E402


@pytest.fixture
def qkv():
    """Small queries, keys and values: 2 sequences of 5, 4 heads over 2, widths 8 and 6."""
    return arrays(2, 5, 5, 4, 2, 8, 6)


@pytest.fixture
def users_errors():
    """Switches shape checks off, so that errors are those that users see."""
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)


def arrays(b, t, s, h, g, d, e, *, seed=0):
    """Normal queries [b t h d], keys [b s g d] and values [b s g e]."""
    shapes = (b, t, h, d), (b, s, g, d), (b, s, g, e)
    keys = jax.random.split(jax.random.key(seed), 3)
    return tuple(jax.random.normal(key, shape) for key, shape in zip(keys, shapes, strict=True))
