"""Outlines say all of a model but its tensors, through JSON and back."""

import json

import jax
import pytest
from flax import nnx

from attention_jax import pretrained
from attention_jax.pretrained import families
from attention_jax.pretrained.outline import outline, restored
from attention_jax.pretrained.types import Settings
from tests.support.checkpoints import gpt2, small, written


def t5(*, tied):
    """Its config.json does not say where its head is: the tensors do."""
    said = {"vocab_size": 13, "d_model": 8, "d_kv": 4, "d_ff": 12, "num_layers": 1, "num_heads": 2}
    tensors = () if tied else ("lm_head.weight",)
    return families.get("t5").config(Settings(said, tensors=tensors))


def check(folder):
    found, loaded = outline(folder), pretrained.load(folder)
    again = restored(json.loads(json.dumps(found.described())), found.tokenizer)
    for own in (found, again):
        assert own.network == loaded.config and own.order == loaded.order
        assert nnx.graphdef(nnx.eval_shape(lambda own=own: own.build(jax.random.key(0)))) == (
            loaded.graphdef
        )
    assert again.family is loaded.family and again.settings.values == loaded.settings
    return loaded


def test_an_outline_is_that_of_the_model_that_is_loaded(tmp_path):
    small("gpt2", gpt2, ["abc abd"], tmp_path)
    assert check(tmp_path / "model").tokenizer is not None


@pytest.mark.slow
@pytest.mark.parametrize("tied", [True, False])
def test_what_tensors_alone_say_is_kept(tied, tmp_path):
    pytest.importorskip("safetensors", reason="safetensors is not installed")
    config = t5(tied=tied)
    written("t5", config, families.get("t5").build(config, nnx.Rngs(0)), tmp_path / "model")
    assert check(tmp_path / "model").config.decoder.tied == tied
