"""Attentions of runs of format version 1 keep the form that they had."""

import jax
import pytest

from attention_jax import variants
from experiments.common import old_forms


@pytest.mark.parametrize(
    ("then", "now"),
    [
        ("gated", "gated(gates='query')"),
        ("gated_delta(convolution=2)", "gated_delta(convolution=2, gates='key')"),
        ("mla(latent_width=8)", "mla(latent_width=8, rotary_width=0)"),
        ("fox", "fox(gates='key')"),
        ("[2 * gated_delta, scaled_dot]", "[2 * gated_delta(gates='key'), scaled_dot]"),
        ("gated(gates='input')", "gated(gates='input')"),
        ("alibi", "alibi"),
        ("none", "none"),
        ("mine.py:gated", "mine.py:gated"),
    ],
)
def test_a_text_means_what_it_meant(then, now):
    assert old_forms.as_then(then) == now


@pytest.mark.parametrize("name", sorted(old_forms.SHORT))
def test_the_short_form_is_another(name):
    sizes = {"heads": 4, "kv_heads": 2, "head_width": 8, "width": 12}
    names = []
    for text in (name, old_forms.as_then(name)):
        params = variants.resolve(text).init(jax.random.key(0), **sizes)
        names.append(jax.tree.map(lambda x: x.shape, params))
    assert names[0] != names[1]
