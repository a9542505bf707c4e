"""Attribution of image classifiers: attention maps, attention rollout and occlusion.

    found = image_attribution.attention(graphdef, params, images)
    image_attribution.rollout(found)                        # [b rows columns]
    image_attribution.occlusion(graphdef, params, images)   # [b rows columns]

Attention shows what a model reads, layer by layer; rollout follows it from the answer back to the
image. Neither says what the answer depends on: for that, `occlusion` hides each patch in turn.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float

from attention_jax.analysis import attention_maps
from attention_jax.analysis.attention_entropy import shares
from attention_jax.core.plain_types import typed_calls
from attention_jax.core.types import Params


class Images(NamedTuple):
    """Images alone, as a batch."""

    images: Float[Array, "b y x c"]


class ImageMaps(NamedTuple):
    """Attention weights of a model for some images.

    Attributes:
      layers: of each layer and head, from each position to each; None without such layers.
      pooling: of each head, from the learned query to each position; None without such a query.
      is_exact: of each layer and head, whether its output is the sum of values by these weights,
        in all images: elsewhere they mean nothing.
      pooling_is_exact: the same of the pooling heads.
      tokens: positions before those of the image.
      grid: positions of the image, downwards and across.
      registers: of the positions before, those that no answer is read from; the class token, if
        there is one, stands before them.
    """

    layers: Float[np.ndarray, "b l h n n"] | None
    pooling: Float[np.ndarray, "b h n"] | None
    is_exact: Bool[np.ndarray, "l h"] | None
    pooling_is_exact: Bool[np.ndarray, " h"] | None
    tokens: int
    grid: tuple[int, int]
    registers: int = 0

    @property
    def has_class_token(self) -> bool:
        """True where the answer is read at the first position."""
        return self.tokens > self.registers


@typed_calls
def attention(
    graphdef: nnx.GraphDef, params: Params, images: Float[np.ndarray | Array, "b y x c"]
) -> ImageMaps | None:
    """Attention weights of a classifier for some images; None where it has no attention."""
    model = nnx.merge(graphdef, params)
    found = attention_maps.weights_of(model, Images(jnp.asarray(images)))
    if not found:
        return None
    layers, pooling = found.get("encoder"), found.get("cross")
    return ImageMaps(
        None if layers is None else np.asarray(layers.weights, np.float32),
        None if pooling is None else np.asarray(pooling.weights[:, 0, :, 0], np.float32),
        None if layers is None else attention_maps.is_exact(layers).all(axis=0),
        None if pooling is None else attention_maps.is_exact(pooling)[:, 0].all(axis=0),
        model.tokens,
        model.grid,
        getattr(model, "register_count", 0),
    )


@typed_calls
def of_image(
    graphdef: nnx.GraphDef, params: Params, image: Float[np.ndarray | Array, "y x c"]
) -> dict[str, attention_maps.Map]:
    """Attention maps of a classifier for one image.

    Returns:
      A `Map` for "encoder" [l h n n], where there are layers of attention, and for "cross"
      [1 h 1 n], from the learned query to each position, where attention pools.
    """
    batch = Images(jnp.asarray(image)[None])
    return attention_maps.attention_maps(nnx.merge(graphdef, params), batch)


@typed_calls
def rollout(found: ImageMaps) -> Float[np.ndarray, "b rows columns"]:
    """Attention rollout: how much of each patch reaches the answer, mixed by attention alone.

        mixed_l = normalize(mean_h w_l / 2 + identity / 2) mixed_(l-1)

    The answer's row is that of the class token; the mean of the rows by the pooling weights; or
    their plain mean. Weights of other kinds than softmax count by their size.

    Reference: Abnar and Zuidema 2020, arXiv:2005.00928, section 3.
    """
    reads = _answer(found)
    if found.layers is not None:
        mixed = np.eye(found.layers.shape[-1], dtype=np.float32)[None]
        for layer in np.moveaxis(np.abs(found.layers), 1, 0):
            step = layer.mean(axis=1) / 2 + np.eye(layer.shape[-1], dtype=np.float32) / 2
            mixed = shares(step)[0] @ mixed
        reads = np.einsum("bn,bnm->bm", reads, mixed)
    return _on_grid(found, reads)


@typed_calls
def heads(found: ImageMaps) -> Float[np.ndarray, "b l h rows columns"]:
    """Maps of each head: the row of the class token, or the mean over those of the image.

    The pooling heads, where there are such, come last, as one more layer.
    """
    parts = []
    if found.layers is not None:
        of_image = found.layers[:, :, :, found.tokens :]
        parts.append(found.layers[:, :, :, 0] if found.has_class_token else of_image.mean(axis=3))
    if found.pooling is not None:
        parts.append(found.pooling[:, None])
    most = max(part.shape[2] for part in parts)
    # An RNN pools by one head, and has no others; a Transformer by as many as it has elsewhere.
    assert all(part.shape[2] == most for part in parts)
    return _on_grid(found, np.concatenate(parts, axis=1))


@typed_calls
def names(found: ImageMaps) -> list[str]:
    """Names of the rows of `heads`; a star where a head's weights are not those of its output."""
    layers = () if found.is_exact is None else found.is_exact.all(axis=1)
    rows = [_starred(f"layer {number}", exact) for number, exact in enumerate(map(bool, layers), 1)]
    if found.pooling_is_exact is not None:
        rows.append(_starred("pooling", bool(found.pooling_is_exact.all())))
    return rows


@typed_calls
def columns(found: ImageMaps) -> dict[str, Float[np.ndarray, "b rows columns"]]:
    """Summaries of all heads: the rollout, where there are layers, and the mean pooling head.

    A star where the weights of a head in the sum are not those of its output, as in `names`.
    """
    summed, pooled = {}, found.pooling_is_exact is None or bool(found.pooling_is_exact.all())
    if found.is_exact is not None:
        exact = pooled and bool(found.is_exact.all())
        summed[_starred("attention rollout", exact)] = rollout(found)
    if found.pooling is not None:
        mean = found.pooling.mean(axis=1)
        summed[_starred("attention pooling", pooled)] = _on_grid(found, mean)
    return summed


def _starred(name: str, exact: bool) -> str:
    return name if exact else f"{name}*"


@typed_calls
def occlusion(
    graphdef: nnx.GraphDef, params: Params, images: Float[np.ndarray | Array, "b y x c"]
) -> Float[np.ndarray, "b rows columns"]:
    """Occlusion: what the answer loses when a patch is hidden.

        lost[p] = log p(answer | image) - log p(answer | image with patch p in the image's mean)

    The answer is the model's own; positive where the patch speaks for it. Of an RNN that reads
    rows, a patch is a row.

    Reference: Zeiler and Fergus 2014, arXiv:1311.2901, section 4.2.
    """
    return np.asarray(_occlusion(graphdef, params, jnp.asarray(images)))


@partial(jax.jit, static_argnums=(0,))
def _occlusion(graphdef: nnx.GraphDef, params: Params, images: Array) -> Array:
    model = nnx.merge(graphdef, params)
    b, height, width, _ = images.shape
    rows, columns = model.grid
    whole = jax.nn.log_softmax(model.classify(images))
    answer = whole.argmax(axis=-1)
    mean = images.mean(axis=(1, 2), keepdims=True)
    down = jnp.arange(height) // (height // rows)
    across = jnp.arange(width) // (width // columns)

    def without(patch: Array) -> Array:
        inside = (down == patch // columns)[:, None] & (across == patch % columns)[None]
        hidden = jnp.where(inside[None, :, :, None], mean, images)
        return jax.nn.log_softmax(model.classify(hidden))[jnp.arange(b), answer]

    left = jax.lax.map(without, jnp.arange(rows * columns))
    return (whole[jnp.arange(b), answer][None] - left).T.reshape(b, rows, columns)


def _answer(found: ImageMaps) -> np.ndarray:
    """The share of the last layer's positions in the answer, [b n]; a row sums to 1."""
    if found.pooling is not None:
        return shares(np.abs(found.pooling).mean(axis=1))[0]
    assert found.layers is not None  # there is one or the other
    b, _, _, n, _ = found.layers.shape
    pooled = np.arange(n) >= found.tokens
    row = np.eye(n)[0] if found.has_class_token else pooled / pooled.sum()
    return np.broadcast_to(row.astype(np.float32), (b, n))


def _on_grid(found: ImageMaps, x: np.ndarray) -> np.ndarray:
    """Positions of the image, [... n] -> [... rows columns]."""
    return x[..., found.tokens :].reshape(*x.shape[:-1], *found.grid)
