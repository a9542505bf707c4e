"""Folders of small random models, as other libraries keep theirs."""

from pathlib import Path

from flax import nnx

from attention_jax import pretrained
from attention_jax.data.tokenizer import Tokenizer
from attention_jax.models.language import TransformerLM
from attention_jax.nn.transformer import TransformerConfig
from attention_jax.pretrained import families
from attention_jax.pretrained.loading import Pretrained
from attention_jax.pretrained.types import Special
from attention_jax.pretrained.vocabulary import order_with


def gpt2(folder: Path) -> Path:
    """A GPT-2 of the letters of "abc abd" with its tokenizer, as `save` writes it."""
    Tokenizer.learn(["abc abd"], kind="character").save(folder / "own.json")
    words = Tokenizer.from_file(folder / "own.json")
    own = {"layers": 1, "heads": 2, "feed_forward": 8, "positions": "learned", "max_length": 24}
    own |= {"embedding_scale": 1.0, "activation": "gelu_tanh"}
    config = TransformerConfig(words.size, 8, **own)
    graphdef, state = nnx.split(TransformerLM(config, rngs=nnx.Rngs(0)))
    order = order_with(words.theirs, Special(), words.size)
    made = Pretrained(families.get("gpt2"), config, graphdef, nnx.as_pure(state), words, order, {})
    pretrained.save(made, folder / "model")
    return folder / "model"
