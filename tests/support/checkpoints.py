"""Checkpoints for tests: small random ones of peers, and of models of our own."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from flax import nnx

from attention_jax import pretrained
from attention_jax.data.tokenizer import Tokenizer
from attention_jax.nn.transformer import TransformerConfig
from attention_jax.pretrained import families
from attention_jax.pretrained.loading import Pretrained
from attention_jax.pretrained.types import Special
from attention_jax.pretrained.vocabulary import order_of, order_with


def torch():
    """The library, whose random numbers begin anew."""
    own = pytest.importorskip("torch", reason="torch is not installed: the peer of this test")
    own.manual_seed(0)
    return own


def transformers():
    torch()
    reason = "transformers is not installed: the peer of this test"
    return pytest.importorskip("transformers", reason=reason)


def shaken(model, folder: Path):
    """A peer's model with weights far from their first values, biases and gains too, written."""
    own = torch()
    random = own.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.data += 0.2 * own.randn(parameter.shape, generator=random)
    model.eval().save_pretrained(folder)
    return model


def own_ids(order, theirs):
    """Our ids of theirs, of tokens that are not special; padding stays."""
    found = {other: i for i, other in enumerate(order.theirs) if other is not None and i > 3}
    found |= {other: i for i, other in enumerate(order.theirs[:4]) if other is not None}
    return np.vectorize(found.get)(np.asarray(theirs))


def written(name: str, config, model: nnx.Module, folder: Path, *, special=None) -> Pretrained:
    """A model of our own, written as one of a family; special tokens stand first there too."""
    family = families.get(name)
    graphdef, state = nnx.split(model)
    order = None
    if family.has_tokens:
        order = order_of(special or Special(*range(4)), config.vocabulary_size)
    made = Pretrained(family, config, graphdef, nnx.as_pure(state), None, order, {})
    pretrained.save(made, folder)
    return made


def small(
    name: str, config, texts, folder: Path, *, kind: str = "character", more: Sequence[str] = ()
) -> Pretrained:
    """A random model of a family with a tokenizer of texts, written to `folder / "model"`.

    Args:
      config: `(number of tokens) -> ` its configuration.
      more: special tokens of the tokenizer beside the usual ones.
    """
    pytest.importorskip("safetensors", reason="safetensors is not installed")
    Tokenizer.learn(texts, kind=kind).save(folder / "own.json")
    if more:
        whole = json.loads((folder / "own.json").read_text())
        first, kind_of = len(whole["model"]["vocab"]), whole["added_tokens"][0]
        for n, token in enumerate(more):
            whole["added_tokens"].append(kind_of | {"id": first + n, "content": token})
        (folder / "own.json").write_text(json.dumps(whole))
    words, family = Tokenizer.from_file(folder / "own.json"), families.get(name)
    own = config(words.size)
    graphdef, state = nnx.split(family.build(own, nnx.Rngs(0)))
    order = order_with(words.theirs, Special(), words.size)
    made = Pretrained(family, own, graphdef, nnx.as_pure(state), words, order, {})
    pretrained.save(made, folder / "model")
    return made


def gpt2(size: int) -> TransformerConfig:
    """A small GPT-2 of so many tokens."""
    own = {"layers": 1, "heads": 2, "feed_forward": 8, "positions": "learned", "max_length": 24}
    own |= {"embedding_scale": 1.0, "activation": "gelu_tanh"}
    return TransformerConfig(size, 8, **own)


def renamed(folder: Path, older: dict[str, str]) -> None:
    """Gives the tensors of a folder other names."""
    from safetensors.numpy import load_file, save_file

    path, found = folder / "model.safetensors", {}
    for name, tensor in load_file(path).items():
        for own, other in older.items():
            name = name.replace(own, other)
        found[name] = tensor
    save_file(found, path)
