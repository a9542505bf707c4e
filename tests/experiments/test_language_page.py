"""The page about runs of experiments.language: its tokens, weights and next tokens."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import visualize
from experiments.common import flags
from experiments.common.load_run import load_run
from tests.analysis.pages.test_explorer import data_of, weights_of
from tests.support.flag_world import untrained

TEXT = "the cat sat on the mat and the dog sat on the log. " * 12
SMALL = "--width=16 --heads=2 --layers=2 --feed_forward=16 --context=16"


def run_of(place, *options):
    text = place / "text.txt"
    text.write_text(TEXT, encoding="utf-8")
    folder = place / "run"
    untrained("language", [*SMALL.split(), *options, f"--text_file={text}", f"--run={folder}"])
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return run_of(tmp_path_factory.mktemp("language"))


def write(folder, *arguments, output="page.html"):
    asked = [f"--run={folder}", f"--output={folder / output}", *arguments]
    visualize.write_page(flags.parse(visualize.VisualizeConfig(), asked)[0], asked)
    return (folder / output).read_text(encoding="utf-8")


def test_the_page_has_the_text_its_next_tokens_and_weights_that_look_back(run):
    page = write(run, "--text=the cat", "--text=a dog", "--alternatives=3")
    data = data_of(page)
    assert data["of"] == "text" and [x["text"] for x in data["sentences"]] == ["the cat", "a dog"]
    (reading,) = data["sentences"][0]["readings"]
    assert "".join(reading["source"]).replace("▁", " ") == "the cat" and reading["target"] == []
    loaded = load_run(run, [])
    ids = loaded.tokenizer.encode("the cat")
    logs = np.asarray(jax.nn.log_softmax(loaded.model.logits(jnp.array([ids]))[0, -1]))
    best = sorted(range(len(logs)), key=lambda i: -logs[i])[:3]
    assert [x for _, x in reading["alternatives"]] == pytest.approx(logs[best].tolist(), abs=1e-3)
    weights = weights_of(reading["maps"]["decoder"])
    assert weights.shape == (2, 2, 7, 7)
    np.testing.assert_allclose(weights.sum(-1), 1, atol=0.02)
    assert not np.triu(weights, 1).any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "must hold a text to read; got none"),
        (["--text=the cat sat on the mat and"], "must have at most --context=16 characters; got"),
        (["--text=#"], "must hold tokens that the run knows; got '#'"),
        (["--text=the", "--examples=3"], "`--examples`"),
    ],
)
def test_what_cannot_be_read_is_refused(run, arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        write(run, *arguments)


def test_a_model_without_attention_has_no_page(tmp_path):
    folder = run_of(tmp_path, "--model=rnn", "--attention=none")
    with pytest.raises(ValueError, match="must be of a model with attention"):
        write(folder, "--text=the cat")
    assert not (folder / "page.html").exists()
