"""Runs of our own, written as models of other libraries, and read again."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attention_jax import pretrained
from attention_jax.core.rotary import Rotary
from attention_jax.core.sinusoids import Sinusoids
from attention_jax.data.tokenizer import Tokenizer
from attention_jax.data.types import EOS
from attention_jax.decoding.batched import DecodingConfig
from attention_jax.decoding.translate import Translator
from attention_jax.models.language import TransformerLM
from attention_jax.models.seq2seq_transformer import Seq2SeqTransformer
from attention_jax.nn.transformer import TransformerConfig
from experiments.common import as_pretrained
from experiments.common.experiment import Run, find
from tests.support import checkpoints

OWN = {"layers": 2, "heads": 2, "feed_forward": 8, "norm_epsilon": 1e-5}
MARIAN = OWN | {"norm": "post", "sinusoids": Sinusoids("halves"), "output_bias": True}
M2M = OWN | {"sinusoids": Sinusoids("halves", "tensor2tensor", 2)}
LLAMA = OWN | {"positions": "rope", "norm_kind": "rms", "activation": "swiglu", "biases": "none"}
LLAMA |= {"rotary": Rotary(layout="halves", rates="share"), "embedding_scale": 1.0}
CASES = {
    "marian": ("translation", Seq2SeqTransformer, MARIAN),
    "m2m_100": ("translation", Seq2SeqTransformer, M2M),
    "llama": ("language", TransformerLM, LLAMA),
}
WORDS = "the quick brown fox jumps"


@pytest.fixture(autouse=True)
def _safetensors():
    pytest.importorskip("safetensors", reason="safetensors is not installed")


def run_of(name, **changes):
    experiment, kind, own = CASES[name]
    words = Tokenizer.learn([WORDS], kind="character")
    config = TransformerConfig(words.size, 8, **own | changes)
    graphdef, state = nnx.split(kind(config, rngs=nnx.Rngs(0)))
    found = find(experiment)
    return Run(found, found.config, Path(), words, graphdef, nnx.as_pure(state))


def logits(model, ids):
    if hasattr(model, "logits"):
        return model.logits(ids)
    return model.decode(ids, model.encode(ids, jnp.ones(ids.shape, bool)))


@pytest.mark.parametrize("name", CASES)
def test_what_is_written_is_read_as_the_same_model(tmp_path, name):
    run = run_of(name)
    assert f"model.safetensors: {name}" in as_pretrained.write(run, tmp_path, None)
    loaded = pretrained.load(tmp_path)
    ids = jnp.asarray([run.tokenizer.encode("fox the")])
    assert loaded.tokenizer.encode("fox the") == ids[0].tolist()
    assert loaded.tokenizer.theirs[:4] == ((1, 0, 2, 3) if name == "m2m_100" else (0, 1, 2, 3))
    np.testing.assert_allclose(logits(loaded.model, ids), logits(run.model, ids), atol=1e-6)


PEERS = {
    "marian": "MarianMTModel",
    "m2m_100": "M2M100ForConditionalGeneration",
    "llama": "LlamaForCausalLM",
}


@pytest.mark.parametrize("name", PEERS)
def test_transformers_has_the_same_logits_and_tokens(tmp_path, name):
    transformers, torch = checkpoints.transformers(), checkpoints.torch()
    run = run_of(name)
    as_pretrained.write(run, tmp_path, name)
    words = transformers.AutoTokenizer.from_pretrained(tmp_path)
    ids = words("fox the", add_special_tokens=False)["input_ids"]
    order = as_pretrained.as_pretrained(run, name).order.theirs
    assert ids == [order[i] for i in run.tokenizer.encode("fox the")]
    model = getattr(transformers, PEERS[name]).from_pretrained(tmp_path).eval()
    more = {} if name == "llama" else {"decoder_input_ids": torch.tensor([ids])}
    with torch.no_grad():
        wanted = model(torch.tensor([ids]), **more).logits.numpy()[..., list(order)]
    got = logits(run.model, jnp.asarray([run.tokenizer.encode("fox the")]))
    np.testing.assert_allclose(got, wanted, atol=1e-5)


def test_ctranslate2_translates_as_we_do(tmp_path):
    """It begins with the token that config.json names, and hides none by itself."""
    transformers = checkpoints.transformers()
    ctranslate2 = pytest.importorskip("ctranslate2", reason="ctranslate2 is not installed")
    run, texts = run_of("m2m_100"), ["the fox", "quick brown", "jumps fox the"]
    as_pretrained.write(run, tmp_path / "written", "m2m_100")
    words = transformers.AutoTokenizer.from_pretrained(tmp_path / "written")
    converter = ctranslate2.converters.TransformersConverter(str(tmp_path / "written"))
    converter.convert(str(tmp_path / "converted"))
    theirs = ctranslate2.Translator(str(tmp_path / "converted"), device="cpu")
    sources = [[*words.tokenize(x), "<eos>"] for x in texts]
    hidden = [["<bos>"], ["<pad>"]]
    order = as_pretrained.as_pretrained(run, "m2m_100").order.theirs
    for method, beams in (("greedy", 1), ("beam", 3)):
        found = theirs.translate_batch(
            sources, beam_size=beams, max_decoding_length=12, suppress_sequences=hidden
        )
        search = DecodingConfig(method, beam_size=beams)
        ours = Translator(run.graphdef, run.tokenizer, search)(run.params, texts)
        for one, other in zip(found, ours, strict=True):
            tokens = [order[i] for i in other[0].tokens if i != EOS][:12]
            assert words.convert_tokens_to_ids(one.hypotheses[0]) == tokens


def test_what_no_family_has_words_for_is_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(
        ValueError, match=r"gpt2: `norm_kind`.*llama: `attention`.*gemma: "
    ) as caught:
        as_pretrained.write(run_of("llama", attention="alibi"), tmp_path, None)
    assert len(str(caught.value).splitlines()) == 1 and not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="`--family` must be one that a run of"):
        as_pretrained.write(run_of("llama"), tmp_path, "marian")
