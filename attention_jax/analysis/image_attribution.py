"""Where a model of pictures looks, and which patches decide.

    found = image_maps.attention(graphdef, params, images)
    image_maps.rollout(found)                           # [b rows columns]
    image_maps.decisive(graphdef, params, images)       # [b rows columns]

Attention shows what a model reads, layer by layer; rollout follows it from the answer back to the
picture. Neither says what the answer hangs on: for that `decisive` hides each patch, and measures.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float

from attention_jax.analysis import attention_maps
from attention_jax.analysis.attention_entropy import shares
from attention_jax.core.types import Params


class ImageMaps(NamedTuple):
    """Attention weights of a model for some images, as `attention_maps.View` and `Map` hold them.

    Attributes:
      layers: of each layer and head, from each position to each; None without such layers.
      pooling: of each head, from the question to each position; None where nothing is asked.
      is_exact: of each layer and head, whether its output is the sum of values by these weights,
        in all pictures: elsewhere they mean nothing.
      pooling_is_exact: the same of the pooling heads.
      tokens: positions before those of the picture.
      grid: positions of the picture, downwards and across.
    """

    layers: Float[np.ndarray, "b l h n n"] | None
    pooling: Float[np.ndarray, "b h n"] | None
    is_exact: Bool[np.ndarray, "l h"] | None
    pooling_is_exact: Bool[np.ndarray, " h"] | None
    tokens: int
    grid: tuple[int, int]


def attention(graphdef: Any, params: Params, images: Float[Any, "b y x c"]) -> ImageMaps | None:
    """The weights with which a model reads pictures; None where it has no attention."""
    model = nnx.merge(graphdef, params)
    layers, pooling = _views(graphdef, params, jnp.asarray(images))
    if not layers and pooling is None:
        return None
    stacked = jax.tree.map(lambda *x: np.stack(x, axis=1), *layers) if layers else None
    return ImageMaps(
        None if stacked is None else np.asarray(stacked.weights, np.float32),
        None if pooling is None else np.asarray(pooling.weights[:, :, 0], np.float32),
        None if stacked is None else _exact(stacked).all(axis=0),
        None if pooling is None else _exact(jax.tree.map(np.asarray, pooling)).all(axis=0),
        model.tokens,
        model.grid,
    )


def of_picture(
    graphdef: Any, params: Params, image: Float[Any, "y x c"]
) -> dict[str, attention_maps.Map]:
    """The weights with which a model reads one image, as `attention_maps.sentence` has of a text.

    Returns:
      A `Map` for "encoder" [l h n n], where there are layers of attention, and for "cross"
      [1 h 1 n], from the question to each position, where attention pools.
    """
    layers, pooling = _views(graphdef, params, jnp.asarray(image)[None])
    views = {"encoder": layers, "cross": [] if pooling is None else [pooling]}
    return {
        place: attention_maps.cropped(attention_maps.stacked(found), *found[0].weights.shape[-2:])
        for place, found in views.items()
        if found
    }


def rollout(found: ImageMaps) -> Float[np.ndarray, "b rows columns"]:
    """How much of each patch reaches the answer, if what is read is mixed by attention alone.

        mixed_l = normalise(mean_h w_l / 2 + identity / 2) mixed_(l-1)

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


def heads(found: ImageMaps) -> Float[np.ndarray, "b l h rows columns"]:
    """What each head reads: from the class token, or on average over all positions.

    The pooling heads, where there are such, come last, as one more layer.
    """
    parts = []
    if found.layers is not None:
        rows = found.layers[:, :, :, 0] if found.tokens else found.layers.mean(axis=3)
        parts.append(rows)
    if found.pooling is not None:
        parts.append(found.pooling[:, None])
    most = max(part.shape[2] for part in parts)
    # An RNN pools by one head, and has no others; a Transformer by as many as it has elsewhere.
    assert all(part.shape[2] == most for part in parts)
    return _on_grid(found, np.concatenate(parts, axis=1))


def names(found: ImageMaps) -> list[str]:
    """What the rows of `heads` are; a star where a head's weights are not those of its output."""
    layers = () if found.is_exact is None else found.is_exact.all(axis=1)
    rows = [_starred(f"layer {number}", exact) for number, exact in enumerate(map(bool, layers), 1)]
    if found.pooling_is_exact is not None:
        rows.append(_starred("pooling", bool(found.pooling_is_exact.all())))
    return rows


def columns(found: ImageMaps) -> dict[str, Float[np.ndarray, "b rows columns"]]:
    """What sums all heads up: the rollout, where there are layers, and the mean pooling head.

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


def occlusion(
    graphdef: Any, params: Params, images: Float[Any, "b y x c"]
) -> Float[np.ndarray, "b rows columns"]:
    """What the answer loses when a patch is hidden: the patches that decided.

        lost[p] = log p(answer | image) - log p(answer | image with patch p in the image's mean)

    The answer is the model's own; positive where the patch speaks for it. Of an RNN that reads
    rows, a patch is a row.

    Reference: Zeiler and Fergus 2014, arXiv:1311.2901, section 4.2.
    """
    return np.asarray(_decisive(graphdef, params, jnp.asarray(images)))


@partial(jax.jit, static_argnums=(0,))
def _decisive(graphdef: Any, params: Params, images: Array) -> Array:
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


@partial(jax.jit, static_argnums=(0,))
def _views(
    graphdef: Any, params: Params, images: Array
) -> tuple[list[attention_maps.View], attention_maps.View | None]:
    looks = nnx.merge(graphdef, params).looks(images)
    layers, pooling = (
        [attention_maps.view(look.attention, look.x, look.memory, None) for look in found]
        for found in (looks.layers, [looks.pooling] if looks.pooling is not None else [])
    )
    return layers, pooling[0] if pooling else None


def _exact(found: attention_maps.View) -> np.ndarray:
    """Whether weights are those of the output, [b ... h]; NaN is not, compared this way round."""
    error, size = (np.asarray(x, np.float32).max(axis=-1) for x in (found.error, found.size))
    return error <= attention_maps.ROUNDING[found.weights.dtype.itemsize] * np.where(
        size > 0, size, 1
    )


def _answer(found: ImageMaps) -> np.ndarray:
    """What the answer reads of the last layer's positions, [b n]; a row sums to 1."""
    if found.pooling is not None:
        return shares(np.abs(found.pooling).mean(axis=1))[0]
    assert found.layers is not None  # there is one or the other
    b, _, _, n, _ = found.layers.shape
    row = np.eye(n)[0] if found.tokens else np.full(n, 1 / n)
    return np.broadcast_to(row.astype(np.float32), (b, n))


def _on_grid(found: ImageMaps, x: np.ndarray) -> np.ndarray:
    """Positions of the picture, [... n] -> [... rows columns]."""
    return x[..., found.tokens :].reshape(*x.shape[:-1], *found.grid)
