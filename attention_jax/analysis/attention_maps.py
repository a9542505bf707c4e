"""Where a trained model looks: the attention weights of every layer and head, for one sentence.

    found = maps.sentence(graphdef, params, source_ids, target_ids)
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
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float

from attention_jax.core import masks
from attention_jax.core.types import Params
from attention_jax.data.batching import pad
from attention_jax.data.types import Seq2SeqBatch
from attention_jax.models.seq2seq_transformer import DecoderLayer, Seq2SeqTransformer
from attention_jax.models.speech import CTCModel, SpeechTransformerEncoder
from attention_jax.nn.attention import MultiHeadAttention
from attention_jax.nn.protocols import EncoderOutput
from attention_jax.nn.transformer import EncoderLayer

# How far rounding may take the output from its sum of values, in shares of the largest output.
ROUNDING = {4: 1e-4, 2: 3e-2}  # by bytes a number


class View(NamedTuple):
    """The weights of all heads of one layer, and what tests them.

    Attributes:
      weights: of each key in each query's output.
      error: the largest distance between an output and its sum of values.
      rest: the largest entry of the output where all values are 0.
      size: the largest entry of the output.
    """

    weights: Float[Array, "b h t s"]
    error: Float[Array, "b h t"]
    rest: Float[Array, "b h t"]
    size: Float[Array, "b h t"]


class Map(NamedTuple):
    """The weights of one kind of attention, in one sentence.

    Attributes:
      weights: rows look, columns are looked at.
      error: distance between output and sum of values, in shares of the head's largest output.
      rest: the part of the output that no value brings, in the same shares.
      is_exact: where `error` is no more than rounding: elsewhere `weights` mean nothing.
    """

    weights: Float[np.ndarray, "l h t s"]
    error: Float[np.ndarray, "l h"]
    rest: Float[np.ndarray, "l h"]
    is_exact: Bool[np.ndarray, "l h"]


def sentence(
    graphdef: Any, params: Params, source: Sequence[int], target: Sequence[int]
) -> dict[str, Map]:
    """The weights with which a model reads `source` and writes `target`.

    Args:
      graphdef: of the model, a `nn.protocols.Seq2Seq`.
      params: its parameters.
      source: token ids, without BOS and EOS.
      target: token ids as `decoding` gives them: without BOS, with EOS.

    Returns:
      A `Map` for "encoder" [l h s s], "decoder" [l h t t] (rows are the tokens that are written,
      columns those that are read: BOS and all but the last) and "cross" [l h t s], each with EOS.
      An RNN has "cross" alone, and nothing where it has no attention.

    Raises:
      ValueError: `source` or `target` is empty.
    """
    for name, ids in (("source", source), ("target", target)):
        if not len(ids):
            raise ValueError(f"`{name}` must hold at least one token; got none.")
    s, t = len(source) + 1, len(target)
    # A multiple of 8, so that sentences of similar lengths share one compiled program.
    length = -(-max(s, t) // 8) * 8
    batch = pad([(tuple(source), tuple(target)[:-1])], rows=1, length=length)
    return of_batch(graphdef, params, batch, positions=s, tokens=t)


def of_batch(
    graphdef: Any, params: Params, batch: Seq2SeqBatch, *, positions: int, tokens: int
) -> dict[str, Map]:
    """`sentence` of the first row of a batch, whose source may be frames.

    A model without decoder, as CTC trains it, has "encoder" alone.

    Args:
      graphdef: of the model, a `nn.protocols.Seq2Seq` or a `models.speech.AlignedModel`.
      params: its parameters.
      batch: the source, and the target that is written.
      positions: how many of the encoder's are real.
      tokens: how many of the target are, EOS included.
    """
    sizes = {
        "encoder": (positions, positions),
        "decoder": (tokens, tokens),
        "cross": (tokens, positions),
    }
    views = _views(graphdef, params, batch)
    return {place: cropped(view, *sizes[place]) for place, view in views.items()}


def view(attention: MultiHeadAttention, x: Array, memory: Array, mask: Any) -> View:
    """What a layer's heads take from each position of `memory`, for each position of `x`."""
    q, (k, v) = attention.queries(x), attention.keys_values(memory)

    def attend(values: Array) -> Array:
        return attention.attend(q, k, values, mask=mask).swapaxes(1, 2)

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
    return View(weights.sum(axis=3), error, rest, size)


def stacked(layers: Sequence[View]) -> View:
    """Views of several layers as one, [b l ...]."""
    return jax.tree.map(lambda *views: jnp.stack(views, axis=1), *layers)


def cropped(found: View, t: int, s: int) -> Map:
    """The first row of a batch [b l ...] without padding, and with errors as shares.

    Args:
      found: views as `stacked` gives them.
      t: how many of the queries are real.
      s: how many of the keys are.
    """
    weights, *rows = (np.asarray(x[0]) for x in found)
    error, rest, size = (x[:, :, :t].max(axis=-1) for x in rows)
    size = np.where(size > 0, size, 1)
    error, rest = error / size, rest / size
    # NaN is not exact, compared this way round.
    is_exact = error <= ROUNDING[weights.dtype.itemsize]
    return Map(weights[:, :, :t, :s].astype(np.float32), error, rest, is_exact)


@partial(jax.jit, static_argnums=(0,))
def _views(graphdef: Any, params: Params, batch: Seq2SeqBatch) -> dict[str, View]:
    """Views of all layers, [b l ...]."""
    model = nnx.merge(graphdef, params)
    if isinstance(model, Seq2SeqTransformer):
        return _of_transformer(model, batch)
    if isinstance(model, CTCModel):
        return _of_aligned(model, batch)
    return _of_steps(model, batch)


def _of_transformer(model: Seq2SeqTransformer, batch: Seq2SeqBatch) -> dict[str, View]:
    encoder = _of_encoder(model.encoder.each(), *model.enter(batch.source, batch.source_mask))
    decoder, cross = [], []
    memory = model.encode(batch.source, batch.source_mask)
    x = model.embedding(batch.target_in)
    for layer in model.decoder.each():
        own, to_source = _of_decoder(layer, x, memory)
        decoder.append(own)
        cross.append(to_source)
        x = layer(x, memory)
    return {"encoder": encoder, "decoder": stacked(decoder), "cross": stacked(cross)}


def _of_aligned(model: CTCModel, batch: Seq2SeqBatch) -> dict[str, View]:
    """Of a model without decoder: its encoder, where that attends."""
    listener = model.encoder
    if not isinstance(listener, SpeechTransformerEncoder):
        return {}
    entered = listener.enter(batch.source, batch.source_mask)
    return {"encoder": _of_encoder(listener.each(), *entered)}


def _of_encoder(layers: Sequence[EncoderLayer], x: Array, seen: Array) -> View:
    visible, found = masks.keys(seen), []
    for layer in layers:
        inside = layer.around_attention.enter(x)
        found.append(view(layer.attention, inside, inside, visible))
        x = layer(x, seen)
    return stacked(found)


def _of_decoder(layer: DecoderLayer, x: Array, memory: EncoderOutput) -> tuple[View, View]:
    inside = layer.around_attention.enter(x)
    own = view(layer.attention, inside, inside, masks.causal)
    inside = layer.around_cross_attention.enter(layer.look(x, masks.causal))
    return own, view(layer.cross_attention, inside, memory.states, masks.keys(memory.mask))


def _of_steps(model: Any, batch: Seq2SeqBatch) -> dict[str, View]:
    """Of any other model: the weights that its steps return, which it takes sums by itself."""
    state = model.start(model.encode(batch.source, batch.source_mask), batch.target_in.shape[1])

    def step(state: Any, token: Array) -> tuple[Any, Array | None]:
        state, _, weights = model.step(state, token, return_weights=True)
        return state, weights

    _, weights = jax.lax.scan(step, state, jnp.asarray(batch.target_in).T)
    if weights is None:
        return {}
    weights = jnp.moveaxis(weights, 0, -2).astype(jnp.float32)  # [t b l h s] -> [b l h t s]
    zero = jnp.zeros(weights.shape[:-1])
    return {"cross": View(weights, zero, zero, zero + 1)}
