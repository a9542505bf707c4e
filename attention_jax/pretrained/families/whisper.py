"""Whisper: speech to text; norm first, GELU, keys without bias.

Reference: Radford et al. 2023, arXiv:2212.04356; names: `transformers`,
`WhisperForConditionalGeneration`. A bias of keys adds the same to all scores of a query, so ours
are zeros, and are not written.
"""

from flax import nnx

from attention_jax.models.whisper import WhisperConfig, whisper
from attention_jax.nn.transformer import TransformerConfig
from attention_jax.pretrained.families._parts import ACTIVATIONS, linear, norm, refused, word
from attention_jax.pretrained.types import Described, Family, Form, Rule, Settings, Special

NORM_EPSILON = 1e-5
# A convolution [m c 3] as a map of three taps side by side.
TAPS = Form(
    lambda x: x.transpose(2, 1, 0).reshape(-1, x.shape[0]),
    lambda x: x.reshape(3, -1, x.shape[-1]).transpose(2, 1, 0),
)


def config(settings: Settings) -> WhisperConfig:
    """Our configuration of a config.json."""
    settings.refuse("scale_embedding", (False,))
    settings.refuse("tie_word_embeddings", (True,))
    transformer = TransformerConfig(
        settings.need("vocab_size"),
        settings.need("d_model"),
        layers=settings.need("decoder_layers"),
        heads=settings.need("decoder_attention_heads"),
        feed_forward=settings.need("decoder_ffn_dim"),
        positions="learned",
        max_length=settings.get("max_target_positions", 448),
        activation=settings.choose("activation_function", ACTIVATIONS, "gelu"),
        norm_epsilon=NORM_EPSILON,
        dropout_rate=settings.get("dropout", 0.0),
        attention_dropout_rate=settings.get("attention_dropout", 0.0),
        embedding_scale=1.0,
    )
    return WhisperConfig(
        transformer,
        features=settings.get("num_mel_bins", 80),
        layers=settings.need("encoder_layers"),
        heads=settings.need("encoder_attention_heads"),
        feed_forward=settings.need("encoder_ffn_dim"),
        positions=settings.get("max_source_positions", 1500),
    )


def described(config: WhisperConfig) -> Described:
    """The config.json of our configuration.

    Raises:
      ValueError: no Whisper is so.
    """
    own = config.transformer
    refused(own, "whisper", norm="pre", norm_kind="layer", biases="all", embedding_scale=1.0)
    refused(own, "whisper", positions="learned", tied=True, qk_norm=False, kv_heads=None)
    refused(own, "whisper", norm_epsilon=NORM_EPSILON, attention="scaled_dot", head_width=None)
    refused(own, "whisper", cross_attention=None, embedding_norm=False, recurrence=None)
    return {
        "model_type": "whisper",
        "architectures": ["WhisperForConditionalGeneration"],
        "is_encoder_decoder": True,
        "vocab_size": own.vocabulary_size,
        "d_model": own.width,
        "decoder_layers": own.layers,
        "decoder_attention_heads": own.heads,
        "decoder_ffn_dim": own.feed_forward,
        "max_target_positions": own.max_length,
        "activation_function": word(ACTIVATIONS, own.activation, "activation"),
        "dropout": own.dropout_rate,
        "attention_dropout": own.attention_dropout_rate,
        "num_mel_bins": config.features,
        "encoder_layers": config.layers,
        "encoder_attention_heads": config.heads,
        "encoder_ffn_dim": config.feed_forward,
        "max_source_positions": config.positions,
    }


def rules(config: WhisperConfig) -> list[Rule]:
    """The table of names."""
    found = [
        Rule("decoder.embed_tokens.weight", "embedding/table/embedding"),
        Rule("decoder.embed_positions.weight", "embedding/learned/embedding"),
        Rule("encoder.embed_positions.weight", "encoder/learned/embedding"),
        *norm("decoder.layer_norm", "decoder_norm"),
        *norm("encoder.layer_norm", "encoder/norm"),
    ]
    for n in range(2):
        theirs, ours = f"encoder.conv{n + 1}", f"encoder/convolutions/{n}"
        found.append(Rule(f"{theirs}.weight", f"{ours}/kernel", TAPS))
        found.append(Rule(f"{theirs}.bias", f"{ours}/bias"))
    for theirs, ours in _layers(config):
        found += [
            *_attention(f"{theirs}.self_attn", f"{ours}/attention"),
            *norm(f"{theirs}.self_attn_layer_norm", f"{ours}/around_attention/norm"),
            *linear(f"{theirs}.fc1", f"{ours}/feed_forward/up"),
            *linear(f"{theirs}.fc2", f"{ours}/feed_forward/down"),
            *norm(f"{theirs}.final_layer_norm", f"{ours}/around_feed_forward/norm"),
        ]
    for n in range(config.transformer.layers):
        theirs, ours = f"decoder.layers.{n}.encoder_attn", f"decoder/layers/{n}"
        found += _attention(theirs, f"{ours}/cross_attention")
        found += norm(f"{theirs}_layer_norm", f"{ours}/around_cross_attention/norm")
    return found


def zeros(config: WhisperConfig) -> list[str]:
    """The biases of keys."""
    found = [f"{ours}/attention/key/bias" for _, ours in _layers(config)]
    layers = range(config.transformer.layers)
    return found + [f"decoder/layers/{n}/cross_attention/key/bias" for n in layers]


def _layers(config: WhisperConfig) -> list[tuple[str, str]]:
    own = [(f"encoder.layers.{n}", f"encoder/layers/layers/{n}") for n in range(config.layers)]
    count = config.transformer.layers
    return own + [(f"decoder.layers.{n}", f"decoder/layers/{n}") for n in range(count)]


def _attention(theirs: str, ours: str) -> list[Rule]:
    found = linear(f"{theirs}.k_proj", f"{ours}/key", bias=False)
    for other, own in (("q_proj", "query"), ("v_proj", "value"), ("out_proj", "out")):
        found += linear(f"{theirs}.{other}", f"{ours}/{own}")
    return found


def special(settings: Settings) -> Special:
    """The decoder begins with a token of its own."""
    begin = settings.get("decoder_start_token_id", settings.get("bos_token_id"))
    return Special(settings.get("pad_token_id"), begin, settings.get("eos_token_id"))


def build(config: WhisperConfig, rngs: nnx.Rngs) -> nnx.Module:
    """The model of a configuration."""
    return whisper(config, rngs=rngs)


FAMILY = Family(
    name="whisper",
    model_types=("whisper",),
    config=config,
    build=build,
    rules=rules,
    special=special,
    described=described,
    prefix="model.",
    zeros=zeros,
    bare=("proj_out.weight",),
    ignored=(r"proj_out\.weight",),
)
