"""ViT: norm first, a class token, a learned vector for each position.

Reference: Dosovitskiy et al. 2021, arXiv:2010.11929; names: `transformers`,
`ViTForImageClassification` and `ViTModel`, whose pooler is not read.
"""

from attention_jax.nn.patches import Pixels
from attention_jax.pretrained.families._parts import linear, norm
from attention_jax.pretrained.families._vision import (
    CENTERED,
    HEADED,
    VisionConfig,
    build,
    config_of,
    described_of,
    no_tokens,
    rules_of,
)
from attention_jax.pretrained.types import Described, Family, Rule, Settings


def config(settings: Settings, *, pixels: Pixels = CENTERED) -> VisionConfig:
    """Our configuration of a config.json."""
    found = config_of(settings, pixels=pixels)
    transformer = found.transformer._replace(
        feed_forward=settings.need("intermediate_size"),
        norm_epsilon=settings.get("layer_norm_eps", 1e-12),
    )
    return found._replace(transformer=transformer)


def described(config: VisionConfig, *, family: str = "vit") -> Described:
    """The config.json of our configuration.

    Raises:
      ValueError: no ViT is so.
    """
    found = described_of(config, family)
    # The two families that share this have neither gains nor gates.
    if config.transformer.layer_scale is not None or config.transformer.activation == "swiglu":
        raise ValueError(
            f"`layer_scale` must be None and `activation` plain to be written as {family}; got "
            f"{config.transformer.layer_scale} and {config.transformer.activation!r}. Write it as "
            "dinov2."
        )
    kind = f"ViT{HEADED}" if config.head else "ViTModel"
    more = {"architectures": [kind], "intermediate_size": config.transformer.feed_forward}
    return found | more


def rules(config: VisionConfig) -> list[Rule]:
    """The table of names."""
    found = rules_of(config)
    if config.head:
        found += linear("classifier", "head")
    return found + layers(config)


def layers(config: VisionConfig) -> list[Rule]:
    """The table of norms and feed-forward layers."""
    found = []
    for n in range(config.transformer.layers):
        theirs, ours = f"encoder.layer.{n}", f"encoder/layers/{n}"
        found += [
            *norm(f"{theirs}.layernorm_before", f"{ours}/around_attention/norm"),
            *norm(f"{theirs}.layernorm_after", f"{ours}/around_feed_forward/norm"),
            *linear(f"{theirs}.intermediate.dense", f"{ours}/feed_forward/up"),
            *linear(f"{theirs}.output.dense", f"{ours}/feed_forward/down"),
        ]
    return found


FAMILY = Family(
    name="vit",
    model_types=("vit",),
    config=config,
    build=build,
    rules=rules,
    special=no_tokens,
    described=described,
    prefix="vit.",
    bare=("classifier.weight", "classifier.bias"),
    ignored=(r"pooler\..*", r"embeddings\.mask_token"),
    writes_tokens=False,
    has_tokens=False,
)
