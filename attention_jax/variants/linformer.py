"""Linformer: attention to a fixed number of learned mixtures of the keys, for long sequences.

    key_r = sum over visible j of E[r, j] k_j
    value_r = sum over visible j of F[r, j] v_j
    out_i = sum_r softmax_r(q_i . key_r / sqrt(d)) value_r

Gives up weights of single keys, masks that differ between queries, and sequences longer than those
that E and F were made for. A hidden key is 0 before it is mixed, and a shorter sequence uses the
first columns, so that padding changes nothing.

E and F are shared by all heads, which is one of the paper's ways; `shared=True` is another.

Reference: Wang et al. 2020, arXiv:2006.04768, equation 7 and section 4 (headwise sharing).
Cost: s rank (d + e) products a key head and t rank (d + e) a head.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from attention_jax.core import checks
from attention_jax.core.types import Options, Params, Variant
from attention_jax.engine.api import attention
from attention_jax.variants._builders import keywise
from attention_jax.variants._builders.options import refuse


def linformer(*, rank: int = 256, max_length: int = 512, shared: bool = False) -> Variant:
    """The scaled dot product over mixtures of the keys.

    Args:
      rank: how many mixtures.
      max_length: of the sequence of keys; longer ones are refused.
      shared: whether keys and values are mixed alike, E = F.
    """
    checks.positive("rank", rank)
    checks.positive("max_length", max_length)
    names = ("key",) if shared else ("key", "value")

    def init(key: PRNGKeyArray, *, heads: int, kv_heads: int, head_width: int) -> dict[str, Array]:
        del heads, kv_heads, head_width
        keys = dict(zip(names, jax.random.split(key, len(names)), strict=True))
        # A mixture of all keys then varies as one key does.
        scale = max_length**-0.5
        return {n: scale * jax.random.normal(keys[n], (rank, max_length)) for n in names}

    def attend(
        params: Params, q: Array, k: Array, v: Array, options: Options = Options()
    ) -> Float[Array, "b t h e"]:
        keywise.never_causal(options.mask, "linformer mixes a key with those after it")
        refuse("linformer", options, "return_lse")
        checks.position("query_offset", options.query_offset)
        request = keywise.prepare(
            "linformer", q, k, v, Options(mask=options.mask, key_offset=options.key_offset)
        )
        columns = _columns(params, request.k.shape[1], options.key_offset, max_length)
        keys, values = _mix(columns[names[0]], request.k), _mix(columns[names[-1]], request.v)
        # No mask and no positions: each mixture is of all the keys that are seen.
        rest = options._replace(mask=None, query_offset=0, key_offset=0)
        out: Any = attention(request.q, keys, values, **rest._asdict())
        return keywise.finalize(request, out, q.dtype)

    return Variant(init=init, attend=attend, roles=("bidirectional", "cross"), mask_kind="keywise")


def _mix(columns: Float[Array, "r s"], x: Float[Array, "b s g d"]) -> Float[Array, "b r g d"]:
    return jnp.einsum("rs,bsgd->brgd", columns.astype(x.dtype), x)


def _columns(
    params: Params, length: int, offset: int | Array, most: int
) -> dict[str, Float[Array, "r s"]]:
    """The columns of E and F for keys at these positions."""
    checks.position("key_offset", offset)
    start = offset if isinstance(offset, int) else 0
    if start < 0 or start + length > most:
        raise ValueError(
            f"Keys of linformer must stand at positions from 0 to `max_length` - 1; got {length} "
            f"from {start} and max_length={most}. Raise `max_length`."
        )
    # Outside, where only a run can tell: NaN, so that it shows.
    outside = {"mode": "fill", "fill_value": jnp.nan, "wrap_negative_indices": False}
    at = offset + jnp.arange(length)
    return {name: x.at[:, at].get(**outside) for name, x in params.items()}
