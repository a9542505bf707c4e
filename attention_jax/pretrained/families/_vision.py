"""Shared pieces of families of Vision Transformers: configuration, model, and table of names."""

from typing import NamedTuple

from flax import nnx

from attention_jax.models.image_transformer import VisionTransformer
from attention_jax.nn.patches import ImageConfig, Pixels
from attention_jax.nn.transformer import TransformerConfig
from attention_jax.pretrained.families._parts import ACTIVATIONS, linear, norm, refused, word
from attention_jax.pretrained.types import Described, Form, Rule, Settings, Special

HEADED = "ForImageClassification"
CENTERED = Pixels()
IMAGENET = Pixels((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
PROCESSOR = "preprocessor_config.json"


class VisionConfig(NamedTuple):
    """Sizes and choices of a pretrained Vision Transformer.

    Attributes:
      transformer, image, pooling, registers, places, head: as `VisionTransformer` takes them.
      pixels: how they are scaled.
    """

    transformer: TransformerConfig
    image: ImageConfig
    pooling: str = "token"
    registers: int = 0
    places: str = "each"
    head: bool = True
    pixels: Pixels = CENTERED


def build(config: VisionConfig, rngs: nnx.Rngs) -> VisionTransformer:
    """The model of a configuration."""
    how = {name: getattr(config, name) for name in ("pooling", "registers", "places", "head")}
    model = VisionTransformer(config.image, config.transformer, **how, rngs=rngs)
    model.pixels = config.pixels
    return model


def config_of(settings: Settings, *, pixels: Pixels) -> VisionConfig:
    """The configuration that all share; `pixels` where the folder says nothing of them."""
    settings.refuse("qkv_bias", (True,))
    head = any(HEADED in kind for kind in settings.get("architectures", ()))
    classes = settings.get("num_labels", len(settings.get("id2label", (0, 1))))
    transformer = TransformerConfig(
        classes if head else 1,
        settings.need("hidden_size"),
        layers=settings.need("num_hidden_layers"),
        heads=settings.need("num_attention_heads"),
        positions="learned",
        activation=settings.choose("hidden_act", ACTIVATIONS, "gelu"),
        dropout_rate=settings.get("hidden_dropout_prob", 0.0),
        attention_dropout_rate=settings.get("attention_probs_dropout_prob", 0.0),
    )
    side = settings.need("image_size")
    height, width = side if isinstance(side, list) else (side, side)
    channels = settings.get("num_channels", 3)
    image = ImageConfig(height, width, channels, settings.need("patch_size"))
    return VisionConfig(transformer, image, head=head, pixels=_pixels(settings, pixels))


def _pixels(settings: Settings, usual: Pixels) -> Pixels:
    found = settings.other(PROCESSOR)
    if found.get("do_normalize", True) is False:
        return Pixels((0.0,), (1.0,))
    mean, deviation = found.get("image_mean", usual.mean), found.get("image_std", usual.deviation)
    same = Pixels(tuple(mean), tuple(deviation))
    return Pixels() if set(same.mean) == {0.5} == set(same.deviation) else same


def described_of(config: VisionConfig, family: str) -> Described:
    """The config.json that all share, of our configuration.

    Raises:
      ValueError: none of the family is so.
    """
    own, image = config.transformer, config.image
    refused(own, family, norm="pre", norm_kind="layer", biases="all", positions="learned")
    refused(own, family, qk_norm=False, kv_heads=None, head_width=None, embedding_norm=False)
    refused(own, family, value_width=None, recurrence=None)
    refused(own, family, attention="scaled_dot")
    found = {
        "model_type": family,
        "hidden_size": own.width,
        "num_hidden_layers": own.layers,
        "num_attention_heads": own.heads,
        "layer_norm_eps": own.norm_epsilon,
        "hidden_dropout_prob": own.dropout_rate,
        "attention_probs_dropout_prob": own.attention_dropout_rate,
        "image_size": image.height if image.height == image.width else [image.height, image.width],
        "patch_size": image.patch,
        "num_channels": image.channels,
        "qkv_bias": True,
    }
    if own.activation != "swiglu":
        found["hidden_act"] = word(ACTIVATIONS, own.activation, "activation")
    return found | ({"num_labels": own.vocabulary_size} if config.head else {})


def rules_of(config: VisionConfig) -> list[Rule]:
    """The table of the embeddings, the last norm, and the maps of attention."""
    embeddings = "embeddings"
    found = [
        Rule(f"{embeddings}.cls_token", "token", VECTOR),
        Rule(f"{embeddings}.position_embeddings", "each", BATCHED),
        Rule(f"{embeddings}.patch_embeddings.projection.weight", "embed/kernel", _kernel(config)),
        Rule(f"{embeddings}.patch_embeddings.projection.bias", "embed/bias"),
        *norm("layernorm", "norm"),
    ]
    for n in range(config.transformer.layers):
        theirs, ours = f"encoder.layer.{n}.attention", f"encoder/layers/{n}/attention"
        for part in ("query", "key", "value"):
            found += linear(f"{theirs}.attention.{part}", f"{ours}/{part}")
        found += linear(f"{theirs}.output.dense", f"{ours}/out")
    return found


VECTOR = Form(lambda x: x[0, 0], lambda x: x[None, None])
BATCHED = Form(lambda x: x[0], lambda x: x[None])


def _kernel(config: VisionConfig) -> Form:
    """A convolution [m c y x] as a map of the pixels of a patch."""
    side, channels = config.image.patch, config.image.channels
    return Form(
        lambda x: x.transpose(2, 3, 1, 0).reshape(-1, x.shape[0]),
        lambda x: x.reshape(side, side, channels, -1).transpose(3, 2, 0, 1),
    )


def no_tokens(settings: Settings) -> Special:
    """Images have none."""
    del settings
    return Special()
