"""What is said of variants is what they are: read from their files, seen in their programs."""

import jax
import jax.numpy as jnp
import pytest

from attention_jax import attention, variants
from attention_jax.analysis import variant_info
from attention_jax.core import masks, normalizers, scores
from attention_jax.core.types import ROLES, Options, Variant, no_parameters


def variant(attend, **facts):
    def without_parameters(params, q, k, v, options=Options()):
        return attend(q, k, v, options)

    return Variant(no_parameters, without_parameters, **facts)


def dense(q, k, v, options):
    """Weights as one array."""
    return attention(q, k, v, mask=options.mask, implementation="reference")


def one_after_another(q, k, v, options):
    """A row of weights at a time: the forward pass is linear, and the gradient keeps all rows."""
    del options

    def row(query):
        weights = jax.nn.softmax(jnp.einsum("bhd,bshd->bhs", query, jnp.repeat(k, 2, axis=2)))
        return jnp.einsum("bhs,bshe->bhe", weights, jnp.repeat(v, 2, axis=2))

    return jax.lax.map(row, q.swapaxes(0, 1)).swapaxes(0, 1)


def blocks(q, k, v, options):
    return attention(q, k, v, mask=options.mask, implementation="blockwise")


def test_an_entry_is_the_docstring_in_parts():
    entry = variant_info.describe("alibi")
    assert entry.claim.startswith("Attention with linear biases:") and "\n" not in entry.claim
    assert entry.equation.startswith("score[h, i, j] = q_i . k_j / sqrt(d)")
    assert entry.reference == "Press et al. 2022, arXiv:2108.12409, section 3."
    assert entry.cost == "t s (d + e + 1) products a head."
    assert entry.short_cost == "t s (d + e + 1)"
    for part in (entry.claim, entry.equation, entry.reference, entry.cost):
        assert part in entry.docstring


def test_paragraphs_keep_their_order_and_their_form():
    body = "    x = y\n      + z\n\nOne.\nTwo.\n\n    a    b\n\n"
    text = f"A claim\nof two lines.\n\n{body}Reference: R\nr.\nCost: c,\nd."
    found = variant_info._read(text)
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
    assert variant_info.describe("dot")._replace(cost=cost).short_cost == short


def test_the_signature_shows_defaults_and_no_types():
    entry = variant_info.describe("t5_bias")
    assert entry.signature == "t5_bias(*, buckets=32, max_distance=128, bidirectional=True)"
    assert "buckets: how many distances" in entry.options


def test_what_it_supports_is_what_the_variant_says():
    entry = variant_info.describe("additive")
    assert (entry.roles, entry.mask_kind, entry.steps, entry.rnn) == (
        ROLES,
        "pairwise",
        False,
        True,
    )
    assert entry.supports == (*ROLES, "any mask", "linear memory", "RNN decoders")
    entry = variant_info.describe("linear")
    assert (entry.mask_kind, entry.steps, entry.rnn) == ("keywise", True, False)
    assert {"masks of keys", "steps of its own in decoders"} <= set(entry.supports)


def test_options_are_those_of_the_variant():
    assert variant_info.describe("sliding_window", size=8).linear_memory
    with pytest.raises(ValueError, match="options of variant alibi are: none"):
        variant_info.describe("alibi", size=8)
    with pytest.raises(ValueError, match="`name` must be one of"):
        variant_info.describe("telepathy")


@pytest.mark.parametrize(
    ("attend", "linear"), [(dense, False), (one_after_another, False), (blocks, True)]
)
def test_linear_memory_is_seen_in_the_program(attend, linear):
    assert variant_info.linear_memory(variant(attend, roles=("bidirectional",))) is linear


def test_every_way_counts():
    def causal_is_dense(q, k, v, options):
        own = dense if options.mask is masks.causal else blocks
        return own(q, k, v, options)

    assert variant_info.linear_memory(variant(causal_is_dense, roles=("bidirectional",)))
    assert not variant_info.linear_memory(variant(causal_is_dense))


def test_a_share_of_all_pairs_is_not_linear():
    def summaries(q, k, v, options):
        k, v = (x.reshape(1, -1, 16, *x.shape[2:]).mean(2) for x in (k, v))
        return dense(q, k, v, options)

    assert not variant_info.linear_memory(variant(summaries, roles=("bidirectional",)))


def test_a_variant_of_short_sequences_is_seen_at_these():
    def short(q, k, v, options):
        if q.shape[1] > 1000:
            raise ValueError("too long")
        return sums(q, k, v)

    def sums(q, k, v):
        state = jnp.einsum("bshd,bshe->bhde", k, v)
        return jnp.einsum("bthd,bhde->bthe", q, jnp.repeat(state, 2, axis=1))

    assert variant_info.linear_memory(variant(short, roles=("bidirectional",)))


def test_one_that_draws_gets_a_key():
    def draws(q, k, v, options):
        noise = jax.random.normal(options.dropout_key, q.shape[-1:])
        return blocks(q + noise[None, None, None], k, v, options)

    assert variant_info.linear_memory(variant(draws, stochastic=True, roles=("bidirectional",)))


def test_families_part_all_variants_by_what_they_can_do():
    def of(linear=True, **facts):
        return variant_info.family(variant(blocks, **facts), linear=linear)

    found = (
        of(score=lambda params: scores.dot, roles=ROLES),
        of(roles=ROLES),
        of(),
        of(mask_kind="keywise"),
        of(cross_step=lambda: None),
        of(linear=False),
    )
    assert found == variant_info.FAMILIES


def test_a_normalizer_of_whole_rows_is_not_linear():
    whole = normalizers.softmax._replace(online=None)

    def attend(q, k, v, options):
        return attention(q, k, v, mask=options.mask, normalizer=whole)

    assert not variant_info.linear_memory(variant(attend))


def test_ways_are_those_that_the_variant_serves():
    assert variant_info.ways(variants.get("alibi")) == {
        "bidirectional": None,
        "causal": masks.causal,
    }
    assert variant_info.ways(variant(blocks, roles=("causal",))) == {"causal": masks.causal}
    assert variant_info.ways(variant(blocks, roles=("cross",))) == {"cross": None}
