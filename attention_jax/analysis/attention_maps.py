"""Attention maps: the weights of every layer and head of a model, for one sequence.

    found = attention_maps.attention_maps(model, batch)
    found["cross"].weights        # [l h t s]; also "encoder" and "decoder", where there are such

Weights are outputs. Where the value of key j is a unit vector u and all other values are 0, the
output of query i holds the weight of j; so nothing is stored, or slower, where nobody asks:

    w[i, j] = (attend(q, k, u_j) - attend(q, k, 0))[i] . u
    out[i] = sum_j w[i, j] v_j + rest[i]

The second equation is a test: where it fails, the output is not a sum of values, and there are no
weights to show. Where a head mixes the values of several, its weights are those of all of them
together. `rest` is what the output holds though all values are 0.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float

from attention_jax.core import checks
from attention_jax.core.plain_types import typed_calls
from attention_jax.core.types import Params
from attention_jax.data.batching import pad, rounded_up
from attention_jax.nn.attention import MultiHeadAttention
from attention_jax.nn.attention_calls import AttentionCall, Attentive

# How far rounding may take the output from its sum of values, in shares of the largest output.
ROUNDING = {4: 1e-4, 2: 3e-2}  # by bytes a number


class Weights(NamedTuple):
    """The weights of all heads in one call of attention, and what tests them.

    Attributes:
      weights: of each key in each query's output.
      error: the largest distance between an output and its sum of values.
      rest: the largest entry of the output where all values are 0.
      size: the largest entry of the output.
    """

    weights: Float[Array, "b *l h t s"]
    error: Float[Array, "b *l h t"]
    rest: Float[Array, "b *l h t"]
    size: Float[Array, "b *l h t"]


class Map(NamedTuple):
    """The weights of one kind of attention, in one sequence.

    Attributes:
      weights: of each key (columns) in the output of each query (rows).
      error: distance between output and sum of values, in shares of the head's largest output.
      rest: the part of the output that no value brings, in the same shares.
      is_exact: where `error` is no more than rounding: elsewhere `weights` mean nothing.
    """

    weights: Float[np.ndarray, "l h t s"]
    error: Float[np.ndarray, "l h"]
    rest: Float[np.ndarray, "l h"]
    is_exact: Bool[np.ndarray, "l h"]


@typed_calls
def attention_maps(
    model: Attentive,
    batch: object,
    *,
    row: int = 0,
    source_length: int | None = None,
    target_length: int | None = None,
    kind: str | None = None,
) -> dict[str, Map]:
    """The maps of one sequence of a batch, by kind of attention.

    Args:
      model: any model of `models/`, or one of your own with `attention_calls`.
      batch: what the model is trained on, such as a `data.types.Seq2SeqBatch`.
      row: which sequence of the batch.
      source_length: how many positions of the encoder are real; None for all.
      target_length: how many positions of the decoder are real; None for all.
      kind: "encoder", "decoder" or "cross", where one is enough; None for all.

    Returns:
      A `Map` for "encoder" [l h s s], "decoder" [l h t t] (rows are the tokens that are written,
      columns those that are read: BOS and all but the last) and "cross" [l h t s], where there are
      such. Those of a language model are "decoder"; "cross" also holds attention pooling.
    """
    checks.natural("row", row)
    for name, given in (("source_length", source_length), ("target_length", target_length)):
        if given is not None:
            checks.positive(name, given)
    lengths = {
        "encoder": (source_length, source_length),
        "decoder": (target_length, target_length),
        "cross": (target_length, source_length),
    }
    found = weights_of(model, batch, kind=kind)
    return {name: _cropped(own, row, *lengths[name]) for name, own in found.items()}


@typed_calls
def sentence(model: Attentive, source: Sequence[int], target: Sequence[int]) -> dict[str, Map]:
    """The maps of a model that reads `source` and writes `target`.

    Args:
      model: a `nn.protocols.Seq2Seq`.
      source: token ids, without BOS and EOS.
      target: token ids as `decoding` gives them: without BOS, with EOS.

    Raises:
      ValueError: `source` or `target` is empty.
    """
    for name, ids in (("source", source), ("target", target)):
        if not len(ids):
            raise ValueError(f"`{name}` must hold at least one token; got none.")
    s, t = len(source) + 1, len(target)
    batch = pad([(tuple(source), tuple(target)[:-1])], rows=1, length=rounded_up(max(s, t)))
    return attention_maps(model, batch, source_length=s, target_length=t)


@typed_calls
def weights_of(model: Attentive, batch: object, *, kind: str | None = None) -> dict[str, Weights]:
    """Weights [b l h t s] of every sequence of a batch, by kind of attention.

    Args:
      model: as in `attention_maps`.
      batch: as in `attention_maps`.
      kind: "encoder", "decoder" or "cross", where one is enough; None for all.

    Raises:
      ValueError: layers of one kind differ in heads or lengths.
    """
    checks.one_of("kind", kind, (None, "encoder", "decoder", "cross"))
    if not isinstance(model, nnx.Module):
        raise TypeError(f"`model` must be an NNX module; got {type(model).__name__}.")
    graphdef, state = nnx.split(model)
    return _weights_of(graphdef, nnx.as_pure(state), batch, kind)


@partial(jax.jit, static_argnums=(0, 3))
def _weights_of(
    graphdef: nnx.GraphDef, params: Params, batch: object, kind: str | None
) -> dict[str, Weights]:
    layers: dict[str, list[Weights]] = {}
    for call in nnx.merge(graphdef, params).attention_calls(batch):
        if kind in (None, call.kind):
            layers.setdefault(call.kind, []).append(call_weights(call))
    return {name: _stacked(name, own) for name, own in layers.items()}


def call_weights(call: AttentionCall) -> Weights:
    """The weights of one call: what its heads take from each key, for each query."""
    module, mask = call.module, call.mask
    q = module.queries(call.x)
    k, v = call.keys_values
    more = {"features": module.features(call.x)} if isinstance(module, MultiHeadAttention) else {}

    def attend(values: Array) -> Array:
        return module.attend(q, k, values, mask=mask, **more).swapaxes(1, 2)

    _, s, g, e = v.shape
    out, rest = attend(v), attend(jnp.zeros_like(v))

    # As many unit vectors at once as a value has entries, so that the variant sees its own shapes;
    # one value head at a time, since some variants mix them.
    def unit(head_and_first: tuple[Array, Array]) -> Array:
        head, first = head_and_first
        units = (jnp.arange(s)[:, None] == first + jnp.arange(e)[None]).astype(v.dtype)
        own = (jnp.arange(g) == head).astype(v.dtype)
        units = units[None, :, None] * own[None, None, :, None]
        return attend(jnp.broadcast_to(units, v.shape)) - rest

    heads, firsts = jnp.meshgrid(jnp.arange(g), jnp.arange(0, s, e), indexing="ij")
    blocks = jax.lax.map(unit, (heads.ravel(), firsts.ravel()))
    blocks = jnp.moveaxis(blocks.reshape(g, -1, *blocks.shape[1:]), (0, 1), (-3, -2))
    weights = blocks.reshape(*blocks.shape[:4], -1)[..., :s]  # [b h t g s]
    out, rest, w, v = (x.astype(jnp.float32) for x in (out, rest, weights, v))
    total = jnp.einsum("bhtgs,bsge->bhte", w, v) + rest
    error, rest, size = (jnp.abs(x).max(axis=-1) for x in (total - out, rest, out))
    return Weights(weights.sum(axis=3), error, rest, size)


def is_exact(found: Weights) -> Bool[np.ndarray, "b *l h"]:
    """Test of each head in each sequence: the output is the sum of values, up to rounding."""
    error, size = (np.asarray(x, np.float32).max(axis=-1) for x in (found.error, found.size))
    # NaN is not exact, compared this way round.
    return error <= ROUNDING[found.weights.dtype.itemsize] * np.where(size > 0, size, 1)


def _stacked(kind: str, layers: list[Weights]) -> Weights:
    """Weights of several layers as one, [b l ...]."""
    shapes = {layer.weights.shape for layer in layers}
    if len(shapes) > 1:
        raise ValueError(
            f"layers of one kind must have equal heads and lengths to share a map; {kind} has "
            f"{', '.join(map(str, sorted(shapes)))}. Use `call_weights` on each of its calls."
        )
    return jax.tree.map(lambda *parts: jnp.stack(parts, axis=1), *layers)


def _cropped(found: Weights, row: int, t: int | None, s: int | None) -> Map:
    """One row of a batch without padding, with errors as shares of the output."""
    own = jax.tree.map(lambda x: np.asarray(x[row : row + 1]), found)
    error, rest, size = (x[..., :t] for x in own[1:])
    cut = Weights(own.weights[..., :t, :s], error, rest, size)
    most = size.max(axis=-1)[0]
    error, rest = (x.max(axis=-1)[0] / np.where(most > 0, most, 1) for x in (error, rest))
    return Map(np.asarray(cut.weights[0], np.float32), error, rest, is_exact(cut)[0])
