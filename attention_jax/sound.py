"""From sound to what a model reads: log-mel spectrograms, and SpecAugment.

frames = sound.log_mel(samples, sound.Spectrogram(rate=8000))        # [n] -> [s f]
frames = sound.spec_augment(frames[None], mask[None], key, sound.Augment())
"""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

# Added to all energies, so that digital silence is no more than 80 dB below a loud voice.
_FLOOR = 1e-6


class Spectrogram(NamedTuple):
    """How sound becomes frames; the defaults are 25 ms every 10 ms at 8 kHz.

    Attributes:
      rate: samples a second.
      window: samples in a frame.
      hop: samples from one frame to the next.
      fft: length of the Fourier transform, at least `window`; what is beyond it is 0.
      mels: bands of the mel scale.
      lowest: Hz where the lowest band begins.
      highest: Hz where the highest band ends; None for half the rate.
    """

    rate: int = 8000
    window: int = 200
    hop: int = 80
    fft: int = 256
    mels: int = 40
    lowest: float = 20.0
    highest: float | None = None

    @classmethod
    def at(cls, rate: int, *, mels: int = 40) -> "Spectrogram":
        """25 ms every 10 ms at any rate."""
        window = round(0.025 * rate)
        hop = max(1, round(0.010 * rate))
        return cls(rate, window, hop, 1 << max(1, window - 1).bit_length(), mels)

    def frames(self, samples: int) -> int:
        """The frames that so many samples give."""
        return max(0, 1 + (samples - self.window) // self.hop)

    def check(self) -> None:
        """Raises ValueError where the numbers do not fit each other."""
        for name in ("rate", "window", "hop", "mels"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1; got {getattr(self, name)}.")
        if self.fft < self.window:
            raise ValueError(
                f"`fft` must be at least `window`; got fft={self.fft}, window={self.window}. "
                f"The next power of two is {1 << (self.window - 1).bit_length()}."
            )
        top = self.rate / 2 if self.highest is None else self.highest
        if not 0 <= self.lowest < top <= self.rate / 2:
            raise ValueError(
                "`lowest` and `highest` must lie in order between 0 and half the rate, "
                f"{self.rate / 2:g} Hz; got {self.lowest:g} and {top:g}."
            )


class Augment(NamedTuple):
    """How SpecAugment hides parts of a spectrogram; `Augment.none()` leaves it as it is.

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
        for name, value in self._asdict().items():
            if value < 0:
                raise ValueError(f"`{name}` must be at least 0; got {value}. 0 hides nothing.")
        if self.time_share > 1:
            raise ValueError(f"`time_share` must be at most 1; got {self.time_share}.")


def mel(hertz: float) -> float:
    """The mel scale of HTK: 2595 log10(1 + f / 700).

    Reference: The HTK Book 3.4.1 (Young et al. 2006), equation 5.13; O'Shaughnessy 1987.

    >>> round(mel(1000.0))
    1000
    """
    return 2595.0 * math.log10(1.0 + hertz / 700.0)


def mel_filters(settings: Spectrogram) -> Float[np.ndarray, "f k"]:
    """Triangles over the bins of the transform, equally wide in mel, 1 at the middle.

        filter[m, k] = max(0, min((f_k - l) / (c - l), (r - f_k) / (r - c))),  f_k = k rate / fft

    Here l, c and r are the frequencies of points m, m + 1 and m + 2 of `mels + 2` that stand at
    equal distances in mel from `lowest` to `highest`. Areas are not made equal, as in HTK.

    Raises:
      ValueError: numbers that do not fit each other, or a band so narrow that it holds no bin.
    """
    settings.check()
    top = settings.rate / 2 if settings.highest is None else settings.highest
    points = np.linspace(mel(settings.lowest), mel(top), settings.mels + 2)
    hertz = 700.0 * (10.0 ** (points / 2595.0) - 1.0)
    left, centre, right = (hertz[i : i + settings.mels, None] for i in range(3))
    bins = np.arange(settings.fft // 2 + 1) * settings.rate / settings.fft
    rising, falling = (bins - left) / (centre - left), (right - bins) / (right - centre)
    filters = np.maximum(0.0, np.minimum(rising, falling))
    empty = int(np.sum(filters.max(axis=1) == 0))
    if empty:
        raise ValueError(
            f"`mels` must leave each band a bin of the transform; got mels={settings.mels} with "
            f"fft={settings.fft}, of which {empty} hold none. Take fewer bands or a longer `fft`."
        )
    return filters


@partial(jax.jit, static_argnums=1)
def log_mel(samples: Float[Array, "*b n"], settings: Spectrogram) -> Float[Array, "*b s f"]:
    """The energy in each band of the mel scale, frame by frame, as a logarithm.

        out[i, m] = log(floor + sum_k filter[m, k] |sum_n hann[n] x[i hop + n] e^(-2 pi i k n / fft)|^2)

    Frames lie wholly within the samples. The window is Hann's, periodic, `floor` is 1e-6.

    Args:
      samples: in [-1, 1].
      settings: sizes; see `mel_filters` for the bands.

    Raises:
      ValueError: fewer samples than a window, or settings that do not fit each other.

    Reference: Davis and Mermelstein 1980, IEEE Transactions on Acoustics, Speech and Signal
      Processing 28(4), up to the cosine transform, which is left out.
    """  # noqa: E501
    filters, count = mel_filters(settings), settings.frames(samples.shape[-1])
    if not count:
        raise ValueError(
            f"`samples` must hold at least a window of {settings.window}; got "
            f"{samples.shape[-1]}, {samples.shape[-1] / settings.rate:.3f} s. Leave it out."
        )
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(settings.window) / settings.window)
    at = np.arange(count)[:, None] * settings.hop + np.arange(settings.window)
    framed = jnp.einsum("...sn,n->...sn", samples[..., at], jnp.asarray(hann, samples.dtype))
    power = jnp.square(jnp.abs(jnp.fft.rfft(framed, settings.fft)))
    return jnp.log(_FLOOR + power @ jnp.asarray(filters.T, power.dtype))


def normalized(frames: Float[Array, "*b s f"], mask: Bool[Array, "*b s"]) -> Float[Array, "*b s f"]:
    """Frames of mean 0 and variance 1 over a recording, so that loudness tells nothing; 0 outside.

    Mean and variance are those of all bands together: what a band holds throughout may be a vowel.
    """
    real = mask[..., None].astype(frames.dtype)
    count = jnp.maximum(real.sum((-2, -1), keepdims=True) * frames.shape[-1], 1)
    mean = (frames * real).sum((-2, -1), keepdims=True) / count
    variance = (jnp.square(frames - mean) * real).sum((-2, -1), keepdims=True) / count
    return (frames - mean) * real * jax.lax.rsqrt(variance + 1e-5)


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
        frames = _warp(frames, length, warp, settings.time_warp)
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
    frames: Float[Array, "s f"], length: Int[Array, ""], key: PRNGKeyArray, most: int
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


def padded_length(count: int, multiple: int) -> int:
    """`count` rounded up to a multiple, so that few shapes are compiled."""
    return math.ceil(count / multiple) * multiple
