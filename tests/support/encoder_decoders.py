"""Small random encoder-decoders of `transformers`; importing it needs torch."""

import pytest

torch = pytest.importorskip("torch", reason="torch, which transformers runs on, is not installed")
transformers = pytest.importorskip("transformers", reason="transformers is not installed")

BART = {
    "vocab_size": 41,
    "d_model": 16,
    "encoder_layers": 3,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 24,
    "decoder_ffn_dim": 20,
    "max_position_embeddings": 40,
}
SPECIAL = {"pad_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 2}

# The class of each, and what its config.json says.
CASES = {
    "marian": (
        "Marian",
        BART
        | {
            "activation_function": "swish",
            "scale_embedding": True,
            "pad_token_id": 40,
            "decoder_start_token_id": 40,
            "eos_token_id": 0,
            "forced_eos_token_id": None,
        },
    ),
    "m2m_100": ("M2M100", BART | SPECIAL | {"scale_embedding": True}),
    "mbart": ("MBart", BART | SPECIAL | {"scale_embedding": True, "forced_eos_token_id": None}),
    "mbart, not scaled": (
        "MBart",
        BART | SPECIAL | {"activation_function": "relu", "forced_eos_token_id": None},
    ),
}
T5 = {
    "vocab_size": 41,
    "d_model": 16,
    "d_kv": 6,
    "d_ff": 24,
    "num_layers": 3,
    "num_decoder_layers": 2,
    "num_heads": 2,
    "decoder_start_token_id": 0,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 20,
}
CASES |= {
    "t5": ("T5", T5),
    "t5, gated": ("T5", T5 | {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}),
    "t5, not tied": ("T5", T5 | {"feed_forward_proj": "gated-silu", "tie_word_embeddings": False}),
    "mt5": ("MT5", T5 | {"feed_forward_proj": "gated-gelu"}),
}
_CLASSES = {
    "T5": ("T5Config", "T5ForConditionalGeneration"),
    "MT5": ("MT5Config", "MT5ForConditionalGeneration"),
    "Marian": ("MarianConfig", "MarianMTModel"),
    "M2M100": ("M2M100Config", "M2M100ForConditionalGeneration"),
    "MBart": ("MBartConfig", "MBartForConditionalGeneration"),
}


def made(name: str):
    """A model whose every parameter is random, biases and gains too."""
    kind, settings = CASES[name]
    spread = 0.2 if "T5" in kind else 1.0  # with larger logits nothing competes
    config, model = (getattr(transformers, x) for x in _CLASSES[kind])
    torch.manual_seed(0)
    found = model(config(**settings)).eval()
    if "not tied" in name:
        found.lm_head.weight = torch.nn.Parameter(found.shared.weight.clone())
    with torch.no_grad():
        for parameter in found.parameters():
            if parameter.requires_grad:  # not sinusoids
                parameter += 0.2 * torch.randn_like(parameter)
        if hasattr(found, "final_logits_bias"):
            found.final_logits_bias.normal_()
        found.get_output_embeddings().weight *= spread
        _let_end(found)
    return found


def _let_end(model) -> None:
    """Moves the vector of the end so that it is likely after any text, or nothing would end."""
    table, end = model.get_output_embeddings().weight, model.config.eos_token_id
    tokens = torch.arange(4 * 9).reshape(4, 9)
    logits = model(input_ids=tokens, decoder_input_ids=tokens).logits
    states = (logits - getattr(model, "final_logits_bias", 0)) @ torch.pinverse(table).T
    mean = states.reshape(-1, states.shape[-1]).mean(0)
    wanted = torch.logsumexp(logits, dim=-1).mean()
    table[end] += (wanted - logits[..., end].mean()) * mean / (mean @ mean)
