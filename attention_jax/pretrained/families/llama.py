"""Llama and its kin: RMS norm first, SwiGLU, rotary halves, grouped heads.

Mistral has windows, Qwen2 biases of queries, keys and values, Qwen3 norms of queries and keys.

References: Touvron et al. 2023, arXiv:2302.13971; Grattafiori et al. 2024, arXiv:2407.21783; Jiang
et al. 2023, arXiv:2310.06825; Yang et al. 2024, arXiv:2407.10671; Yang et al. 2025,
arXiv:2505.09388; names: `transformers`, `LlamaForCausalLM` and others.
"""

from attention_jax.models.language import TransformerLM
from attention_jax.nn.transformer import TransformerConfig
from attention_jax.pretrained.families import _rotary
from attention_jax.pretrained.families._parts import linear, norm, pattern, refused, windows_of
from attention_jax.pretrained.types import Described, Family, Rule, Settings, Special

_TYPES = ("llama", "mistral", "qwen2", "qwen3")
_GATED = {"silu": "swiglu", "swish": "swiglu", "gelu": "geglu", "gelu_pytorch_tanh": "geglu_tanh"}
_LONGEST = 2048


def config(settings: Settings) -> TransformerConfig:
    """Our configuration of a config.json."""
    kind = settings.need("model_type")
    settings.refuse("mlp_bias", (False,))
    heads = settings.need("num_attention_heads")
    return TransformerConfig(
        settings.need("vocab_size"),
        settings.need("hidden_size"),
        layers=settings.need("num_hidden_layers"),
        heads=heads,
        kv_heads=settings.get("num_key_value_heads", heads),
        head_width=settings.get("head_dim"),
        feed_forward=settings.need("intermediate_size"),
        attention=pattern(settings, default_window=kind == "mistral"),
        positions="rope",
        rotary=_rotary.rotary(settings),
        norm_kind="rms",
        norm_epsilon=settings.get("rms_norm_eps", 1e-6),
        activation=settings.choose("hidden_act", _GATED, "silu"),
        biases=_biases(settings, kind),
        qk_norm=kind == "qwen3",
        tied=settings.get("tie_word_embeddings", False),
        dropout_rate=0.0,
        attention_dropout_rate=settings.get("attention_dropout", 0.0),
        max_length=settings.get("max_position_embeddings", _LONGEST),
        embedding_scale=1.0,
    )


def _biases(settings: Settings, kind: str) -> str:
    if kind == "qwen2":
        return "qkv"
    if settings.get("attention_bias", False):
        settings.refuse("attention_bias", (False,))
    return "none"


def described(config: TransformerConfig) -> Described:
    """The config.json of our configuration.

    Raises:
      ValueError: none of the family is so.
    """
    refused(config, "llama", norm="pre", norm_kind="rms", positions="rope", embedding_scale=1.0)
    refused(config, "llama", value_width=None, embedding_norm=False)
    if config.biases == "all":
        refused(config, "llama", biases="none")
    kind = "qwen2" if config.biases == "qkv" else "qwen3" if config.qk_norm else "llama"
    if config.biases == "qkv":
        refused(config, "qwen2", qk_norm=False)
    kind, windows = windows_of(config, kind)
    refused(config, kind, rotary=config.first_rotary)
    names = {"llama": "Llama", "mistral": "Mistral", "qwen2": "Qwen2", "qwen3": "Qwen3"}
    refused(config, kind, activation="swiglu")
    heads = config.heads
    return windows | {
        "model_type": kind,
        "architectures": [f"{names[kind]}ForCausalLM"],
        "vocab_size": config.vocabulary_size,
        "hidden_size": config.width,
        "num_hidden_layers": config.layers,
        "num_attention_heads": heads,
        "num_key_value_heads": config.kv_heads or heads,
        "head_dim": config.head_width or config.width // heads,
        "intermediate_size": config.feed_forward,
        "hidden_act": "silu",
        "rms_norm_eps": config.norm_epsilon,
        "rope_parameters": _rotary.described(config.first_rotary),
        "max_position_embeddings": config.max_length,
        "tie_word_embeddings": config.tied,
        "attention_dropout": config.attention_dropout_rate,
    }


def rules(config: TransformerConfig) -> list[Rule]:
    """The table of names."""
    found = [
        Rule("embed_tokens.weight", "embedding/table/embedding"),
        *norm("norm", "norm", bias=False),
    ]
    if not config.tied:
        found += linear("lm_head", "output", bias=False)
    for n in range(config.layers):
        theirs, ours = f"layers.{n}", f"stack/layers/{n}"
        found += layer(theirs, ours, config)
        found += norm(f"{theirs}.input_layernorm", f"{ours}/around_attention/norm", bias=False)
        found += norm(
            f"{theirs}.post_attention_layernorm", f"{ours}/around_feed_forward/norm", bias=False
        )
    return found


def layer(theirs: str, ours: str, config: TransformerConfig) -> list[Rule]:
    """The maps of a layer."""
    found, attention = [], f"{ours}/attention"
    for name, own in (("q", "query"), ("k", "key"), ("v", "value")):
        found += linear(
            f"{theirs}.self_attn.{name}_proj", f"{attention}/{own}", bias=config.biases == "qkv"
        )
    found += linear(f"{theirs}.self_attn.o_proj", f"{attention}/out", bias=False)
    if config.qk_norm:
        found += norm(f"{theirs}.self_attn.q_norm", f"{attention}/query_norm", bias=False)
        found += norm(f"{theirs}.self_attn.k_norm", f"{attention}/key_norm", bias=False)
    for name in ("gate", "up", "down"):
        found += linear(f"{theirs}.mlp.{name}_proj", f"{ours}/feed_forward/{name}", bias=False)
    return found


def special(settings: Settings) -> Special:
    """Of several ends of a text the first."""
    ends = settings.get("eos_token_id")
    end = ends[0] if isinstance(ends, list) else ends
    return Special(settings.get("pad_token_id"), settings.get("bos_token_id"), end)


FAMILY = Family(
    name="llama",
    model_types=_TYPES,
    config=config,
    build=lambda config, rngs: TransformerLM(config, rngs=rngs),
    rules=rules,
    special=special,
    described=described,
    rows=("embedding/table/embedding", "output/kernel", "output_bias"),
    prefix="model.",
    bare=("lm_head.weight",),
    ignored=(r"lm_head\.weight", r"layers\.\d+\.self_attn\.rotary_emb\.inv_freq"),
)
