"""Models of other libraries from the command line."""

import pytest
from flax import nnx

from attention_jax import pretrained
from attention_jax.data.tokenizer import Tokenizer
from attention_jax.models.language import TransformerLM
from attention_jax.nn.transformer import TransformerConfig
from attention_jax.pretrained import families
from attention_jax.pretrained.loading import Pretrained
from attention_jax.pretrained.types import Special
from attention_jax.pretrained.vocabulary import order_with
from experiments.common.experiment import PredictFlags
from experiments.common.pretrained_runs import load_pretrained, one_source
from experiments.predict import PredictConfig


@pytest.fixture
def folder(tmp_path):
    """A small random GPT-2 with a tokenizer, as `save` writes it."""
    pytest.importorskip("safetensors", reason="safetensors is not installed")
    Tokenizer.learn(["abc abd"], kind="character").save(tmp_path / "own.json")
    words = Tokenizer.from_file(tmp_path / "own.json")
    own = {"layers": 1, "heads": 2, "feed_forward": 8, "positions": "learned", "max_length": 24}
    own |= {"embedding_scale": 1.0, "activation": "gelu_tanh"}
    config = TransformerConfig(words.size, 8, **own)
    graphdef, state = nnx.split(TransformerLM(config, rngs=nnx.Rngs(0)))
    order = order_with(words.theirs, Special(), words.size)
    made = Pretrained(families.get("gpt2"), config, graphdef, nnx.as_pure(state), words, order, {})
    pretrained.save(made, tmp_path / "model")
    return tmp_path / "model"


def test_a_language_model_goes_on_with_a_text(folder):
    arguments = ["--characters=5", "--nosample", f"--pretrained={folder}"]
    run = load_pretrained(folder, arguments, member="predict", beside=(PredictConfig(),))
    (text,) = run.experiment.predict(run, PredictFlags(text="ab"))
    assert text.startswith("ab") and len(text) == 7
    assert run.config.data.context == 24


def test_what_cannot_be_used_is_told_in_one_line(folder):
    with pytest.raises(ValueError, match=r"`--pretrained` must name a model that this command"):
        load_pretrained(folder, [], member="page")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ValueError, match="must hold a tokenizer"):
        load_pretrained(folder, [], member="predict")
    for pair in ((None, None), ("runs/a", "b")):
        with pytest.raises(ValueError, match="Give one of the two"):
            one_source(*pair)
