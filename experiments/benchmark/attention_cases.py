"""Kinds of attention that are measured: their requests to each library, and their arrays."""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from attention_jax.core import masks, positions, scores

HEADS, WIDTH, WINDOW, CAP, TEMPERATURE = 8, 64, 256, 30.0, 0.1
FORWARD, BOTH, GRADIENT, HVP = "forward", "forward+backward", "gradient", "hvp"

Arrays = dict[str, jax.Array]


class Job(NamedTuple):
    """One row. `group` is the name that --cases knows; `queries` is 1 for decoding."""

    group: str
    case: str
    length: int
    dtype: str
    direction: str
    batch: int
    queries: int
    heads: int = HEADS
    kv_heads: int = HEADS
    width: int = WIDTH


class Case(NamedTuple):
    """One kind of attention.

    Attributes:
      request: keywords of `attention_jax.attention`, from the arrays.
      jax_nn: the same by `jax.nn`, from the arrays; None where it cannot be expressed.
      given: arrays [b h t s] that `jax.nn` needs beside them, as "dense".
    """

    request: Callable[[Arrays], dict[str, Any]]
    jax_nn: Callable[[Arrays], jax.Array] | None = None
    given: Callable[[Arrays], Arrays] | None = None


def _dot(x: Arrays, **keywords: Any) -> jax.Array:
    return jax.nn.dot_product_attention(x["q"], x["k"], x["v"], **keywords)


def _places(x: Arrays) -> tuple[jax.Array, ...]:
    (b, t, h, _), s = x["q"].shape, x["k"].shape[1]
    return tuple(jnp.ogrid[:b, :h, :t, :s])


def _documents(x: Arrays) -> masks.Mask:
    return masks.causal & masks.documents(x["ids"], x["ids"])


def _document_mask(x: Arrays) -> Arrays:
    b, _, i, j = _places(x)
    return {"dense": _documents(x)(b, jnp.zeros_like(b), i, j)}


def _alibi_bias(x: Arrays) -> Arrays:
    _, h, i, j = _places(x)
    zero = jnp.zeros((), jnp.float32)
    bias = positions.alibi(heads=h.size)(zero, zero, h, i, j)
    return {"dense": jnp.where(masks.causal(0, h, i, j), bias, -jnp.inf)}


def _unit(x: jax.Array) -> jax.Array:
    wide = x.astype(jnp.float32)
    return (wide / jnp.linalg.norm(wide, axis=-1, keepdims=True)).astype(x.dtype)


CASES: dict[str, Case] = {
    "full": Case(lambda x: {}, _dot),
    "causal": Case(lambda x: {"mask": masks.causal}, partial(_dot, is_causal=True)),
    "window": Case(
        lambda x: {"mask": masks.causal & masks.sliding_window(WINDOW)},
        partial(_dot, is_causal=True, local_window_size=(WINDOW - 1, 0)),
    ),
    "alibi": Case(
        lambda x: {"mask": masks.causal, "score_mod": positions.alibi(heads=x["q"].shape[2])},
        lambda x: _dot(x, bias=x["dense"]),
        _alibi_bias,
    ),
    "softcap": Case(
        lambda x: {
            "mask": masks.causal,
            "score_mod": lambda score, b, h, i, j: CAP * jnp.tanh(score / CAP),
        }
    ),
    "documents": Case(
        lambda x: {"mask": _documents(x)}, lambda x: _dot(x, mask=x["dense"]), _document_mask
    ),
    "additive": Case(lambda x: {"score": scores.additive(x["w_q"], x["w_k"], x["w"])}),
    "cosine": Case(
        lambda x: {"score": scores.cosine(temperature=TEMPERATURE)},
        lambda x: _dot(x | {"q": _unit(x["q"]), "k": _unit(x["k"])}, scale=1 / TEMPERATURE),
    ),
    "gqa": Case(lambda x: {"mask": masks.causal}, partial(_dot, is_causal=True)),
    "decode": Case(
        lambda x: {"mask": masks.lengths(x["lengths"])},
        lambda x: _dot(x, key_value_seq_lengths=x["lengths"]),
    ),
}
GRID = tuple(name for name in CASES if name != "decode")
GROUPS = (*GRID, "short", "decode", "memory", "long")


def visible_pairs(job: Job) -> int:
    """Pairs of a query and a key that it sees, summed over the batch; of one head."""
    b, t, s = job.batch, job.queries, job.length
    if job.case in ("full", "additive", "cosine"):
        return b * t * s
    if job.case == "decode":
        return int(draw(undirected(job))["lengths"].sum())
    if job.case == "documents":
        ids = np.asarray(draw(undirected(job))["ids"])
        counts = np.stack([(ids == document).sum(-1) for document in np.unique(ids)])
        return int((counts * (counts + 1) // 2).sum())
    reach = min(s, WINDOW) if job.case == "window" else s
    return b * (reach * (reach + 1) // 2 + (s - reach) * reach)


def flops(job: Job) -> float | None:
    """Operations of the products that a job needs, for visible pairs alone.

        forward: q k^T and p v; backward, beyond these: d_p, d_v, d_q, d_k

    None where the score is no product, and for Hessian-vector products.
    """
    products = {FORWARD: 2, BOTH: 6}.get(job.direction)
    if job.case == "additive" or products is None:
        return None
    return 2.0 * products * visible_pairs(job) * job.heads * job.width


def undirected(job: Job) -> Job:
    """The job without its direction: both directions share arrays and exact results."""
    return job._replace(direction="")


@lru_cache(maxsize=1)
def draw(job: Job) -> Arrays:
    """The arrays of all sides, the same at every call; those of the last job are kept."""
    return arrays(job)


def arrays(job: Job) -> Arrays:
    """Draws the arrays of a job, under any transformation."""
    keys = jax.random.split(jax.random.key(0), 9)
    b, t, s, h, g, d = job.batch, job.queries, job.length, job.heads, job.kv_heads, job.width
    shapes: dict[str, tuple[int, ...]]
    shapes = {"q": (b, t, h, d), "k": (b, s, g, d), "v": (b, s, g, d), "g": (b, t, h, d)}
    shapes |= {"w_q": (d, d), "w_k": (d, d), "w": (d,)}
    x = {
        name: jax.random.normal(key, shape, job.dtype) * (d**-0.5 if name[0] == "w" else 1)
        for key, (name, shape) in zip(keys, shapes.items(), strict=False)
    }
    # Several documents a row, which begin anywhere.
    starts = jax.random.randint(keys[7], (b, max(2, min(8, s // 32)) - 1), 1, max(2, s))
    x["ids"] = (jnp.arange(s)[None, :, None] >= starts[:, None]).sum(-1)
    x["lengths"] = jax.random.randint(keys[8], (b,), s // 2 + 1, s + 1)
    return x
