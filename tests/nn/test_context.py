"""Layers whose sequences are divided: positions stay global, and results those of one device."""

import pytest

from attention_jax.nn import TransformerConfig
from tests.support import shared_programs


@pytest.mark.slow
@pytest.mark.parametrize("place", ["jit", "manual"])
@pytest.mark.parametrize(("strategy", "order"), [("gather", "natural"), ("ring", "zigzag")])
def test_models_are_those_of_one_device(strategy, order, place):
    """Logits, and gradients of all parameters."""
    fields = [{"positions": x} for x in ("rope", "learned", "sinusoidal")]
    fields.append({"positions": "none", "attention": "alibi", "scan": True, "remat": True})
    fields.append(
        {
            "positions": "rope",
            "norm": "sandwich",
            "norm_kind": "rms",
            "activation": "swiglu",
            "qk_norm": True,
        }
    )
    fields += [
        {"positions": "rope", "value_residual": True},
        {"positions": "rope", "kv_sharing": 2},
    ]
    cases = [[own, strategy, order, place] for own in fields]
    for case, found in zip(cases, shared_programs.measured("context_layers", cases), strict=True):
        assert max(found) < 1e-5, (case, found)


def test_a_config_checks_its_context():
    with pytest.raises(ValueError, match="context"):
        TransformerConfig(8, context=3).check()  # ty: ignore[invalid-argument-type]
    TransformerConfig(8, context="sequence").check()
