"""Log-mel spectrograms against scipy and a filterbank in loops; what SpecAugment hides."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax.data.audio import spectrogram
from attention_jax.data.audio.spectrogram import Spectrogram
from attention_jax.nn import spec_augment
from attention_jax.nn.spec_augment import Augment

SETTINGS = [
    Spectrogram(),
    Spectrogram(rate=16000, window=400, hop=160, fft=512, mels=80, lowest=0.0, highest=7600.0),
    Spectrogram(rate=100, window=8, hop=3, fft=8, mels=3, lowest=0.0),
]


def filters_in_loops(settings):
    """Triangles at equal distances in mel, one number at a time."""

    def to_mel(f):
        return 2595 * np.log10(1 + f / 700)

    top = settings.highest or settings.rate / 2
    low, high, n = to_mel(settings.lowest), to_mel(top), settings.mels
    edges = [low + (high - low) * i / (n + 1) for i in range(n + 2)]
    edges = [700 * (10 ** (x / 2595) - 1) for x in edges]
    filters = np.zeros((n, settings.fft // 2 + 1))
    for m in range(n):
        for k in range(filters.shape[1]):
            f = k * settings.rate / settings.fft
            if edges[m] < f <= edges[m + 1]:
                filters[m, k] = (f - edges[m]) / (edges[m + 1] - edges[m])
            elif edges[m + 1] < f < edges[m + 2]:
                filters[m, k] = (edges[m + 2] - f) / (edges[m + 2] - edges[m + 1])
    return filters


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda s: f"{s.rate} Hz")
def test_a_spectrogram_is_scipys_through_the_filters(settings):
    from scipy import signal  # in a second, which the collection of other tests is spared

    samples = np.random.default_rng(0).normal(size=1234).astype(np.float32) * 0.1
    window = signal.get_window("hann", settings.window)
    _, _, bins = signal.stft(
        samples.astype(np.float64),
        window=window,
        nperseg=settings.window,
        noverlap=settings.window - settings.hop,
        nfft=settings.fft,
        boundary=None,
        padded=False,
    )
    power = np.abs(bins * window.sum()) ** 2
    expected = np.log(1e-6 + filters_in_loops(settings) @ power).T
    found = spectrogram.log_mel(samples, settings)
    assert found.shape == (settings.frames(1234), settings.mels)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_a_spectrogram_is_librosas():
    librosa = pytest.importorskip("librosa")
    settings = SETTINGS[1]._replace(fft=400)
    samples = np.random.default_rng(1).normal(size=4000).astype(np.float32)
    expected = librosa.feature.melspectrogram(
        y=samples,
        sr=16000,
        n_fft=400,
        hop_length=160,
        center=False,
        n_mels=80,
        fmin=0.0,
        fmax=7600.0,
        htk=True,
        norm=None,
    )
    found = jnp.exp(spectrogram.log_mel(samples, settings))
    np.testing.assert_allclose(found, expected.T, rtol=1e-3, atol=1e-4)


def test_a_tone_is_loudest_in_its_band():
    settings = Spectrogram()
    for hertz in (300.0, 1000.0, 3000.0):
        tone = np.sin(2 * np.pi * hertz * np.arange(4000) / settings.rate).astype(np.float32)
        loudest = np.asarray(spectrogram.log_mel(tone, settings)).mean(axis=0).argmax()
        centres = np.linspace(spectrogram.mel(20.0), spectrogram.mel(4000.0), 42)[1:-1]
        assert abs(loudest - np.abs(centres - spectrogram.mel(hertz)).argmin()) <= 1


def test_rows_of_a_batch_are_as_alone():
    samples = np.random.default_rng(2).normal(size=(3, 900)).astype(np.float32)
    together = spectrogram.log_mel(samples, Spectrogram())
    for row, alone in zip(together, samples, strict=True):
        np.testing.assert_allclose(
            row, spectrogram.log_mel(alone, Spectrogram()), rtol=1e-4, atol=1e-4
        )


@pytest.mark.slow
def test_normalized_frames_tell_no_loudness_and_padding_is_nothing(draw):
    frames, mask = draw(2, 7, 5) * 3 + 1, jnp.arange(7)[None] < jnp.array([7, 4])[:, None]
    found = np.asarray(spectrogram.normalized(frames, mask))
    assert (found[1, 4:] == 0).all()
    for row, length in zip(found, (7, 4), strict=True):
        assert row[:length].mean() == pytest.approx(0, abs=1e-5)
        assert row[:length].std() == pytest.approx(1, abs=1e-3)
    # A recording twice as loud is one shifted by log 4.
    np.testing.assert_allclose(spectrogram.normalized(frames + np.log(4.0), mask), found, atol=1e-4)
    assert np.isfinite(spectrogram.normalized(frames, mask & False)).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Spectrogram(fft=100), "`fft` must be at least `window`; got fft=100, window=200"),
        (Spectrogram(mels=200), "`mels` must leave each band a bin"),
        (Spectrogram(highest=5000.0), "half the rate, 4000 Hz; got 20 and 5000"),
        (Spectrogram(hop=0), "`hop` must be at least 1; got 0"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        spectrogram.log_mel(jnp.zeros(400), settings)


def test_less_than_a_window_is_refused():
    with pytest.raises(ValueError, match="at least a window of 200; got 199, 0.025 s"):
        spectrogram.log_mel(jnp.zeros(199), Spectrogram())


def runs(hidden):
    """How many runs of True there are."""
    return int(np.sum(np.diff(np.concatenate([[0], hidden.astype(int)])) == 1))


@pytest.mark.slow
def test_spec_augment_hides_runs_within_bounds():
    settings = Augment(2, 3, 2, 6, 0.25)
    length, bands, rows = 32, 20, 400
    frames = jnp.ones((rows, 40, bands))
    mask = jnp.broadcast_to(jnp.arange(40)[None] < length, (rows, 40))
    augment = jax.jit(lambda key: spec_augment.spec_augment(frames, mask, key, settings))
    found = np.asarray(augment(jax.random.key(0)))
    times, freqs = (found == 0).all(axis=2), (found == 0).all(axis=1)
    assert max(map(runs, times)) == 2 and max(map(runs, freqs)) == 2
    assert times.sum(axis=1).max() <= 12 and freqs.sum(axis=1).max() <= 6
    assert not times[:, length:].any()
    # What is hidden is hidden by a whole band or a whole frame, and every place can be.
    assert ((found == 0) == (times[:, :, None] | freqs[:, None])).all()
    assert times[:, :length].any(axis=0).all() and freqs.any(axis=0).all()
    np.testing.assert_array_equal(found, augment(jax.random.key(0)))
    assert not np.array_equal(found, augment(jax.random.key(1)))


@pytest.mark.slow
def test_a_warp_keeps_the_ends_and_the_order():
    ramp = jnp.broadcast_to(jnp.arange(50.0)[None, :, None], (64, 50, 2))
    mask = jnp.broadcast_to(jnp.arange(50)[None] < 41, (64, 50))
    settings = Augment.none()._replace(time_warp=5)
    found = np.asarray(spec_augment.spec_augment(ramp, mask, jax.random.key(0), settings))[..., 0]
    np.testing.assert_allclose(found[:, [0, 40]], [[0, 40]] * 64, atol=1e-3)
    assert (np.diff(found[:, :41]) > 0).all()
    moved = np.abs(found[:, :41] - np.arange(41)).max(axis=1)
    assert moved.max() <= 5.01 and moved.max() > 2
    short = mask & (jnp.arange(50)[None] < 9)
    same = spec_augment.spec_augment(ramp, short, jax.random.key(0), settings)
    np.testing.assert_array_equal(same, ramp)
    longest = settings._replace(time_warp=2**31 - 1)
    same = spec_augment.spec_augment(ramp, mask, jax.random.key(0), longest)
    np.testing.assert_array_equal(same, ramp)


@pytest.mark.slow
def test_nothing_is_hidden_where_nothing_is_asked(draw):
    frames, mask = draw(2, 6, 4), jnp.ones((2, 6), bool)
    found = spec_augment.spec_augment(frames, mask, jax.random.key(0), Augment.none())
    np.testing.assert_array_equal(found, frames)


@pytest.mark.parametrize(
    ("number", "message"),
    [
        ({"time_masks": -1}, "`time_masks` must be at least 0; got -1"),
        ({"frequency_width": -2}, "`frequency_width` must be at least 0; got -2"),
        ({"time_share": 1.5}, "`time_share` must be at most 1; got 1.5"),
    ],
    ids=str,
)
def test_numbers_of_spec_augment_out_of_range_are_refused(number, message):
    frames, mask = jnp.ones((1, 6, 4)), jnp.ones((1, 6), bool)
    with pytest.raises(ValueError, match=message):
        spec_augment.spec_augment(frames, mask, jax.random.key(0), Augment()._replace(**number))
