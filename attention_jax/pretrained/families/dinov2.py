"""DINOv2: a ViT with a gain of each sub-layer, perhaps gated.

Its answer is read at the class token and at the mean of the patches. Reference: Oquab et al. 2023,
arXiv:2304.07193; names: `transformers`, `Dinov2Model` and `Dinov2ForImageClassification`.
"""

from attention_jax.pretrained.families import vit
from attention_jax.pretrained.families._parts import linear, norm, refused
from attention_jax.pretrained.families._vision import (
    BATCHED,
    HEADED,
    IMAGENET,
    VisionConfig,
    config_of,
    described_of,
    rules_of,
)
from attention_jax.pretrained.types import TRANSPOSED, Described, Rule, Settings


def config(settings: Settings) -> VisionConfig:
    """Our configuration of a config.json."""
    found = config_of(settings, pixels=IMAGENET)
    own, gated = found.transformer, settings.get("use_swiglu_ffn", False)
    hidden = int(own.width * settings.get("mlp_ratio", 4))
    own = own._replace(
        feed_forward=_gated(hidden) if gated else hidden,
        norm_epsilon=settings.get("layer_norm_eps", 1e-6),
        layer_scale=settings.get("layerscale_value", 1.0),
    )
    own = own._replace(activation="swiglu") if gated else own
    return found._replace(transformer=own, pooling="both")


def _gated(hidden: int) -> int:
    """Hidden units of a gated layer that has as many numbers: a multiple of 8."""
    return -(-int(hidden * 2 / 3) // 8) * 8


def _ratio(hidden: int, width: int, *, gated: bool) -> int | None:
    """The multiple of the width that gives these hidden units; None where there is none."""
    units = _gated if gated else int
    return next((n for n in range(1, 2 * hidden + 1) if units(n * width) == hidden), None)


def described(config: VisionConfig) -> Described:
    """The config.json of our configuration.

    Raises:
      ValueError: no DINOv2 is so.
    """
    refused(config, "dinov2", registers=0)
    kinds = [f"Dinov2{HEADED if config.head else 'Model'}"]
    return described_as(config, "dinov2") | {"architectures": kinds, "use_mask_token": False}


def described_as(config: VisionConfig, name: str) -> Described:
    """The config.json of both kinds, without registers and with them."""
    own = config.transformer
    refused(config, name, pooling="both", places="each")
    found = described_of(config, name)
    gated = own.activation == "swiglu"
    ratio = _ratio(own.feed_forward, own.width, gated=gated)
    if ratio is None or own.layer_scale is None:
        raise ValueError(
            "`feed_forward` must be a whole multiple of the width, two thirds of one where it is "
            f"gated, and `layer_scale` a number, to be written as {name}; got {own.feed_forward} "
            f"and {own.layer_scale}. Write it as vit."
        )
    more = {"mlp_ratio": ratio, "use_swiglu_ffn": gated, "layerscale_value": own.layer_scale}
    return found | more


def rules(config: VisionConfig) -> list[Rule]:
    """The table of names."""
    found = rules_of(config)
    if config.registers:
        found.append(Rule("embeddings.register_tokens", "registers", BATCHED))
    if config.head:
        found += linear("classifier", "head")
    for n in range(config.transformer.layers):
        theirs, ours = f"encoder.layer.{n}", f"encoder/layers/{n}"
        found += [
            *norm(f"{theirs}.norm1", f"{ours}/around_attention/norm"),
            *norm(f"{theirs}.norm2", f"{ours}/around_feed_forward/norm"),
            Rule(f"{theirs}.layer_scale1.lambda1", f"{ours}/around_attention/gains"),
            Rule(f"{theirs}.layer_scale2.lambda1", f"{ours}/around_feed_forward/gains"),
            *_feed_forward(f"{theirs}.mlp", f"{ours}/feed_forward", config),
        ]
    return found


def _feed_forward(theirs: str, ours: str, config: VisionConfig) -> list[Rule]:
    if config.transformer.activation != "swiglu":
        return linear(f"{theirs}.fc1", f"{ours}/up") + linear(f"{theirs}.fc2", f"{ours}/down")
    kernels, biases = ((f"{ours}/gate/{x}", f"{ours}/up/{x}") for x in ("kernel", "bias"))
    return [
        Rule(f"{theirs}.weights_in.weight", kernels, TRANSPOSED),
        Rule(f"{theirs}.weights_in.bias", biases),
        *linear(f"{theirs}.weights_out", f"{ours}/down"),
    ]


FAMILY = vit.FAMILY._replace(
    name="dinov2",
    model_types=("dinov2",),
    config=config,
    rules=rules,
    described=described,
    prefix="dinov2.",
    ignored=(r"embeddings\.mask_token",),
)
