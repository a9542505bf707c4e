"""The test vectors of the `onnx` package, where it is installed (extra `onnx`)."""

import pytest

from tests.support import onnx_vectors

COUNTS = {"Attention": 93, "RotaryEmbedding": 8, "LinearAttention": 14, "FlexAttention": 11}
# One of each kind in the fast tests.
SAMPLED = [
    "test_attention_3d_gqa_causal",
    "test_attention_4d_with_past_and_present_qk_matmul_bias_3d_mask_causal",
    "test_attention_24_qk_matmul_output_mode3_softmax_precision",
    "test_attention_local_window_ext_cache_rank3_head_mask",
    "test_attention_bidirectional_window",
    "test_attention_local_window_with_past",
    "test_rotary_embedding_3d_input",
    "test_rotary_embedding_with_interleaved_rotary_dim",
    "test_linear_attention_gated_delta_gqa",
    "test_linear_attention_prefill_with_past",
    "test_flexattention_causal_mask",
    "test_flexattention_prob_mod",
]


@pytest.fixture(scope="module")
def vectors():
    pytest.importorskip("onnx", reason="the vectors come with the package onnx, extra `onnx`")
    return onnx_vectors.load()


@pytest.mark.sampled(4)
@pytest.mark.parametrize("name", SAMPLED)
def test_a_vector(vectors, name):
    assert not onnx_vectors.differences(vectors[name])


@pytest.mark.slow
@pytest.mark.parametrize("operator", COUNTS)
def test_every_vector(vectors, operator):
    own = {name: x for name, x in vectors.items() if x.operator == operator}
    assert len(own) >= COUNTS[operator]
    wrong = {name: onnx_vectors.differences(x) for name, x in own.items()}
    assert not {name: found for name, found in wrong.items() if found}
