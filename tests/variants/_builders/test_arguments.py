"""Parameters beside those that `init` makes."""

import jax.numpy as jnp
import pytest

from attention_jax.variants._builders.arguments import Sizes, check_params


def init(key, *, heads, kv_heads, head_width):
    """More parameters in wide heads, and one of another rank."""
    del key, heads, kv_heads
    wide = head_width > 4
    own = {"scale": jnp.ones(head_width), "mixed": jnp.ones((2, 2) if wide else 2)}
    return own | ({"rest": jnp.ones(head_width - 4)} if wide else {})


@pytest.mark.parametrize("width", [3, 4, 5, 8])
def test_which_parameters_there_are_may_hang_on_sizes(width):
    sizes = Sizes(4, 2, width)
    own = init(None, **sizes._asdict())
    check_params(init, own, sizes)
    with pytest.raises(ValueError, match="scale must have shape|`params` must be what `init`"):
        check_params(init, own | {"scale": jnp.ones(width + 1)}, sizes)
    with pytest.raises(ValueError, match="got none at scale"):
        check_params(init, {name: x for name, x in own.items() if name != "scale"}, sizes)
