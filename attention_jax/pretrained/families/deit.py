"""DeiT: a ViT with a second token, at which another answer is learned of a teacher.

Reference: Touvron et al. 2021, arXiv:2012.12877; names: `transformers`, `DeiTModel`,
`DeiTForImageClassification` and `DeiTForImageClassificationWithTeacher`.
"""

from attention_jax.pretrained.families import vit
from attention_jax.pretrained.families._parts import linear
from attention_jax.pretrained.families._vision import (
    BATCHED,
    HEADED,
    IMAGENET,
    VisionConfig,
    rules_of,
)
from attention_jax.pretrained.types import Described, Rule, Settings

TAUGHT = f"DeiT{HEADED}WithTeacher"


def config(settings: Settings) -> VisionConfig:
    """Our configuration of a config.json."""
    taught = TAUGHT in settings.get("architectures", ())
    pooling = "distilled" if taught else "token"
    found = vit.config(settings, pixels=IMAGENET)
    return found._replace(pooling=pooling, registers=1, places="all")


def described(config: VisionConfig) -> Described:
    """The config.json of our configuration.

    Raises:
      ValueError: no DeiT is so.
    """
    kind = TAUGHT if config.pooling == "distilled" else f"DeiT{HEADED}"
    kinds = [kind if config.head else "DeiTModel"]
    return vit.described(config, family="deit") | {"architectures": kinds}


def rules(config: VisionConfig) -> list[Rule]:
    """The table of names."""
    found = [*rules_of(config), *vit.layers(config)]
    found.append(Rule("embeddings.distillation_token", "registers", BATCHED))
    if config.head and config.pooling == "distilled":
        found += linear("cls_classifier", "head")
        found += linear("distillation_classifier", "other_head")
    elif config.head:
        found += linear("classifier", "head")
    return found


FAMILY = vit.FAMILY._replace(
    name="deit",
    model_types=("deit",),
    config=config,
    rules=rules,
    described=described,
    prefix="deit.",
    bare=tuple(
        f"{head}.{part}"
        for head in ("classifier", "cls_classifier", "distillation_classifier")
        for part in ("weight", "bias")
    ),
)
