"""SpecAugment: random masking and warping of spectrograms while training.

Reference: Park et al. 2019, arXiv:1904.08779.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from attention_jax.core import plain_types
from attention_jax.core.calls import clear_fields


@clear_fields
class Augment(NamedTuple):
    """Settings of SpecAugment; `Augment.none()` leaves a spectrogram as it is.

    Attributes:
      frequency_masks: how many runs of bands are hidden.
      frequency_width: the most bands in one.
      time_masks: how many runs of frames are hidden.
      time_width: the most frames in one.
      time_share: the largest share of the frames in one.
      time_warp: the most frames by which a point of the middle is moved.
    """

    frequency_masks: int = 2
    frequency_width: int = 8
    time_masks: int = 2
    time_width: int = 20
    time_share: float = 0.2
    time_warp: int = 0

    @classmethod
    def none(cls) -> "Augment":
        return cls(0, 0, 0, 0, 0.0, 0)

    def check(self) -> None:
        """Raises ValueError where a number is below 0, or the share above 1."""
        plain_types.check_fields(self)
        for name, value in self._asdict().items():
            if value < 0:
                raise ValueError(f"`{name}` must be at least 0; got {value}. 0 hides nothing.")
        if self.time_share > 1:
            raise ValueError(f"`time_share` must be at most 1; got {self.time_share}.")


def spec_augment(
    frames: Float[Array, "b s f"],
    mask: Bool[Array, "b s"],
    key: PRNGKeyArray,
    settings: Augment,
) -> Float[Array, "b s f"]:
    """Hides runs of bands and of frames, each recording's own, by the value 0: its mean.

        bands [f0, f0 + f):   f ~ U{0..F},               f0 ~ U{0..bands - f}
        frames [t0, t0 + t):  t ~ U{0..min(T, p s)},     t0 ~ U{0..s - t},   s real frames

    With `time_warp` W a point a ~ U[W, s - 1 - W] first moves by w ~ U[-W, W], and time between it
    and both ends stretches evenly; short recordings, s <= 2 W + 1, are not stretched. Where the
    paper moves that point on an image, here time is interpolated linearly.

    Args:
      frames: of mean 0, as `normalized` gives them.
      mask: which frames are real.
      key: what is drawn from.
      settings: how much.

    Raises:
      ValueError: a number of `settings` out of range.

    Reference: Park et al. 2019, arXiv:1904.08779, section 2.
    """
    settings.check()
    rows = jax.vmap(partial(_augment, settings=settings))
    return rows(frames, mask.sum(-1, dtype=jnp.int32), jax.random.split(key, len(frames)))


def _augment(
    frames: Float[Array, "s f"], length: Int[Array, ""], key: PRNGKeyArray, settings: Augment
) -> Float[Array, "s f"]:
    warp, *keys = jax.random.split(key, 1 + settings.frequency_masks + settings.time_masks)
    if settings.time_warp:
        frames = _warp(frames, length, warp, float(settings.time_warp))
    s, bands = frames.shape
    widest = jnp.floor(settings.time_share * length.astype(jnp.float32)).astype(jnp.int32)
    hidden = jnp.zeros((s, bands), bool)
    for number, key in enumerate(keys):
        if number < settings.frequency_masks:
            hidden |= _run(key, bands, settings.frequency_width, bands)[None]
        else:
            hidden |= _run(key, length, jnp.minimum(settings.time_width, widest), s)[:, None]
    return jnp.where(hidden, 0, frames)


def _run(key: PRNGKeyArray, total: int | Array, widest: int | Array, size: int) -> Array:
    """Which of `size` places lie in a run, of at most `widest` among the first `total`."""
    key_width, key_start = jax.random.split(key)
    width = jax.random.randint(key_width, (), 0, jnp.minimum(widest, total) + 1)
    start = jax.random.randint(key_start, (), 0, total - width + 1)
    places = jnp.arange(size)
    return (places >= start) & (places < start + width)


def _warp(
    frames: Float[Array, "s f"], length: Int[Array, ""], key: PRNGKeyArray, most: float
) -> Float[Array, "s f"]:
    key_point, key_shift = jax.random.split(key)
    last = (length - 1).astype(jnp.float32)
    point = jax.random.uniform(key_point, (), jnp.float32, most, jnp.maximum(last - most, most + 1))
    moved = point + jax.random.uniform(key_shift, (), jnp.float32, -most, most)
    to = jnp.arange(len(frames), dtype=jnp.float32)
    before = to * point / jnp.maximum(moved, 1e-6)
    after = point + (to - moved) * (last - point) / jnp.maximum(last - moved, 1e-6)
    source = jnp.where(to < moved, before, after)
    source = jnp.where((last > 2 * most) & (to <= last), source, to)
    low = jnp.clip(jnp.floor(source).astype(jnp.int32), 0, len(frames) - 1)
    high = jnp.minimum(low + 1, jnp.maximum(low, length - 1))
    share = (source - low.astype(jnp.float32))[:, None].astype(frames.dtype)
    return frames[low] * (1 - share) + frames[high] * share
