"""GGUF: a small file written by its own library is the model that its tensors make elsewhere."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import pretrained
from attention_jax.data.types import EOS, UNKNOWN
from attention_jax.pretrained import gguf_files

TOKENS = ["<|end|>", "<|begin|>", "a", "b", "Ġ", "ab", "Ġa", "1", "2"]
MERGES = ["a b", "Ġ a"]
WIDTH, HIDDEN, HEADS, SHARED, WIDE = 32, 64, 4, 2, 8
THEIRS = {ours: theirs for theirs, ours in gguf_files._NAMES.items()}


def arrays():
    draw = np.random.default_rng(0)

    def some(*shape):
        return draw.normal(size=shape).astype(np.float32)

    found = {
        "model.embed_tokens.weight": some(len(TOKENS), WIDTH),
        "model.norm.weight": some(WIDTH),
    }
    for n in range(2):
        at = f"model.layers.{n}"
        found |= {
            f"{at}.input_layernorm.weight": some(WIDTH),
            f"{at}.post_attention_layernorm.weight": some(WIDTH),
            f"{at}.self_attn.q_proj.weight": some(HEADS * WIDE, WIDTH),
            f"{at}.self_attn.k_proj.weight": some(SHARED * WIDE, WIDTH),
            f"{at}.self_attn.v_proj.weight": some(SHARED * WIDE, WIDTH),
            f"{at}.self_attn.o_proj.weight": some(WIDTH, HEADS * WIDE),
            f"{at}.mlp.gate_proj.weight": some(HIDDEN, WIDTH),
            f"{at}.mlp.up_proj.weight": some(HIDDEN, WIDTH),
            f"{at}.mlp.down_proj.weight": some(WIDTH, HIDDEN),
        }
    return found


def side_by_side(weight, heads):
    """Rows of rotary halves as llama.cpp stores them, a pair after a pair, row by row."""
    width = len(weight) // heads
    rows = [
        h * width + half * width // 2 + c
        for h in range(heads)
        for c in range(width // 2)
        for half in (0, 1)
    ]
    return weight[rows]


def written(path, gguf, *, quantized=False, tokens=TOKENS, **changes):
    writer = gguf.GGUFWriter(path, "llama")
    said = {"block_count": 2, "context_length": 48, "embedding_length": WIDTH}
    said |= {"feed_forward_length": HIDDEN, "attention.head_count": HEADS}
    said |= {"attention.head_count_kv": SHARED, **changes}
    for key, value in said.items():
        writer.add_uint32(f"llama.{key}", value)
    writer.add_float32("llama.attention.layer_norm_rms_epsilon", 1e-5)
    writer.add_float32("llama.rope.freq_base", 5e4)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([3, 3, *[1] * (len(TOKENS) - 2)])
    writer.add_token_merges(MERGES)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(0)
    kind = gguf.GGMLQuantizationType.Q8_0
    for name, array in arrays().items():
        *where, part, last = name.removeprefix("model.").split(".")
        ours = next(x for x in THEIRS if name.removesuffix(f".{last}").endswith(x))
        layer = f"blk.{where[1]}." if where and where[0] == "layers" else ""
        for letter, heads in (("q", HEADS), ("k", SHARED)):
            array = side_by_side(array, heads) if part == f"{letter}_proj" else array
        if quantized and array.ndim == 2:
            array = gguf.quantize(array, kind)
            writer.add_tensor(f"{layer}{THEIRS[ours]}.{last}", array, raw_dtype=kind)
        else:
            writer.add_tensor(f"{layer}{THEIRS[ours]}.{last}", array)
    for finish in ("write_header_to_file", "write_kv_data_to_file", "write_tensors_to_file"):
        getattr(writer, finish)()
    writer.close()


@pytest.fixture
def gguf():
    return pytest.importorskip("gguf", reason="gguf is not installed")


@pytest.fixture
def elsewhere(tmp_path):
    """The same model in a folder of safetensors."""
    safetensors = pytest.importorskip("safetensors.numpy")
    folder = tmp_path / "folder"
    folder.mkdir()
    safetensors.save_file(arrays(), folder / "model.safetensors")
    said = {"model_type": "llama", "vocab_size": len(TOKENS), "hidden_size": WIDTH}
    said |= {"num_hidden_layers": 2, "num_attention_heads": HEADS, "num_key_value_heads": SHARED}
    said |= {"intermediate_size": HIDDEN, "rms_norm_eps": 1e-5, "rope_theta": 5e4}
    said |= {"tie_word_embeddings": True, "bos_token_id": 1, "eos_token_id": 0}
    (folder / "config.json").write_text(json.dumps(said))
    return pretrained.load(folder)


def logits(loaded, theirs):
    where = {
        other: i for i, other in enumerate(loaded.order.theirs) if i not in loaded.order.silent
    }
    own = loaded.model.logits(jnp.asarray([[where[i] for i in theirs]]))
    return np.asarray(own)[..., [where[i] for i in range(len(TOKENS))]]


@pytest.mark.parametrize(("quantized", "atol"), [(False, 1e-5), (True, 0.2)])
def test_logits_are_those_of_the_same_model_elsewhere(tmp_path, gguf, elsewhere, quantized, atol):
    written(tmp_path / "x.gguf", gguf, quantized=quantized)
    loaded, theirs = pretrained.load(tmp_path / "x.gguf"), [2, 5, 3, 7, 8, 4, 6]
    got, wanted = logits(loaded, theirs), logits(elsewhere, theirs)
    np.testing.assert_allclose(got, wanted, rtol=0, atol=atol * np.abs(wanted).max())
    assert loaded.config.max_length == 48


def test_the_tokenizer_cuts_digits_and_merges_pairs(tmp_path, gguf):
    written(tmp_path / "x.gguf", gguf)
    loaded = pretrained.load(tmp_path)  # a folder with one
    ids = loaded.tokenizer.encode("ab a12<|end|>"[:6])
    assert [loaded.order.theirs[i] for i in ids] == [5, 6, 7, 8]
    assert loaded.tokenizer.decode(ids) == "ab a12"


def test_the_end_is_that_of_the_model(tmp_path, gguf):
    """Not the token by whose name one would know an end, which the tokenizer has too."""
    usual = [*TOKENS[:1], "</s>", *TOKENS[2:]]
    written(tmp_path / "x.gguf", gguf, tokens=usual)
    loaded = pretrained.load(tmp_path / "x.gguf")
    assert loaded.tokenizer.theirs[EOS] == loaded.order.theirs[EOS] == 0
    assert EOS not in loaded.order.silent and 1 in loaded.tokenizer.theirs[UNKNOWN + 1 :]


def test_files_that_cannot_be_read_are_refused_in_one_line(tmp_path, gguf):
    path = tmp_path / "x.gguf"
    path.write_bytes(b"GGUF")
    with pytest.raises(ValueError, match="must be a whole GGUF file"):
        pretrained.load(path)
    written(path, gguf, **{"embedding_length": WIDTH + 8})
    with pytest.raises(ValueError, match="must have shape"):
        pretrained.load(path)
