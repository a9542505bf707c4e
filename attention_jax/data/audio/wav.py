"""Recordings of one channel as numbers in [-1, 1]: WAV, FLAC and what else libsndfile reads.

    samples = read(path.read_bytes(), name=str(path), rate=8000)

A file that does not fit is an error of one line; nothing is mixed down or resampled unless asked.
"""

import io
import math
import struct
import wave
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from attention_jax.core import checks
from attention_jax.core.extras import needed
from attention_jax.core.plain_types import sizes, typed_calls

SUFFIXES = (".wav", ".flac", ".ogg", ".aif", ".aiff", ".au")
RIGHT_RATE = "Convert it (ffmpeg -i in.wav -ar {rate} out.wav), or resample all such by --resample."
ONE_CHANNEL = "Mix it down first: ffmpeg -i in.wav -ac 1 out.wav."
AS_PCM = "Convert it: ffmpeg -i in.wav -c:a pcm_s16le out.wav."
_ENDLESS = 0x7FFFF000  # sizes from here on are written by programs that cannot know the length


@typed_calls
def read(data: bytes, *, name: str, rate: int, resample: bool = False) -> Float[np.ndarray, " n"]:
    """Samples of a WAV or FLAC file, float32.

    A streamed WAV file, whose header does not know the length, is read to its end.

    Args:
      data: bytes of the file.
      name: name of the file in errors.
      rate: desired samples a second.
      resample: changes another rate by a polyphase filter instead of refusing it.

    Raises:
      ModuleNotFoundError: soundfile is not installed.
      ValueError: no such file, damaged, cut off, empty, more than one channel, or another rate.
    """
    checks.positive("rate", rate)
    samples, own = _decoded(data, name)
    if own == rate:
        return samples
    if not resample:
        raise ValueError(
            f"`audio` must have {rate} samples a second; {name} has {own}. "
            f"{RIGHT_RATE.format(rate=rate)}"
        )
    return resampled(samples, own, rate)


@typed_calls
def resampled(samples: Float[np.ndarray, " n"], own: int, rate: int) -> Float[np.ndarray, " k"]:
    """Samples at `rate` from samples at `own`, by SciPy's polyphase filter."""
    sizes(own=own, rate=rate)
    with needed("audio"):
        import scipy.signal  # takes long, and few need it

    common = math.gcd(own, rate)
    return scipy.signal.resample_poly(samples, rate // common, own // common).astype(np.float32)


@typed_calls
def write(samples: Float[np.ndarray, " n"], *, rate: int) -> bytes:
    """Bytes of a 16-bit WAV file; samples beyond [-1, 1) are clipped."""
    checks.positive("rate", rate)
    whole = np.clip(np.round(np.asarray(samples, np.float64) * 2**15), -(2**15), 2**15 - 1)
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as opened:
        opened.setnchannels(1)
        opened.setsampwidth(2)
        opened.setframerate(rate)
        opened.writeframes(whole.astype("<i2").tobytes())
    return buffer.getvalue()


def _decoded(data: bytes, name: str) -> tuple[Float[np.ndarray, " n"], int]:
    """Samples of a file and their rate, after all checks."""
    with needed("audio"):
        import soundfile

    chunk = _data_chunk(data)
    if chunk is not None and chunk.is_streamed:
        data = chunk.with_size(data)
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as opened:
            channels, own, count = opened.channels, opened.samplerate, opened.frames
            samples = opened.read(dtype="float32")
    except soundfile.LibsndfileError as error:
        raise ValueError(
            f"`audio` must be a WAV or FLAC file; {name} is not one, or is damaged "
            f"({' '.join(error.error_string.split()).rstrip('.')}). {AS_PCM}"
        ) from error
    if channels != 1:
        raise ValueError(f"`audio` must have one channel; {name} has {channels}. {ONE_CHANNEL}")
    held, count = (len(samples), count) if chunk is None else chunk.counts(len(samples))
    if held < count or not held:
        raise ValueError(
            f"`audio` must hold the samples that its header tells; {name} holds {held} of {count}. "
            "It was cut off: fetch it again."
        )
    if not np.isfinite(samples).all():
        raise ValueError(f"`audio` must hold finite numbers; {name} does not. Leave it out.")
    return samples, own


class _Chunk(NamedTuple):
    """Data chunk of a WAV file, which libsndfile reads without a word if it was cut off.

    Attributes:
      start: index of its first byte.
      declared: its size by the header.
      held: number of bytes from `start` to the end of the file.
      frame: bytes of one sample of all channels.
      is_streamed: True if the program that wrote the header did not know the length.
    """

    start: int
    declared: int
    held: int
    frame: int
    is_streamed: bool

    def with_size(self, data: bytes) -> bytes:
        """The file with the true size in its header."""
        size = struct.pack("<I", self.held)
        return data[: self.start - 4] + size + data[self.start :]

    def counts(self, decoded: int) -> tuple[int, int]:
        """Number of samples in the file, and by its header."""
        if self.is_streamed or self.held >= self.declared:
            return decoded, decoded
        return self.held // self.frame, self.declared // self.frame


def _data_chunk(data: bytes) -> _Chunk | None:
    """The data chunk of a RIFF file; None for other formats, and without such a chunk."""
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        return None
    at, frame = 12, 1
    while at + 8 <= len(data):
        kind, size = struct.unpack_from("<4sI", data, at)
        at += 8
        if kind == b"fmt " and at + 14 <= len(data):
            frame = max(1, struct.unpack_from("<H", data, at + 12)[0])
        if kind == b"data":
            held = len(data) - at
            streamed = size >= max(_ENDLESS, held) or (size == 0 and not _are_chunks(data[at:]))
            return _Chunk(at, size, held, frame, streamed)
        at += size + size % 2
    return None


def _are_chunks(data: bytes) -> bool:
    """True if the bytes are whole chunks, or none at all."""
    at = 0
    while at + 8 <= len(data) and data[at : at + 4].isascii():
        at += 8 + struct.unpack_from("<I", data, at + 4)[0]
        at += at % 2
    return at >= len(data) and (at - len(data)) < 2
