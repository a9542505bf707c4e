"""GPT-2: norm first, tanh GELU, learned positions, queries, keys and values of one map.

Reference: Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", section 2.3;
names: `transformers`, `GPT2LMHeadModel`, whose maps are [in out].
"""

from attention_jax.models.language import TransformerLM
from attention_jax.nn.transformer import TransformerConfig
from attention_jax.pretrained.families._parts import ACTIVATIONS, norm, refused, word
from attention_jax.pretrained.types import Described, Family, Rule, Settings, Special


def config(settings: Settings) -> TransformerConfig:
    """Our configuration of a config.json."""
    settings.refuse("scale_attn_by_inverse_layer_idx", (False,))
    settings.refuse("scale_attn_weights", (True,))
    settings.refuse("tie_word_embeddings", (True,))
    width = settings.need("n_embd")
    return TransformerConfig(
        settings.need("vocab_size"),
        width,
        layers=settings.need("n_layer"),
        heads=settings.need("n_head"),
        feed_forward=settings.get("n_inner", 4 * width),
        positions="learned",
        max_length=settings.get("n_positions", 1024),
        activation=settings.choose("activation_function", ACTIVATIONS, "gelu_new"),
        norm_epsilon=settings.get("layer_norm_epsilon", 1e-5),
        dropout_rate=settings.get("resid_pdrop", 0.1),
        attention_dropout_rate=settings.get("attn_pdrop", 0.1),
        embedding_scale=1.0,
    )


def described(config: TransformerConfig) -> Described:
    """The config.json of our configuration.

    Raises:
      ValueError: no GPT-2 is so.
    """
    refused(config, "gpt2", norm="pre", norm_kind="layer", biases="all", embedding_scale=1.0)
    refused(config, "gpt2", positions="learned", tied=True, qk_norm=False, kv_heads=None)
    return {
        "model_type": "gpt2",
        "architectures": ["GPT2LMHeadModel"],
        "vocab_size": config.vocabulary_size,
        "n_embd": config.width,
        "n_layer": config.layers,
        "n_head": config.heads,
        "n_inner": config.feed_forward,
        "n_positions": config.max_length,
        "activation_function": word(ACTIVATIONS, config.activation, "activation"),
        "layer_norm_epsilon": config.norm_epsilon,
        "resid_pdrop": config.dropout_rate,
        "embd_pdrop": config.dropout_rate,
        "attn_pdrop": config.attention_dropout_rate,
    }


def rules(config: TransformerConfig) -> list[Rule]:
    """The table of names."""
    found = [
        Rule("wte.weight", "embedding/table/embedding"),
        Rule("wpe.weight", "embedding/learned/embedding"),
        *norm("ln_f", "norm"),
    ]
    for n in range(config.layers):
        theirs, ours = f"h.{n}", f"stack/layers/{n}"
        found += norm(f"{theirs}.ln_1", f"{ours}/around_attention/norm")
        found += norm(f"{theirs}.ln_2", f"{ours}/around_feed_forward/norm")
        for other, own in (("weight", "kernel"), ("bias", "bias")):
            parts = tuple(f"{ours}/attention/{x}/{own}" for x in ("query", "key", "value"))
            found += [
                Rule(f"{theirs}.attn.c_attn.{other}", parts),
                Rule(f"{theirs}.attn.c_proj.{other}", f"{ours}/attention/out/{own}"),
                Rule(f"{theirs}.mlp.c_fc.{other}", f"{ours}/feed_forward/up/{own}"),
                Rule(f"{theirs}.mlp.c_proj.{other}", f"{ours}/feed_forward/down/{own}"),
            ]
    return found


def special(settings: Settings) -> Special:
    """One token begins and ends a text."""
    end = settings.get("eos_token_id", 50256)
    return Special(settings.get("pad_token_id"), settings.get("bos_token_id", end), end)


FAMILY = Family(
    name="gpt2",
    model_types=("gpt2",),
    config=config,
    build=lambda config, rngs: TransformerLM(config, rngs=rngs),
    rules=rules,
    special=special,
    described=described,
    prefix="transformer.",
    bare=("lm_head.weight",),
    ignored=(r"h\.\d+\.attn\.(masked_)?bias", r"lm_head\.weight"),
)
