"""Live pages of runs of images and of speech, made of models that nobody has trained."""

import base64
import io
import json
import re
import wave

import jax
import numpy as np
import pytest
from flax import nnx

import experiments.images
import experiments.speech
from experiments.common import flags
from experiments.common.experiment import LivePage, PageFlags, Run

SMALL = {"width": 8, "heads": 2, "layers": 1}


def run_of(experiment, folder, **options):
    """A run with new parameters, and the data that it would have learned."""
    config = flags.replace(experiment.config, **{**SMALL, **options})
    data = experiment.load(config)
    known = experiment.learn(config, data, None)
    graph, params = nnx.split(experiment.build(config, known)(jax.random.key(0)))
    return Run(experiment, config, folder, known, graph, nnx.as_pure(params)), data


def data_of(page):
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    return json.loads(found[1])


@pytest.mark.slow
def test_a_page_of_images_holds_pictures_of_the_test_and_the_model(tmp_path):
    run, data = run_of(experiments.images.EXPERIMENT, tmp_path)
    page = data_of(run.experiment.page.live(LivePage(run, PageFlags(examples=3))))
    assert page["classes"] == list(data.classes) and page["reasons"] == []
    assert page["grid"] == {"rows": 4, "columns": 4, "tokens": 1, "registers": 0}
    assert page["model"]["pooling"] == {"kind": "token", "attention": None}
    assert len(page["pictures"]) == 3
    for one in page["pictures"]:
        n = one["number"] - 1
        pixels = np.frombuffer(base64.b64decode(one["pixels"]), np.uint8)
        np.testing.assert_array_equal(pixels, data.test.images[n].ravel())
        assert one["label"] == data.classes[data.test.labels[n]]
    with pytest.raises(ValueError, match="`--replay` with --live is of runs of experiments.transl"):
        run.experiment.page.live(LivePage(run, PageFlags(), replay=True))


@pytest.mark.slow
def test_an_rnn_that_reads_pictures_has_recorded_maps(tmp_path):
    run, _ = run_of(experiments.images.EXPERIMENT, tmp_path, model="rnn", attention="additive")
    page = data_of(run.experiment.page.live(LivePage(run, PageFlags(examples=2))))
    assert page["model"] is None and page["reasons"] == [["kind", "ImageRNN"]]
    for one in page["pictures"]:
        assert sum(one["reading"]["probabilities"]) == pytest.approx(1, abs=1e-3)
        (pooling,) = one["reading"]["maps"]["cross"]
        assert pooling["weights"]["shape"] == [1, 1, page["grid"]["rows"]]


@pytest.mark.slow
def test_a_page_of_speech_holds_the_sound_and_the_alignment(tmp_path):
    run, data = run_of(experiments.speech.EXPERIMENT, tmp_path)
    given = PageFlags(examples=2, alternatives=1)
    page = data_of(run.experiment.page.live(LivePage(run, given)))
    assert page["model"] is None and page["reasons"] == [["speech", ""]]
    first = next(iter(data.tests.values()))[0]
    one = page["recordings"][0]
    assert one["name"] == first.name and one["truth"] == first.transcript
    with wave.open(io.BytesIO(base64.b64decode(one["wav"]))) as opened:
        assert opened.getnframes() == first.length
        lasts = opened.getnframes() / opened.getframerate()
    # The last frame begins before the sound ends, and a position holds several frames.
    assert 0 < lasts - one["seconds"] < 0.05
    (layer,) = one["reading"]["maps"]["cross"]
    _, t, s = layer["weights"]["shape"]
    assert t == len(one["reading"]["target"]) and s == len(one["reading"]["source"])
    assert (s - 1) * one["step"] < one["seconds"] <= s * one["step"] + 1e-9
