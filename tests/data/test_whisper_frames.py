"""Whisper's spectrogram, beside `transformers` and beside a loop over the equation."""

import numpy as np
import pytest

from attention_jax.data.audio.whisper_frames import RATE, slaney_filters, whisper_frames
from tests.support import checkpoints


def recording(count, seed=0):
    noise = np.random.default_rng(seed).normal(size=count)
    time = np.arange(count) / RATE
    return (0.3 * np.sin(2 * np.pi * (300 + 200 * time) * time) + 0.05 * noise).astype(np.float32)


@pytest.mark.parametrize("mels", [80, 128])
def test_frames_are_those_of_transformers(mels):
    own = checkpoints.transformers().WhisperFeatureExtractor(feature_size=mels)
    for count in (RATE, 37_123, 31 * RATE):
        samples = recording(count)
        wanted = own(samples, sampling_rate=RATE, return_tensors="np").input_features[0].T
        np.testing.assert_allclose(whisper_frames(samples, mels=mels), wanted, rtol=0, atol=1e-4)


def test_a_frame_is_the_logarithm_of_filtered_power():
    samples = recording(700)
    got = whisper_frames(samples, mels=5, seconds=0.05)  # 800 samples, 5 frames
    whole = np.concatenate([np.asarray(samples, np.float64), np.zeros(100)])
    filters, logs = slaney_filters(5), np.zeros((5, 5))
    for frame in range(5):
        for band in range(5):
            energy = 0.0
            for k in np.flatnonzero(filters[band]):
                total = 0.0 + 0.0j
                for n in range(400):
                    at = abs(frame * 160 + n - 200)
                    at = at if at < 800 else 2 * 799 - at
                    hann = 0.5 - 0.5 * np.cos(2 * np.pi * n / 400)
                    total += hann * whole[at] * np.exp(-2j * np.pi * k * n / 400)
                energy += filters[band, k] * abs(total) ** 2
            logs[frame, band] = np.log10(max(energy, 1e-10))
    wanted = (np.maximum(logs, logs.max() - 8) + 4) / 4
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)


def test_each_filter_has_an_area_of_one():
    areas = slaney_filters(20).sum(axis=1) * RATE / 400
    np.testing.assert_allclose(areas[8:], 1, atol=0.05)  # narrower ones hold few bins


def test_bad_sizes_are_refused():
    with pytest.raises(ValueError, match="`mels` must be a whole number of at least 1; got 0"):
        whisper_frames(recording(RATE), mels=0)
    with pytest.raises(ValueError, match="`seconds` must be"):
        whisper_frames(recording(RATE), seconds=0.0)
