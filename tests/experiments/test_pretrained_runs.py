"""Models of other libraries from the command line."""

import pytest

from attention_jax.decoding import DecodingConfig, TextGenerator
from experiments.common.experiment import PredictFlags
from experiments.common.pretrained_runs import load_pretrained, one_source
from experiments.common.served import Prompt
from experiments.predict import PredictConfig
from experiments.serve import answers
from experiments.serve.config import ServeConfig
from tests.support import pretrained_folders


@pytest.fixture
def folder(tmp_path):
    pytest.importorskip("safetensors", reason="safetensors is not installed")
    return pretrained_folders.gpt2(tmp_path)


def test_a_language_model_goes_on_with_a_text(folder):
    arguments = ["--characters=5", "--nosample", "--nostop_at_end", f"--pretrained={folder}"]
    run = load_pretrained(folder, arguments, member="predict", beside=(PredictConfig(),))
    (text,) = run.experiment.predict(run, PredictFlags(text="ab"))
    assert text.startswith("ab") and len(text) == 7
    assert run.config.data.context == 24


def test_a_language_model_is_served(folder):
    """Its texts are those of the generator, which ends them where the model does."""
    arguments = ["--nosample", "--characters=9", f"--pretrained={folder}"]
    run = load_pretrained(folder, arguments, member="serve", beside=(ServeConfig(),))
    served = run.experiment.serve(run, 2)
    assert answers.endpoints(served) == ("generate",) and served.written == 9
    prompts = ["ab", "c", "abd abc"]
    search = DecodingConfig("greedy")
    write = TextGenerator(run.graphdef, run.tokenizer, search, context=24, stop_at_end=True)
    found = served.generate([Prompt(text) for text in prompts], 9)
    assert found == [write(run.params, text, 9) for text in prompts]


def test_what_cannot_be_used_is_told_in_one_line(folder):
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ValueError, match="must hold a tokenizer"):
        load_pretrained(folder, [], member="predict")
    for pair in ((None, None), ("runs/a", "b")):
        with pytest.raises(ValueError, match="Give one of the two"):
            one_source(*pair)


@pytest.mark.parametrize("flag", ["--width=64", "--attention=dot", "--steps=9"])
def test_flags_that_make_a_model_are_refused(folder, flag):
    with pytest.raises(ValueError, match=f"{flag}. Leave it out"):
        load_pretrained(folder, ["--nosample", flag], member="predict")
