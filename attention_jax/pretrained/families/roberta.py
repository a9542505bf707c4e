"""RoBERTa and XLM-RoBERTa: BERT, whose positions are counted from the id of padding on.

Reference: Liu et al. 2019, arXiv:1907.11692; names: `transformers`, `RobertaModel` and
`RobertaForMaskedLM`. Of heads above it that of masked tokens alone is read.
"""

import numpy as np

from attention_jax.models.text_encoder import TextEncoderConfig
from attention_jax.pretrained.families import bert
from attention_jax.pretrained.families._parts import linear, norm, refused
from attention_jax.pretrained.types import Described, Form, Rule, Settings, Special

_HEAD = "lm_head"
_PADDING = 1  # id of padding in all such models; the first position is the one after it


def config(settings: Settings) -> TextEncoderConfig:
    """Our configuration of a config.json."""
    settings.refuse("pad_token_id", (_PADDING,))
    found = bert.config(settings)
    own = found.transformer
    own = own._replace(max_length=settings.get("max_position_embeddings", 512) - _PADDING - 1)
    kinds = settings.get("architectures", ())
    words = f"{_HEAD}.dense.weight" in settings.tensors
    if words:
        settings.refuse("tie_word_embeddings", (True,))
        settings.refuse("hidden_act", ("gelu",))  # which the head has, whatever the layers have
    pooler = not any(kind.endswith(_WITHOUT_POOLER) for kind in kinds)
    return found._replace(transformer=own, pooler=pooler, words=words)


_WITHOUT_POOLER = ("ForMaskedLM", "ForTokenClassification", "ForQuestionAnswering")


def described(config: TextEncoderConfig) -> Described:
    """The config.json of our configuration.

    Raises:
      ValueError: no RoBERTa is so.
    """
    if config.words:
        refused(config, "roberta", pooler=False)
        refused(config.transformer, "roberta", activation="gelu")
    return bert.described_as(config, "roberta") | {
        "architectures": ["RobertaModel" if config.pooler else "RobertaForMaskedLM"],
        "max_position_embeddings": config.transformer.max_length + _PADDING + 1,
        "pad_token_id": _PADDING,
    }


def rules(config: TextEncoderConfig) -> list[Rule]:
    """The table of names."""
    found = bert.body(config, positions=_AFTER_PADDING)
    if config.words:
        found += [
            *linear(f"{_HEAD}.dense", "words/dense"),
            *norm(f"{_HEAD}.layer_norm", "words/norm"),
            Rule(f"{_HEAD}.bias", "words/bias"),
        ]
    return found


_AFTER_PADDING = Form(
    lambda x: x[_PADDING + 1 :],
    lambda x: np.concatenate([np.zeros_like(x[:1]).repeat(_PADDING + 1, axis=0), x]),
)


def special(settings: Settings) -> Special:
    """Padding, and what a config.json says of both ends of a text."""
    begin, end = settings.get("bos_token_id", 0), settings.get("eos_token_id", 2)
    return Special(settings.get("pad_token_id", _PADDING), begin, end)


FAMILY = bert.FAMILY._replace(
    name="roberta",
    model_types=("roberta", "xlm-roberta"),
    config=config,
    rules=rules,
    special=special,
    described=described,
    prefix="roberta.",
    bare=tuple(
        f"{_HEAD}.{name}"
        for name in (
            "bias",
            *(f"{x}.{y}" for x in ("dense", "layer_norm") for y in ("weight", "bias")),
        )
    ),
    ignored=(r"embeddings\.position_ids", r"pooler\..*", r"lm_head\.decoder\..*"),
    older=(),
)
