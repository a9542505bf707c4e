"""Models in one GGUF file, as llama.cpp has them: settings, tensors and tokenizer.

Their names become those of `transformers`, so that the tables of families serve; quantized weights
become float32 one tensor at a time. Queries and keys of the architecture llama are stored with the
partners of rotary pairs side by side, and are put back into halves.

Reference: the GGUF specification of github.com/ggml-org/ggml, docs/gguf.md.
"""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from attention_jax.core import checks
from attention_jax.core.extras import needed
from attention_jax.data.tokenizer import Tokenizer
from attention_jax.pretrained.tensors import Tensors
from attention_jax.pretrained.types import Settings, Tensor

_TYPES = {"llama": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}
_NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_NAME = re.compile(r"(?:blk\.(?P<layer>\d+)\.)?(?P<part>\w+)\.(?P<kind>weight|bias)")
_CONTROL = 3  # `token_type` of special tokens
# Rules by which text is cut before pairs are merged, by the name that a file gives them.
_CUTS: dict[str, list[dict[str, Any]]] = {
    "smollm": [{"type": "Digits", "individual_digits": True}],
    "gpt-2": [],
}


def read(path: Path) -> tuple[Settings, Tensors, Tokenizer]:
    """The settings, tensors and tokenizer of a file.

    Raises:
      ValueError: it is damaged, or holds a model or tokenizer that cannot be read yet.
    """
    with needed("pretrained"):
        import gguf
    try:
        content = gguf.GGUFReader(path)
        said = {key: field.contents() for key, field in content.fields.items()}
    except Exception as error:  # the library raises its own
        raise ValueError(
            f"{path} must be a whole GGUF file; it cannot be read ({checks.reason(error)}). Fetch "
            "it anew."
        ) from error
    stored = {_renamed(x.name, path): x for x in content.tensors}
    settings = _settings(said, path, tied="lm_head.weight" not in stored)
    heads = settings.need("num_attention_heads"), settings.need("num_key_value_heads")
    swapped = settings.need("model_type") == "llama"

    def tensor(name: str) -> Tensor:
        own = stored[name]
        found = gguf.dequantize(own.data, own.tensor_type).astype(np.float32, copy=False)
        which = re.search(r"self_attn\.([qk])_proj", name)
        return _in_halves(found, heads["qk".index(which[1])]) if which and swapped else found

    return settings, Tensors(tuple(stored), tensor), _tokenizer(said, path)


def _renamed(name: str, path: Path) -> str:
    match = _NAME.fullmatch(name)
    theirs = None if match is None else _NAMES.get(match["part"])
    if match is None or theirs is None:
        return name  # refused by the table, with all others that nothing reads
    layer = "" if match["layer"] is None else f"model.layers.{match['layer']}."
    return f"{layer}{theirs}.{match['kind']}"


def _settings(said: dict[str, Any], path: Path, *, tied: bool) -> Settings:
    content = Settings(said, str(path))
    kind = content.choose("general.architecture", _TYPES)

    def own(key: str) -> Any:
        return content.need(f"{kind}.{key}")

    heads = own("attention.head_count")
    width = own("embedding_length") // heads
    for key in ("rope.scaling.type", "rope.scaling.factor"):
        content.refuse(f"{kind}.{key}", ("none",))
    values = {
        "model_type": kind,
        "vocab_size": len(content.need("tokenizer.ggml.tokens")),
        "hidden_size": own("embedding_length"),
        "num_hidden_layers": own("block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": content.get(f"{kind}.attention.head_count_kv", heads),
        "head_dim": content.get(f"{kind}.attention.key_length", width),
        "intermediate_size": own("feed_forward_length"),
        "rms_norm_eps": own("attention.layer_norm_rms_epsilon"),
        "rope_theta": content.get(f"{kind}.rope.freq_base", 10_000.0),
        "max_position_embeddings": own("context_length"),
        "tie_word_embeddings": tied,
    }
    for name in ("bos", "eos", "padding"):
        values[f"{name.removesuffix('ding')}_token_id"] = said.get(
            f"tokenizer.ggml.{name}_token_id"
        )
    return Settings(values, str(path))


def _in_halves(weight: Tensor, heads: int) -> Tensor:
    """Rows of a map to heads, or its bias, whose pairs lay side by side."""
    pairs = weight.reshape(heads, weight.shape[0] // heads // 2, 2, -1)
    return pairs.swapaxes(1, 2).reshape(weight.shape)


def _tokenizer(said: dict[str, Any], path: Path) -> Tokenizer:
    content = Settings(said, str(path))
    content.choose("tokenizer.ggml.model", {"gpt2": "bpe"})
    cuts = content.choose("tokenizer.ggml.pre", _CUTS, "gpt-2")
    tokens = content.need("tokenizer.ggml.tokens")
    kinds = content.need("tokenizer.ggml.token_type")
    special = [i for i, kind in enumerate(kinds) if kind == _CONTROL]
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    added = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    whole = {
        "version": "1.0",
        "added_tokens": [
            {"id": i, "content": tokens[i], **added, "special": True} for i in special
        ],
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [*cuts, level | {"use_regex": True}],
        },
        "decoder": level | {"use_regex": True},
        "model": {
            "type": "BPE",
            "vocab": {token: i for i, token in enumerate(tokens)},
            "merges": content.need("tokenizer.ggml.merges"),
        },
    }
    return Tokenizer.from_text(json.dumps(whole), name=str(path))
