"""The page that plays recordings, in a browser: cursor, tokens and maps share one axis of time."""

import numpy as np
import pytest

from attention_jax.analysis.attention_maps import Map
from attention_jax.analysis.pages.live import parts, recordings
from attention_jax.analysis.plots import speech_alignment
from attention_jax.data.audio import wav
from tests.support.browser import PROGRAM
from tests.support.live_page import UNSAID, check_alone, open_anew, phone, settled, speak, text

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no Chromium or Chrome is installed")
RATE, MOMENTS, SECONDS = 8000, 10, 0.95  # the last position is cut in half
TOKENS = ("c", "a", "b", "<eos>")
PLACES = (2, 7, 4, 9)  # where each token listens most
SHOWN = parts.Shown("tones", "transformer, attention scaled_dot", [("speech", "")])


def map_of(weights):
    zeros = np.zeros(weights.shape[:2])
    return Map(weights.astype(np.float32), zeros, zeros, np.ones(weights.shape[:2], bool))


def recording(name, maps):
    own = np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE).astype(np.float32) / 2
    frames = np.random.default_rng(0).normal(size=(95, 40)).astype(np.float32)
    return recordings.Recording(
        name=name,
        wav=wav.write(own, rate=RATE),
        png=speech_alignment.spectrogram(frames),
        seconds=SECONDS,
        step=0.1,
        source=[f"{j / 10:.2f} s" for j in range(MOMENTS)],
        target=TOKENS if "cross" in maps else (),
        text="cab",
        maps=maps,
        truth="cab",
    )


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    cross = np.full((1, 2, len(TOKENS), MOMENTS), 0.02)
    for token, place in enumerate(PLACES):
        cross[:, :, token, place] = 0.82
    encoder = np.roll(np.eye(MOMENTS), 3, axis=1)[None, None]  # each moment looks 0.3 s ahead
    found = [
        recording("one.wav", {"cross": map_of(cross)}),
        recording("two.wav", {"encoder": map_of(encoder)}),
    ]
    file = tmp_path_factory.mktemp("page") / "recordings.html"
    file.write_text(recordings.page(SHOWN, found), encoding="utf-8")
    return file.as_uri()


@pytest.fixture
def page(browser, address):
    """The page as it opens, which asks for itself alone and says no error."""
    open_anew(browser, address)
    yield browser
    check_alone(browser, address)


def at(page, seconds):
    """Puts the sound there, and waits until it is."""
    sound = "document.getElementById('sound')"
    page.wait(f"{sound}.readyState >= 2")
    page.evaluate(f"{sound}.currentTime = {seconds}")
    page.wait(f"!{sound}.seeking")


def test_tokens_follow_the_sound_and_it_follows_them(page):
    assert page.evaluate(text("recorded")).startswith("Recorded only: a model of speech does not")
    assert page.evaluate(text("heard")) == "cab"
    for token, place in zip(TOKENS, PLACES, strict=True):
        at(page, (place + 0.5) * 0.1)
        said = f"{(place + 0.5) * 0.1:.2f} s: “{token}” listens most, with 82 %."
        page.wait(f"{text('moment')} == {said!r}")
        assert page.evaluate("document.querySelector('#tokens-heard .now').textContent") == token
    # The cursor stands over its moment: the image lasts 0.95 s.
    at(page, 0.475)
    page.wait("Math.abs(parseFloat(document.getElementById('cursor').style.left) - 50) < .1")
    settled(
        page, lambda: page.evaluate("document.querySelectorAll('#tokens-heard button')[1].click()")
    )
    assert page.evaluate("document.getElementById('sound').currentTime") == pytest.approx(0.75)


@pytest.mark.slow
def test_the_cursor_moves_as_the_sound_plays(page):
    sound = "document.getElementById('sound')"
    # Browsers play what a person asked for.
    play = f"{sound}.muted = true; {sound}.play()"
    page.send("Runtime.evaluate", expression=play, awaitPromise=True, userGesture=True)
    page.wait("parseFloat(document.getElementById('cursor').style.left) > 60")
    page.wait(f"{sound}.ended")


@pytest.mark.slow
def test_a_model_without_decoder_shows_what_each_moment_looks_at(page):
    choose = """(() => { const own = document.getElementById('recording'); own.value = 1;
      own.dispatchEvent(new Event('change')); })()"""
    settled(page, lambda: page.evaluate(choose))
    assert page.evaluate("document.getElementById('tokens-heard').hidden")
    at(page, 0.45)
    page.wait(f"{text('moment')} == '0.45 s: this moment looks most at 0.75 s.'")


@pytest.mark.slow
def test_it_speaks_spanish_and_fits_a_phone(page):
    speak(page, "es")
    assert page.evaluate("document.title") == "La atención en el habla, con sonido"
    assert page.evaluate(UNSAID) == 0
    with phone(page):
        assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_page_needs_a_recording():
    with pytest.raises(ValueError, match="must hold at least one"):
        recordings.page(SHOWN, [])


def test_maps_within_a_long_recording_are_left_out():
    own = np.zeros((1, 1, 200, 200))
    maps = {"encoder": map_of(own), "cross": map_of(own[:, :, :4])}
    long = recording("long.wav", maps)._replace(source=["0.00 s"] * 200)
    assert set(recordings._shown(long)) == {"cross"}
    assert set(recordings._shown(long._replace(maps={"encoder": maps["encoder"]}))) == {"encoder"}
