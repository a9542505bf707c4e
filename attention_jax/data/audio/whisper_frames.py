"""The log-mel spectrogram of Whisper, of which all recordings last half a minute.

frames = whisper_frames(samples)        # [n] at 16 kHz -> [3000 80]

Reference: Radford et al. 2023, arXiv:2212.04356, section 2.2; filters: Slaney 1998, Auditory
Toolbox, Interval Research Corporation Technical Report 1998-010.
"""

import numpy as np
from jaxtyping import Float

from attention_jax.core import checks
from attention_jax.core.plain_types import typed_calls

RATE, WINDOW, HOP, SECONDS = 16_000, 400, 160, 30
_LEAST = 1e-10
_LINEAR_TO, _HERTZ_A_MEL = 1000.0, 200 / 3  # of Slaney's scale
_OCTAVES = np.log(6.4) / 27


@typed_calls
def whisper_frames(
    samples: Float[np.ndarray, " n"], *, mels: int = 80, seconds: float = SECONDS
) -> Float[np.ndarray, "s f"]:
    """Frames of a recording at 16 kHz, filled up with silence, or cut off.

        x = log10(max(1e-10, filters |STFT|^2))      out = (max(x, max(x) - 8) + 4) / 4

    The transform has periodic Hann windows of 400 samples every 160; the recording is mirrored at
    both ends, and a frame that begins at its end is left out.

    Args:
      samples: in [-1, 1].
      mels: bands: 80, or 128 of the large model's third version.
      seconds: that a recording is made to last.

    Raises:
      ValueError: `mels` is below 1, or `seconds` not above 0.
    """
    checks.positive("mels", mels)
    checks.above_zero("seconds", seconds)
    length = int(seconds * RATE)
    whole = np.zeros(length)
    whole[: len(samples)] = samples[:length]
    mirrored = np.pad(whole, WINDOW // 2, mode="reflect")
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)
    starts = np.arange(length // HOP) * HOP
    framed = mirrored[starts[:, None] + np.arange(WINDOW)] * hann
    power = np.abs(np.fft.rfft(framed)) ** 2
    logs = np.log10(np.maximum(power @ slaney_filters(mels).T, _LEAST))
    return ((np.maximum(logs, logs.max() - 8) + 4) / 4).astype(np.float32)


def slaney_filters(mels: int) -> Float[np.ndarray, "f k"]:
    """Triangles over the bins of the transform, each of area 1, evenly spaced on Slaney's scale."""
    top = _mel(RATE / 2)
    hertz = _hertz(np.linspace(0.0, top, mels + 2))
    left, center, right = (hertz[i : i + mels, None] for i in range(3))
    bins = np.arange(WINDOW // 2 + 1) * RATE / WINDOW
    rising, falling = (bins - left) / (center - left), (right - bins) / (right - center)
    return np.maximum(0.0, np.minimum(rising, falling)) * 2 / (right - left)


def _mel(hertz: float) -> float:
    """Linear up to 1 kHz, and logarithmic above; 1 kHz is 15 mel."""
    if hertz < _LINEAR_TO:
        return hertz / _HERTZ_A_MEL
    return 15 + float(np.log(hertz / _LINEAR_TO) / _OCTAVES)


def _hertz(mel: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    return np.where(mel < 15, mel * _HERTZ_A_MEL, _LINEAR_TO * np.exp(_OCTAVES * (mel - 15)))
