"""WAV files: one channel of PCM, as numbers in [-1, 1).

    samples = read(path.read_bytes(), name=str(path), rate=8000)

What does not fit is an error of one line, and nothing is mixed down or resampled unasked.
"""

import io
import math
import wave

import numpy as np
from jaxtyping import Float

RIGHT_RATE = "Convert it (ffmpeg -i in.wav -ar {rate} out.wav), or resample all such by --resample."
ONE_CHANNEL = "Mix it down first: ffmpeg -i in.wav -ac 1 out.wav."
AS_PCM = "Convert it: ffmpeg -i in.wav -c:a pcm_s16le out.wav."


def read(data: bytes, *, name: str, rate: int, resample: bool = False) -> Float[np.ndarray, " n"]:
    """The samples of a WAV file, float32.

    Args:
      data: the file's bytes: PCM of 8, 16, 24 or 32 bits, one channel.
      name: what errors call it.
      rate: samples a second that are wanted.
      resample: whether another rate is changed to it, by a polyphase filter; else it is refused.

    Raises:
      ValueError: no WAV file, no PCM, cut off, empty, more than one channel, or another rate.
    """
    try:
        with wave.open(io.BytesIO(data)) as opened:
            channels, width, own, count = opened.getparams()[:4]
            raw = opened.readframes(count)
    except (wave.Error, EOFError) as error:
        reason = " ".join(str(error).split()) or "it ends too early"
        raise ValueError(
            f"`audio` must be a WAV file of PCM; {name} is not ({reason}). {AS_PCM}"
        ) from error
    if channels != 1:
        raise ValueError(f"`audio` must have one channel; {name} has {channels}. {ONE_CHANNEL}")
    if width not in (1, 2, 3, 4):
        raise ValueError(
            f"`audio` must have 8, 16, 24 or 32 bits; {name} has {8 * width}. {AS_PCM}"
        )
    if len(raw) != count * width or not count:
        raise ValueError(
            f"`audio` must hold the samples that its header tells; {name} holds "
            f"{len(raw) // width} of {count}. It was cut off: fetch it again."
        )
    samples = _decoded(raw, width)
    if own == rate:
        return samples
    if not resample:
        raise ValueError(
            f"`audio` must have {rate} samples a second; {name} has {own}. "
            f"{RIGHT_RATE.format(rate=rate)}"
        )
    return resampled(samples, own, rate)


def resampled(samples: Float[np.ndarray, " n"], own: int, rate: int) -> Float[np.ndarray, " k"]:
    """Samples at `rate` from samples at `own`, through scipy's polyphase filter."""
    import scipy.signal  # takes long, and few need it

    common = math.gcd(own, rate)
    return scipy.signal.resample_poly(samples, rate // common, own // common).astype(np.float32)


def write(samples: Float[np.ndarray, " n"], *, rate: int) -> bytes:
    """A WAV file of 16 bits; what is beyond [-1, 1) is clipped."""
    whole = np.clip(np.round(np.asarray(samples, np.float64) * 2**15), -(2**15), 2**15 - 1)
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as opened:
        opened.setnchannels(1)
        opened.setsampwidth(2)
        opened.setframerate(rate)
        opened.writeframes(whole.astype("<i2").tobytes())
    return buffer.getvalue()


def _decoded(raw: bytes, width: int) -> np.ndarray:
    """Numbers in [-1, 1); 8 bits are unsigned, all others signed, the lowest byte first."""
    if width == 1:
        return (np.frombuffer(raw, np.uint8).astype(np.float32) - 128) / 128
    if width == 3:
        # The three bytes become the upper three of four, so that the sign stands where it should.
        wide = np.zeros((len(raw) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(raw, np.uint8).reshape(-1, 3)
        return (wide.view("<i4")[:, 0] / 2**31).astype(np.float32)
    return (np.frombuffer(raw, f"<i{width}") / 2.0 ** (8 * width - 1)).astype(np.float32)
