"""Variants whose sequence is divided: those of the linear family exchange states, others gather."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AxisType

import attention_jax as aj
from attention_jax import masks, variants
from attention_jax.core.types import Options
from tests.support import shared_programs

LINEAR = ("linear", "cosformer", "performer", "retention", "gated_linear", "delta")
LINEAR += ("gated_delta(gates='key')", "based", "lightning", "hgrn2")
OF_INPUT = ("gated_delta", "mamba2", "delta_product(gated=True)", "kda", "rwkv7")
# Their queries depend on all before them, or on means of a whole sequence.
REFUSED = ("coverage", "location_aware", "mocha", "monotonic", "neural_turing", "nystromformer")
OTHERS = ("alibi", "rope", "t5_bias", "relative", "differential", "softmax_with_sink", "gated")
OTHERS += ("gated(gates='query')", "forgetting", "content_bias", "latent(latent_width=5)")
OTHERS += ("sandwich", "exclusive", "softpick", "stick_breaking")
CHOOSE = ("moba(size=4)", "native_sparse(window=6)", "indexed_sparse(keys=5)")
SAME = 1e-11  # in float64


def check(cases):
    for case, found in zip(cases, shared_programs.measured("context_variants", cases), strict=True):
        assert max(found) < SAME, (case, found)


@pytest.mark.slow
@pytest.mark.parametrize("place", ["jit", "manual"])
def test_states_pass_from_shard_to_shard(place):
    """Causal passes, with hidden keys; all gradients, of parameters too."""
    check([[name, "gather", "natural", place] for name in (*LINEAR, *OF_INPUT)])


@pytest.mark.slow
def test_convolutions_reach_over_several_shards():
    """6 positions to a shard, and 9 to a convolution."""
    names = ("gated_delta(convolution=9)", "delta_product(convolution=9)")
    check([[name, "gather", "natural", "jit"] for name in names])


@pytest.mark.slow
def test_others_see_the_keys_of_all_shards():
    check([[name, "gather", "natural", "jit"] for name in (*OTHERS, *CHOOSE)])


@pytest.mark.slow
def test_others_know_the_zigzag_order():
    check([[name, "gather", "zigzag", "manual"] for name in OTHERS])


@pytest.mark.slow
def test_scores_and_modifiers_run_in_a_ring():
    names = ("scaled_dot", "alibi", "rope", "t5_bias", "softmax_with_sink")
    names += ("polynomial", "scalable_softmax", "laser")
    check([[name, "ring", "zigzag", "jit"] for name in names])


@pytest.fixture
def eight():
    mesh = jax.sharding.AbstractMesh((8,), ("sequence",), axis_types=(AxisType.Auto,))
    with jax.sharding.use_abstract_mesh(mesh):
        yield


def refused(name, line, *context, length=64):
    variant = variants.get(name)
    params = variant.init(jax.random.key(0), heads=2, kv_heads=2, head_width=8)
    x = jax.ShapeDtypeStruct((1, length, 2, 8), jnp.float32)
    mask = masks.causal if "causal" in variant.roles else None
    options = Options(mask=mask, context=aj.Context("sequence", *context))
    with pytest.raises(ValueError, match=line) as caught:
        jax.eval_shape(lambda *x: variant.attend(params, *x, options), x, x, x)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_what_a_variant_cannot_is_refused_in_one_line(eight):
    refused("retention", "`context` must have the strategy 'gather'.*got 'ring'", "ring")
    refused("linear", "the order 'natural'; got 'gather' and 'zigzag'", "gather", "zigzag")
    refused("differential", "not known to merge", "ring")
    refused("differential", "promises no window", "neighbors")
    refused("entmax15", "needs whole rows", "ring")
    refused("alibi", "must be a multiple of 8.*got 60", length=60)
    for name in REFUSED:
        refused(name, "quer(y|ies)")
