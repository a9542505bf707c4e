"""What becomes of models in ONNX, each in a process of its own; where its packages are there."""

import importlib.util

import pytest

from attention_jax.models.exported import Sizes, onnx
from tests.support.export_cases import language
from tests.support.onnx_exports import KEPT, ending

NEEDED = ("jax2onnx", "onnxruntime")
MISSING = [name for name in NEEDED if importlib.util.find_spec(name) is None]


@pytest.mark.skipif(not MISSING, reason="the packages are there")
def test_a_missing_package_is_named_with_its_command(tmp_path):
    with pytest.raises(ModuleNotFoundError, match="pip install --no-deps jax2onnx"):
        onnx.write(language("scaled_dot"), tmp_path, Sizes(1, 2), about={})
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.skipif(bool(MISSING), reason=f"{', '.join(MISSING)} is not installed")
@pytest.mark.parametrize(
    ("case", "kind", "sizes", "said"),
    [
        ("scaled_dot", "language", "any", KEPT),
        ("grouped_heads", "translator", "any", KEPT),
        ("gru, additive", "translator", "any", KEPT),
        ("gated_delta", "language", "fixed", KEPT),
        ("entmax15", "language", "any", "TransformerLM with entmax15: its program `logits` cannot"),
    ],
)
def test_a_model_is_kept_or_refused_by_name(case, kind, sizes, said):
    assert said in ending(case, kind, sizes)
