"""Gemma: RMS norms whose gains are stored less 1, GeGLU, embeddings times the root of the width.

Gemma 2 and 3 have norms on both sides and windows in some layers; Gemma 2 bounds scores and logits;
Gemma 3 norms queries and keys, and turns them faster in its windows. Scores are divided by the root
of a number that need not be the width of a head: the map to queries holds the ratio, or the norm of
queries where there is one.

References: Gemma Team 2024, arXiv:2403.08295; 2024, arXiv:2408.00118; 2025, arXiv:2503.19786;
names: `transformers`, `GemmaForCausalLM`, `Gemma2ForCausalLM`, `Gemma3ForCausalLM`.
"""

import re

from attention_jax import variants
from attention_jax.core.rotary import Rotary
from attention_jax.models.language import TransformerLM
from attention_jax.nn.transformer import TransformerConfig
from attention_jax.pretrained.families import _rotary, llama
from attention_jax.pretrained.families._parts import WHOLE, WINDOW, norm, refused, windows_of
from attention_jax.pretrained.types import (
    Described,
    Family,
    Rule,
    Settings,
    scaled,
    shifted,
    then,
)

_GATED = {"gelu_pytorch_tanh": "geglu_tanh", "gelu": "geglu_tanh"}  # as both are read there
_BOUND = re.compile(r"soft_cap\(cap=(?P<cap>[\d.]+)(?:, window=(?P<window>\d+))?\)")
_NORMS = {
    "pre": (
        ("input", "around_attention/norm"),
        ("post_attention", "around_feed_forward/norm"),
    ),
    "sandwich": (
        ("input", "around_attention/norm"),
        ("post_attention", "around_attention/norm_after"),
        ("pre_feedforward", "around_feed_forward/norm"),
        ("post_feedforward", "around_feed_forward/norm_after"),
    ),
}
_BASES = {WINDOW: 10_000.0, WHOLE: 1_000_000.0}


def config(settings: Settings) -> TransformerConfig:
    """Our configuration of a config.json."""
    kind = settings.need("model_type")
    settings.refuse("use_bidirectional_attention", (False,))
    settings.refuse("attention_bias", (False,))
    settings.refuse("tie_word_embeddings", (True,))
    count, kinds = settings.need("num_hidden_layers"), _kinds(settings, kind)
    heads, width = settings.need("num_attention_heads"), settings.need("head_dim")
    return TransformerConfig(
        settings.need("vocab_size"),
        settings.need("hidden_size"),
        layers=count,
        heads=heads,
        kv_heads=settings.get("num_key_value_heads", heads),
        head_width=width,
        feed_forward=settings.need("intermediate_size"),
        attention=tuple(_attention(settings, kind, x) for x in kinds),
        positions="rope",
        rotary=_turns(settings, kind, kinds),
        norm="pre" if kind == "gemma" else "sandwich",
        norm_kind="rms",
        norm_epsilon=settings.get("rms_norm_eps", 1e-6),
        activation=settings.choose("hidden_activation", _GATED, "gelu_pytorch_tanh"),
        biases="none",
        qk_norm=kind == "gemma3_text",
        logit_cap=settings.get("final_logit_softcapping"),
        dropout_rate=0.0,
        attention_dropout_rate=settings.get("attention_dropout", 0.0),
        max_length=settings.get("max_position_embeddings", 8192),
    )


def _kinds(settings: Settings, kind: str) -> list[str]:
    count = settings.need("num_hidden_layers")
    if kind == "gemma":
        return [WHOLE] * count
    every = settings.get("sliding_window_pattern", 2 if kind == "gemma2" else 6)
    usual = [WINDOW if (n + 1) % every else WHOLE for n in range(count)]
    return settings.get("layer_types", usual)


def _attention(settings: Settings, kind: str, layer: str) -> str:
    size = settings.get("sliding_window", 4096) if layer == WINDOW else None
    cap = settings.get("attn_logit_softcapping") if kind != "gemma" else None
    if cap is None:
        return "scaled_dot" if size is None else f"sliding_window(size={size})"
    return f"soft_cap(cap={cap})" if size is None else f"soft_cap(cap={cap}, window={size})"


def _turns(settings: Settings, kind: str, kinds: list[str]) -> Rotary | tuple[Rotary, ...]:
    if kind != "gemma3_text":
        return _rotary.rotary(settings)
    near = settings.get("rope_local_base_freq", _BASES[WINDOW])
    old = Settings({"rope_theta": near}, settings.name)  # its scaling is of the other layers
    said = settings.get("rope_parameters", {})
    found = {
        WHOLE: _rotary.rotary(settings, default_base=_BASES[WHOLE], kind=WHOLE),
        WINDOW: _rotary.rotary(settings, kind=WINDOW) if WINDOW in said else _rotary.rotary(old),
    }
    return tuple(found[x] for x in kinds)


def described(config: TransformerConfig) -> Described:
    """The config.json of our configuration.

    Raises:
      ValueError: no Gemma is so.
    """
    refused(config, "gemma", norm_kind="rms", positions="rope", embedding_scale=None, tied=True)
    refused(config, "gemma", biases="none", activation="geglu_tanh", value_width=None)
    kind = "gemma3_text" if config.qk_norm else "gemma" if config.norm == "pre" else "gemma2"
    refused(config, kind, norm="pre" if kind == "gemma" else "sandwich")
    if kind == "gemma":
        refused(config, kind, logit_cap=None)
    width = config.head_width or config.width // config.heads
    names = {"gemma": "Gemma", "gemma2": "Gemma2", "gemma3_text": "Gemma3"}
    return _layers(config, kind) | {
        "model_type": kind,
        "architectures": [f"{names[kind]}ForCausalLM"],
        "vocab_size": config.vocabulary_size,
        "hidden_size": config.width,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads or config.heads,
        "head_dim": width,
        "query_pre_attn_scalar": width,
        "intermediate_size": config.feed_forward,
        "hidden_activation": "gelu_pytorch_tanh",
        "rms_norm_eps": config.norm_epsilon,
        "final_logit_softcapping": config.logit_cap,
        "max_position_embeddings": config.max_length,
        "tie_word_embeddings": True,
        "attention_dropout": config.attention_dropout_rate,
    }


def _layers(config: TransformerConfig, kind: str) -> Described:
    """Words for each layer's window, bound and rotary positions."""
    own = [config.at(n) for n in range(config.layers)]
    caps, plain = zip(*(_parts_of(variants.label(x.attention)) for x in own), strict=True)
    if len(set(caps)) > 1 or (kind == "gemma" and caps[0] is not None):
        raise ValueError(
            f"`attention` of a model must have one bound in all layers, of gemma none, to be "
            f"written as {kind}; got {variants.label(config.attention)!r}."
        )
    _, said = windows_of(config._replace(attention=plain), kind)
    said.pop("use_sliding_window", None)
    if kind != "gemma" and not said:
        said = {"layer_types": [WHOLE] * config.layers}
    kinds = said.get("layer_types", [WHOLE] * config.layers)
    turns = dict(zip(kinds, (x.first_rotary for x in own), strict=True))
    alike = kind == "gemma3_text" or len(set(turns.values())) == 1
    if not alike or any(turns[x] != y.first_rotary for x, y in zip(kinds, own, strict=True)):
        refused(config, kind, rotary=own[0].first_rotary)
    words = {x: _rotary.described(y) for x, y in turns.items()}
    rope = words if kind == "gemma3_text" else words[kinds[0]]
    cap = {} if kind == "gemma" else {"attn_logit_softcapping": caps[0]}
    return said | {"rope_parameters": rope} | cap


def _parts_of(attention: str) -> tuple[float | None, str]:
    """The bound of scores, and the attention without it."""
    found = _BOUND.fullmatch(attention)
    if found is None:
        return None, attention
    size = found["window"]
    return float(found["cap"]), "scaled_dot" if size is None else f"sliding_window(size={size})"


def rules(config: TransformerConfig, *, ratio: float = 1.0) -> list[Rule]:
    """The table of names.

    Args:
      ratio: by which ours multiplies queries, to divide scores by the root of a head's width.
    """
    gain = shifted(1.0)
    found = [
        Rule("embed_tokens.weight", "embedding/table/embedding"),
        *norm("norm", "norm", bias=False, form=gain),
    ]
    for n in range(config.layers):
        theirs, ours = f"layers.{n}", f"stack/layers/{n}"
        for rule in llama.layer(theirs, ours, config):
            form = gain if rule.theirs.endswith("_norm.weight") else rule.form
            grows = rule.paths[0].endswith("query_norm/scale" if config.qk_norm else "query/kernel")
            found.append(rule._replace(form=then(form, scaled(ratio)) if grows else form))
        for name, own in _NORMS["pre" if config.norm == "pre" else "sandwich"]:
            found += norm(f"{theirs}.{name}_layernorm", f"{ours}/{own}", bias=False, form=gain)
    return found


def _read(config: TransformerConfig, settings: Settings) -> list[Rule]:
    width = settings.need("head_dim")
    by = settings.get("query_pre_attn_scalar", width) if config.norm != "pre" else width
    return rules(config, ratio=(width / by) ** 0.5)


FAMILY = Family(
    name="gemma",
    model_types=("gemma", "gemma2", "gemma3_text"),
    config=config,
    build=lambda config, rngs: TransformerLM(config, rngs=rngs),
    rules=rules,
    read_rules=_read,
    special=llama.special,
    described=described,
    prefix="model.",
    bare=("lm_head.weight",),
    ignored=(r"lm_head\.weight",),
)
