"""Abilities of variants: seen in their members and programs, and recorded for the library."""

import jax
import jax.numpy as jnp
import pytest

from attention_jax import attention, variants
from attention_jax.analysis import variant_support
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


@pytest.mark.parametrize(
    ("attend", "linear"), [(dense, False), (one_after_another, False), (blocks, True)]
)
def test_linear_memory_is_seen_in_the_program(attend, linear):
    assert variant_support.linear_memory(variant(attend, roles=("bidirectional",))) is linear


def test_every_way_counts():
    def causal_is_dense(q, k, v, options):
        own = dense if options.mask is masks.causal else blocks
        return own(q, k, v, options)

    assert variant_support.linear_memory(variant(causal_is_dense, roles=("bidirectional",)))
    assert not variant_support.linear_memory(variant(causal_is_dense))


def test_a_share_of_all_pairs_is_not_linear():
    def summaries(q, k, v, options):
        k, v = (x.reshape(1, -1, 16, *x.shape[2:]).mean(2) for x in (k, v))
        return dense(q, k, v, options)

    assert not variant_support.linear_memory(variant(summaries, roles=("bidirectional",)))


def test_a_variant_of_short_sequences_is_seen_at_these():
    def short(q, k, v, options):
        if q.shape[1] > 1000:
            raise ValueError("too long")
        return sums(q, k, v)

    def sums(q, k, v):
        state = jnp.einsum("bshd,bshe->bhde", k, v)
        return jnp.einsum("bthd,bhde->bthe", q, jnp.repeat(state, 2, axis=1))

    assert variant_support.linear_memory(variant(short, roles=("bidirectional",)))


def test_one_that_draws_gets_a_key():
    def draws(q, k, v, options):
        noise = jax.random.normal(options.dropout_key, q.shape[-1:])
        return blocks(q + noise[None, None, None], k, v, options)

    assert variant_support.linear_memory(variant(draws, stochastic=True, roles=("bidirectional",)))


def test_families_part_all_variants_by_what_they_can_do():
    def of(linear=True, **facts):
        return variant_support.family(variant(blocks, **facts), linear=linear)

    found = (
        of(score=lambda params: scores.dot, roles=ROLES),
        of(roles=ROLES),
        of(),
        of(mask_kind="keywise"),
        of(cross_step=lambda: None),
        of(linear=False),
    )
    assert found == variant_support.FAMILIES


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("delta", "sums and states"),
        ("log_linear", "sums and states"),
        ("moba", "positions and patterns"),
        ("native_sparse", "positions and patterns"),
        ("path", "positions and patterns"),
    ],
)
def test_a_state_that_keeps_positions_is_no_sum(name, family):
    assert variant_support.family(variants.get(name), linear=True) == family


def test_a_normalizer_of_whole_rows_is_not_linear():
    whole = normalizers.softmax._replace(online=None)

    def attend(q, k, v, options):
        return attention(q, k, v, mask=options.mask, normalizer=whole)

    assert not variant_support.linear_memory(variant(attend))


def test_ways_are_those_that_the_variant_serves():
    assert variant_support.ways(variants.get("alibi")) == {
        "bidirectional": None,
        "causal": masks.causal,
    }
    assert variant_support.ways(variant(blocks, roles=("causal",))) == {"causal": masks.causal}
    assert variant_support.ways(variant(blocks, roles=("cross",))) == {"cross": None}


def test_the_record_holds_variants_of_the_library_alone():
    assert set(variant_support.recorded()) <= set(variants.names())


@pytest.mark.sampled(2)
@pytest.mark.parametrize("case", sorted(set(variant_support.recorded()) - {"hierarchical"}))
def test_the_record_is_true(case):
    """Where it is not: `attention-jax record` writes it anew."""
    assert variant_support.recorded()[case] == variant_support.support_of(variants.get(case))


@pytest.mark.slow  # its many levels take as long to trace as ten others
def test_the_record_of_the_largest_program_is_true():
    test_the_record_is_true("hierarchical")


@pytest.mark.slow
def test_what_needs_no_trace_is_true_of_all():
    for name, support in variant_support.recorded().items():
        variant = variants.get(name)
        assert support == support._replace(
            roles=variant.roles,
            mask_kind=variant.mask_kind,
            stochastic=variant.stochastic,
            steps=variant.step is not None,
            rnn=variant.score is not None or variant.cross_step is not None,
            family=variant_support.family(variant, linear=support.linear_memory),
        )


@pytest.mark.slow
def test_the_record_is_written_as_it_is_read(monkeypatch, tmp_path):
    monkeypatch.setattr(variants, "names", lambda: ("dot",))
    monkeypatch.setattr(variant_support, "RECORD", tmp_path / "record.json")
    before = variant_support.support_of(variants.get("dot"))
    assert variant_support.record() == tmp_path / "record.json"
    assert variant_support.recorded() == {"dot": before}
