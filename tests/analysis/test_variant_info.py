"""What is said of variants is what they are: read from their files, seen in their programs."""

import pytest

from attention_jax.analysis import variant_info
from attention_jax.core.types import ROLES


def test_an_entry_is_the_docstring_in_parts():
    entry = variant_info.describe("alibi")
    assert entry.claim.startswith("Attention with linear biases:") and "\n" not in entry.claim
    assert entry.equation.startswith("score[h, i, j] = q_i . k_j / sqrt(d)")
    assert entry.reference == "Press et al. 2022, arXiv:2108.12409, section 3."
    assert entry.cost == "t s (d + e + 1) products a head."
    for part in (entry.claim, entry.equation, entry.reference, entry.cost):
        assert part in entry.docstring


def test_paragraphs_keep_their_order_and_their_form():
    body = "    x = y\n      + z\n\nOne.\nTwo.\n\n    a    b\n\n"
    text = f"A claim\nof two lines.\n\n{body}Reference: R\nr.\nCost: c,\nd."
    found = variant_info.read(text)._asdict()
    assert found == {
        "claim": "A claim of two lines.",
        "equation": "x = y\n  + z",
        "remarks": ("One. Two.", "    a    b"),
        "reference": "R r.",
        "cost": "c, d.",
    }


@pytest.mark.parametrize(
    ("cost", "short"),
    [
        ("t d^2 + t s (d + e) products a head.", "t d^2 + t s (d + e)"),
        ("(t + s) d a + t s (a tanh + e) a head, for a width a.", "(t + s) d a + t s (a tanh + e)"),
        ("t size 0.5 products a head where skipped; t s where not.", "t size 0.5"),
        ("2 t; more.", "2 t"),
    ],
)
def test_the_short_cost_is_its_first_expression(cost, short):
    assert variant_info.read(f"Claim.\n\nCost: {cost}").short_cost == short


def test_the_signature_shows_defaults_and_no_types():
    entry = variant_info.describe("t5_bias")
    assert entry.signature == "t5_bias(*, buckets=32, max_distance=128, bidirectional=True)"
    assert "buckets: how many distances" in entry.options


def test_what_it_supports_is_what_the_variant_says():
    entry = variant_info.describe("additive")
    assert (*entry.support[:2], entry.support.steps, entry.support.rnn) == (
        ROLES,
        "pairwise",
        False,
        True,
    )
    assert entry.supports == (*ROLES, "any mask", "linear memory", "RNN decoders")
    entry = variant_info.describe("linear")
    assert (entry.support.mask_kind, entry.support.steps, entry.support.rnn) == (
        "keywise",
        True,
        False,
    )
    assert {"masks of keys", "steps of its own in decoders"} <= set(entry.supports)


@pytest.mark.slow
def test_options_are_those_of_the_variant():
    assert variant_info.describe("sliding_window", size=8).support.linear_memory
    with pytest.raises(ValueError, match="options of variant alibi are: none"):
        variant_info.describe("alibi", size=8)
    with pytest.raises(ValueError, match="got .telepathy."):
        variant_info.describe("telepathy")
