"""Log-mel spectrograms.

frames = log_mel(samples, Spectrogram(rate=8000))        # [n] -> [s f]
"""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from attention_jax.core import checks, plain_types
from attention_jax.core.calls import clear_fields
from attention_jax.core.plain_types import typed_calls

# Added to all energies, so that digital silence is at most 80 dB below a loud voice.
_FLOOR = 1e-6


@clear_fields
class Spectrogram(NamedTuple):
    """Settings of a spectrogram; the defaults are 25 ms every 10 ms at 8 kHz.

    Attributes:
      rate: samples a second.
      window: samples in a frame.
      hop: samples from one frame to the next.
      fft: length of the Fourier transform, at least `window`; frames are padded to it by zeros.
      mels: number of mel bands.
      lowest: lower edge of the lowest band in Hz.
      highest: upper edge of the highest band in Hz; None for half the rate.
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
        """Settings of 25 ms every 10 ms at any rate."""
        plain_types.sizes(rate=rate, mels=mels)
        window = round(0.025 * rate)
        hop = max(1, round(0.010 * rate))
        return cls(rate, window, hop, 1 << max(1, window - 1).bit_length(), mels)

    @typed_calls
    def frames(self, samples: int) -> int:
        """Number of frames in a recording of `samples` samples."""
        checks.natural("samples", samples)
        return max(0, 1 + (samples - self.window) // self.hop)

    def check(self) -> None:
        """Raises ValueError if a number is out of range."""
        plain_types.check_fields(self)
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


def mel(hertz: float) -> float:
    """Mel scale of HTK: 2595 log10(1 + f / 700).

    Reference: The HTK Book 3.4.1 (Young et al. 2006), equation 5.13; O'Shaughnessy 1987.

    >>> round(mel(1000.0))
    1000
    """
    return 2595.0 * math.log10(1.0 + hertz / 700.0)


@typed_calls
def mel_filters(settings: Spectrogram) -> Float[np.ndarray, "f k"]:
    """Triangular mel filters over the bins of the transform, with a peak of 1.

        filter[m, k] = max(0, min((f_k - l) / (c - l), (r - f_k) / (r - c))),  f_k = k rate / fft

    Here l, c and r are the frequencies of points m, m + 1 and m + 2 of `mels + 2` points spaced
    evenly in mel from `lowest` to `highest`. Areas are not normalized, as in HTK.

    Raises:
      ValueError: a number is out of range, or a band is so narrow that it holds no bin.
    """
    settings.check()
    top = settings.rate / 2 if settings.highest is None else settings.highest
    points = np.linspace(mel(settings.lowest), mel(top), settings.mels + 2)
    hertz = 700.0 * (10.0 ** (points / 2595.0) - 1.0)
    left, center, right = (hertz[i : i + settings.mels, None] for i in range(3))
    bins = np.arange(settings.fft // 2 + 1) * settings.rate / settings.fft
    rising, falling = (bins - left) / (center - left), (right - bins) / (right - center)
    filters = np.maximum(0.0, np.minimum(rising, falling))
    empty = int(np.sum(filters.max(axis=1) == 0))
    if empty:
        raise ValueError(
            f"`mels` must leave each band a bin of the transform; got mels={settings.mels} with "
            f"fft={settings.fft}, of which {empty} hold none. Use fewer bands or a longer `fft`."
        )
    return filters


@typed_calls
@partial(jax.jit, static_argnums=1)
def log_mel(samples: Float[Array, "*b n"], settings: Spectrogram) -> Float[Array, "*b s f"]:
    """Log-mel spectrogram: logarithm of the energy in each mel band, frame by frame.

        out[i, m] = log(floor + sum_k filter[m, k] |sum_n hann[n] x[i hop + n] e^(-2 pi i k n / fft)|^2)

    Frames lie within the samples. The window is the periodic Hann window; `floor` is 1e-6.

    Args:
      samples: in [-1, 1].
      settings: sizes; see `mel_filters` for the bands.

    Raises:
      ValueError: there are fewer samples than a window, or a setting is out of range.

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


@typed_calls
def normalized(frames: Float[Array, "*b s f"], mask: Bool[Array, "*b s"]) -> Float[Array, "*b s f"]:
    """Frames normalized to mean 0 and variance 1 over each recording; 0 on padding.

    Mean and variance are those of all bands together: constant energy in a band may be a vowel.
    """
    real = mask[..., None].astype(frames.dtype)
    count = jnp.maximum(real.sum((-2, -1), keepdims=True) * frames.shape[-1], 1)
    mean = (frames * real).sum((-2, -1), keepdims=True) / count
    variance = (jnp.square(frames - mean) * real).sum((-2, -1), keepdims=True) / count
    return (frames - mean) * real * jax.lax.rsqrt(variance + 1e-5)


def padded_length(count: int, multiple: int) -> int:
    """`count` rounded up to a multiple."""
    return math.ceil(count / multiple) * multiple
