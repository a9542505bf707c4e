"""Configuration of an encoder of texts, and the model that it is read with."""

from typing import Literal, NamedTuple

from attention_jax.decoding.embed import TextReader
from attention_jax.models.text_encoder import POOLINGS
from attention_jax.pretrained.loading import Pretrained
from experiments.common import flags
from experiments.common.experiment import Run
from experiments.common.pretrained_runs import with_tokenizer

_POOLING = "1_Pooling/config.json"
# What the file beside the weights says of poolings, and ours.
_POOLINGS = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "first"}
_ONE = "pooling_mode"
_OWN = {"mean": "mean", "cls": "first"}


class EncodersConfig(NamedTuple):
    """Questions to an encoder of texts.

    Attributes:
      attention: attention of its layers.
      answer: embeddings: a line of JSON for each text, with its vector; similarities: for each text
        the cosines of the angles between its vector and those of all texts; words: each text with
        the most probable words in place of its masks, [MASK] or <mask>. Default: words of a model
        that was trained to guess them, where a text has a mask; else embeddings.
      pooling: a text's vector is the mean of the states of its tokens, the first state, or that
        mapped once more by the pooler. Default: that which 1_Pooling/config.json beside the weights
        says; mean, where there is none.
    """

    attention: str = "scaled_dot"
    answer: Literal["embeddings", "similarities", "words"] | None = None
    pooling: Literal["mean", "first", "pooler"] | None = None


def adopt(loaded: Pretrained, run: Run) -> Run:
    """The run of a model, which pools as the files beside its weights say.

    Raises:
      ValueError: it has no tokenizer, or pools as none here does.
    """
    said = loaded.beside.get(_POOLING, {})
    found = [ours for theirs, ours in _POOLINGS.items() if said.get(theirs)]
    if _ONE in said:
        found = [_OWN[said[_ONE]]] if said[_ONE] in _OWN else []
    if said and len(found) != 1:
        raise ValueError(
            f"{_POOLING} of {run.folder} must say one pooling, of the mean or the first token; it "
            f"says {found or 'another'}. `attention_jax.pretrained.load` gives the states."
        )
    config = flags.replace(run.config, pooling=found[0] if found else None)
    return with_tokenizer(loaded, run._replace(config=config))


def reader(run: Run) -> TextReader:
    """A reader of texts with the model of a run.

    Raises:
      ValueError: the model has no such pooling.
    """
    assert run.pretrained is not None  # no other run is of an encoder
    pooling, own = run.config.pooling or POOLINGS[0], run.pretrained.config
    if pooling == "pooler" and not own.pooler:
        raise ValueError(
            f"`--pooling` must be mean or first, for {run.folder} has no pooler; got pooler. Use "
            "one of the two."
        )
    longest = own.transformer.max_length
    return TextReader(run.graphdef, run.tokenizer, longest=longest, pooling=pooling)
