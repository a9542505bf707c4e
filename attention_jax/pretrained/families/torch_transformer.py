"""torch.nn.Transformer: the layers of an encoder-decoder, by a safetensors file of its state dict.

    settings = {"d_model": 64, "nhead": 4, "num_encoder_layers": 2, "num_decoder_layers": 2}
    loaded = load("model.safetensors", family="torch_transformer", settings=settings)

Settings are the arguments of its constructor, with its defaults. The decoder's positions see those
before them, as with `tgt_mask=Transformer.generate_square_subsequent_mask(t)`.
Reference: PyTorch's documentation of `torch.nn.Transformer`.
"""

from flax import nnx

from attention_jax.models.vector_transformer import VectorConfig, VectorTransformer
from attention_jax.nn.transformer import TransformerConfig
from attention_jax.pretrained.families._parts import linear, norm, refused
from attention_jax.pretrained.types import (
    TRANSPOSED,
    Described,
    Family,
    Rule,
    Settings,
    Special,
)

ACTIVATIONS = {"relu": "relu", "gelu": "gelu"}
ARGUMENTS = (
    *("model_type", "d_model", "nhead", "num_encoder_layers", "num_decoder_layers"),
    *("dim_feedforward", "dropout", "activation", "layer_norm_eps", "norm_first", "bias"),
)


def config(settings: Settings) -> VectorConfig:
    """Our configuration of the arguments of a constructor.

    Raises:
      ValueError: one is not known.
    """
    for name in settings.values:
        if name not in ARGUMENTS:
            raise ValueError(
                f"{settings.name} must be among {', '.join(ARGUMENTS[1:])}; got {name!r}. They "
                "are the arguments of torch.nn.Transformer."
            )
    norms = settings.choose("norm_first", {True: "pre", False: "post"}, False)
    rate = settings.get("dropout", 0.1)
    transformer = TransformerConfig(
        1,
        settings.get("d_model", 512),
        layers=settings.get("num_encoder_layers", 6),
        heads=settings.get("nhead", 8),
        feed_forward=settings.get("dim_feedforward", 2048),
        positions="none",
        norm=norms,
        activation=settings.choose("activation", ACTIVATIONS, "relu"),
        norm_epsilon=settings.get("layer_norm_eps", 1e-5),
        dropout_rate=rate,
        attention_dropout_rate=rate,
        biases=settings.choose("bias", {True: "all", False: "none"}, True),
    )
    return VectorConfig(transformer, settings.get("num_decoder_layers", 6))


def described(config: VectorConfig) -> Described:
    """The arguments of the constructor of our configuration.

    Raises:
      ValueError: no torch.nn.Transformer is so.
    """
    own, name = config.transformer, "torch_transformer"
    refused(own, name, norm_kind="layer", qk_norm=False, kv_heads=None, head_width=None)
    refused(own, name, value_width=None, recurrence=None, layer_scale=None, cross_attention=None)
    refused(own, name, attention="scaled_dot")
    for field, known in (("norm", ("pre", "post")), ("biases", ("all", "none"))):
        if getattr(own, field) not in known:
            refused(own, name, **{field: known[0]})
    if own.activation not in ACTIVATIONS:
        refused(own, name, activation="relu")
    return {
        "model_type": name,
        "d_model": own.width,
        "nhead": own.heads,
        "num_encoder_layers": own.layers,
        "num_decoder_layers": config.decoder.layers,
        "dim_feedforward": own.feed_forward,
        "dropout": own.dropout_rate,
        "activation": own.activation,
        "layer_norm_eps": own.norm_epsilon,
        "norm_first": own.norm == "pre",
        "bias": own.biases == "all",
    }


def rules(config: VectorConfig) -> list[Rule]:
    """The table of names."""
    bias, found = config.transformer.biases == "all", []
    for side, count in (("encoder", config.transformer.layers), ("decoder", config.decoder.layers)):
        found += norm(f"{side}.norm", f"{side}_norm", bias=bias)
        for n in range(count):
            theirs, ours = f"{side}.layers.{n}", f"{side}/layers/{n}"
            found += _attention(f"{theirs}.self_attn", f"{ours}/attention", bias)
            blocks = ["around_attention", "around_feed_forward"]
            if side == "decoder":
                found += _attention(f"{theirs}.multihead_attn", f"{ours}/cross_attention", bias)
                blocks.insert(1, "around_cross_attention")
            found += linear(f"{theirs}.linear1", f"{ours}/feed_forward/up", bias=bias)
            found += linear(f"{theirs}.linear2", f"{ours}/feed_forward/down", bias=bias)
            for number, block in enumerate(blocks, 1):
                found += norm(f"{theirs}.norm{number}", f"{ours}/{block}/norm", bias=bias)
    return found


def _attention(theirs: str, ours: str, bias: bool) -> list[Rule]:
    """Queries, keys and values of one map, and the map back."""
    kernels, biases = (
        tuple(f"{ours}/{part}/{x}" for part in ("query", "key", "value"))
        for x in ("kernel", "bias")
    )
    found = [Rule(f"{theirs}.in_proj_weight", kernels, TRANSPOSED)]
    found += [Rule(f"{theirs}.in_proj_bias", biases)] if bias else []
    return found + linear(f"{theirs}.out_proj", f"{ours}/out", bias=bias)


def special(settings: Settings) -> Special:
    """Vectors have none."""
    del settings
    return Special()


def build(config: VectorConfig, rngs: nnx.Rngs) -> nnx.Module:
    """The model of a configuration."""
    return VectorTransformer(config, rngs=rngs)


FAMILY = Family(
    name="torch_transformer",
    model_types=("torch_transformer",),
    config=config,
    build=build,
    rules=rules,
    special=special,
    described=described,
    writes_tokens=False,
    has_tokens=False,
)
