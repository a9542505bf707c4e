"""The benchmark of training: cases learn, and rows hold what was measured."""

import types

import numpy as np
import pytest

from experiments.benchmark import training
from experiments.benchmark.training_cases import MAKERS, Sizes

SIZES = Sizes(vocabulary=12, sentences=4, length=5, dropout=0.0)
ALONE = training.Settings(peers=(), repeats=2, limit=False)


def test_sentences_are_full_rows():
    batch = MAKERS["transformer_tiny"](SIZES).batch
    assert batch.source.shape == batch.target_in.shape == (4, 5)
    assert batch.source_mask.all() and (batch.weights > 0).all()
    assert batch.source.max() < 12


@pytest.mark.parametrize("name", MAKERS)
def test_every_case_can_be_told_from_the_others(name):
    case = MAKERS[name](SIZES)
    settings = training.settings_of(case)
    assert settings["model"] == case.name == name
    assert settings["batch"] and case.training.optimizer in ("adam", "adamw")


def test_sizes_are_those_of_the_presets():
    small, medium = (MAKERS[f"nanogpt_{size}"](SIZES) for size in ("small", "medium"))
    assert small.network[:4] == (65, 128, 4, 4) and small.batch.tokens.shape == (12, 64)
    assert medium.network[:4] == (65, 384, 6, 6) and medium.batch.tokens.shape == (16, 256)
    vit, speech = MAKERS["vit"](SIZES), MAKERS["speech"](SIZES)
    assert vit.batch.images.shape == (128, 28, 28, 1) and vit.training.optimizer == "adamw"
    assert (speech.network.layers, speech.encoder_layers) == (1, 4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["transformer_tiny", "gru_additive", "lstm_plain"])
def test_a_step_of_ours_learns(name):
    ours = training.our_step(MAKERS[name](SIZES))
    losses = [ours.step() for _ in range(8)]
    assert losses[-1] < losses[0] and ours.temporary_bytes > 0


@pytest.fixture
def quick(monkeypatch):
    """Steps of ours that compute nothing."""
    ours = training.Ours(lambda: 0.0, 10, 2.0, lambda: None, None)
    monkeypatch.setattr(training, "our_step", lambda case: ours)
    return MAKERS["lstm_plain"](SIZES)


@pytest.mark.slow
def test_a_peer_that_fails_says_so(quick):
    def training_step(case, *, compiled):
        def step():
            if compiled:
                raise RuntimeError("no compiler\nin two lines")

        return step

    peers = types.SimpleNamespace(training_step=training_step)
    row = training.measure(quick, ALONE._replace(peers=training.PEERS), peers)
    assert set(row.ratio) == {"torch"} and row.temporary_bytes == 10
    assert row.not_measured["torch_compile"].startswith("not available: RuntimeError: no compiler")
    assert row.facts["compile_seconds"] == 2.0 and row.repeats == 2
    assert "no compiler" not in training.line(row) and "lstm_plain" in training.line(row)


def test_without_torch_ours_is_measured_alone(quick):
    row = training.measure(quick, ALONE._replace(peers=("torch",)), None)
    assert row.ratio == {} and row.ours_ms > 0
    assert row.not_measured == {
        "torch": "not available: ImportError: torch is not installed: the extra `peers`"
    }


def test_the_limit_is_that_of_the_products(quick, monkeypatch):
    found = training.products.Limit(0.004, 8e6, 3, 2, True)
    monkeypatch.setattr(training.products, "limit", lambda *args: found)
    row = training.measure(quick, ALONE, None)._replace(ours_ms=10.0)
    row = training.with_limit(row, quick, training.our_step(quick))
    assert row.flops == 8e6
    assert row.facts["limit_ms"] == pytest.approx(4.0)
    assert row.facts["share_of_limit"] == pytest.approx(0.4)
    assert (row.facts["products"], row.facts["distinct_products"]) == (3, 2)


def test_random_images_are_between_zero_and_one():
    images = MAKERS["vit"](SIZES).batch.images
    assert images.min() >= 0 and images.max() <= 1 and images.dtype == np.float32
