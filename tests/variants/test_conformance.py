"""Every variant, every promise: each that `variants.names()` lists is held to all of them.

The promises stand in `variants/_conformance.py`, where a person's own variant is held to them
too; here it is also seen that each notices a variant that breaks it.
"""

from typing import Any

import jax
import jax.numpy as jnp
import pytest

from attention_jax import attention, masks, variants
from attention_jax.core.types import ROLES, Variant, no_parameters
from attention_jax.variants import _conformance
from attention_jax.variants._conformance import PROMISES, Case, NotPromised

# In the fast tests, variants for which a promise of that cost is checked: each has its own.
SAMPLES = {"second": 4, "long": 1}


def marks(promise):
    if promise.cost in SAMPLES:
        return pytest.mark.sampled(SAMPLES[promise.cost])
    return pytest.mark.slow if promise.cost == "longest" else ()


# Those of the library, and forms of them that differ as much as others do.
NAMES = [*variants.names(), "gated(gates='query')", "gated_delta(gates='key')"]
NAMES += ["forgetting(gates='key')", "latent(rotary_width=0, query_latent_width=5)"]
NAMES += ["titans(batch=2)"]


@pytest.fixture(params=NAMES, scope="module")
def case(request):
    return Case(variants.resolve(request.param))


@pytest.mark.parametrize("promise", [pytest.param(p, marks=marks(p), id=p.name) for p in PROMISES])
def test_a_promise_is_kept(case, promise, request):
    if promise is _conformance.log_sum_exp_or_refusal:
        request.getfixturevalue("users_errors")  # the refusal, not that of the shape checks
    try:
        promise.check(case)
    except NotPromised as why:
        pytest.skip(str(why))


def test_there_are_promises():
    assert len(PROMISES) == len({p.name for p in PROMISES}) >= 17
    assert all(p.text.endswith(".") and "\n" not in p.text for p in PROMISES)


def broken(attend, init=no_parameters, **facts):
    return Variant(init, attend, **{"roles": ROLES} | facts)


def plain(params, q, k, v, options):
    return attention(q, k, v, **options._asdict())


def blind(params, q, k, v, options):
    """No mask at all."""
    return attention(q, k, v, **options._replace(mask=None)._asdict())


def poisoned(params, q, k, v, options):
    """Adds the mean of all values, hidden ones too."""
    return plain(params, q, k, v, options) + jnp.repeat(v, 2, 2).mean(1, keepdims=True)


def wide(params, q, k, v, options):
    return plain(params, *(x.astype(jnp.float32) for x in (q, k, v)), options)


def widened(params, q, k, v, options):
    """Ends in the default float, which in 64-bit mode is wide."""
    return plain(params, q, k, v, options).astype(float)


growing = variants.get("delta")._replace(
    step=lambda params, state, *qkv: (jax.tree.map(lambda x: x.astype(float), state), qkv[0])
)


plainly: Any = variants.get("linear")
forgetful = plainly._replace(
    extend=lambda params, state, *qkv, visible=None: plainly.extend(
        params, jax.tree.map(jnp.zeros_like, state), *qkv, visible=visible
    )
)


# Reads packed documents as one.
mingled = plainly._replace(
    attend=lambda params, q, k, v, options: plainly.attend(
        params, q, k, v, options._replace(mask=masks.causal)
    )
)


def batched(params, q, k, v, options):
    """Each output depends on the others of its batch."""
    out = plain(params, q, k, v, options)
    return out + out.mean(0, keepdims=True)


def stepped(params, q, k, v, options):
    """Forgets the offsets."""
    return attention(q, k, v, mask=options.mask)


def short(params, q, k, v, options):
    return plain(params, q, k, v, options)[:, :100]


def unshared(params, q, k, v, options):
    """Weighs the first key head twice."""
    return plain(params, q, k.at[:, :, 0].multiply(2), v, options)


def unlogged(params, q, k, v, options):
    return attention(q, k, v, mask=options.mask)


@jax.custom_jvp
def lopsided(x):
    """The identity, whose derivative is another one forward than backward."""
    return x


@lopsided.defjvp
def _(primals, tangents):
    once, twice = (lambda _, x: x), (lambda _, x: 2 * x)
    return primals[0], jax.custom_derivatives.linear_call(once, twice, (), tangents[0])


@jax.custom_jvp
def curled(x):
    """The identity, whose derivative is that of no function."""
    return x


@curled.defjvp
def _(primals, tangents):
    return primals[0], tangents[0] * jnp.roll(primals[0], 1)


def through(change):
    return lambda params, q, k, v, options: change(plain(params, q, k, v, options))


def learns(key, **sizes):
    return {"unused": jnp.ones(3)}


def outside_jit(params, q, k, v, options):
    """Another result where nothing is traced."""
    out = plain(params, q, k, v, options)
    return out if isinstance(q, jax.core.Tracer) else out + 1


@pytest.mark.sampled(8)
@pytest.mark.parametrize(
    ("name", "variant", "sentence"),
    [
        ("roles_are_known", broken(plain, roles=("sideways",)), "`roles` must be some of"),
        ("roles_are_known", broken(plain, mask_kind="none"), "`mask_kind` must be"),
        ("roles_are_known", broken(plain, step=plain), "`start` must be there"),
        ("refuses_the_impossible", broken(plain, roles=("cross",)), "names 'causal'"),
        ("refuses_the_impossible", broken(plain, mask_kind="keywise"), "names 'mask'"),
        ("no_leak_from_the_future", broken(blind), "Outputs change with inputs that come later"),
        ("masked_is_absent", broken(poisoned), "A hidden last key changes the output"),
        ("blind_rows_are_zero", broken(poisoned), "Queries that see nothing must give 0"),
        ("parameters_learn", broken(plain, learns), r"without any gradient: \['unused'\]"),
        ("bfloat16_stays", broken(wide), "must give bfloat16; got float32"),
        ("float32_stays_in_64_bit_mode", broken(widened), "must give float32; got float64"),
        ("float32_stays_in_64_bit_mode", growing, "must keep the dtypes of its state"),
        ("vmap_changes_nothing", broken(batched), "differ from those of a batch"),
        ("any_length", broken(short), r"must be \(1, 131, 4, 6\)"),
        ("heads_share_keys", broken(unshared), "Shared heads and their copies"),
        ("steps_reproduce_the_pass", broken(stepped), "Decoding step by step differs"),
        ("extension_is_the_pass", forgetful, "`extend` in pieces, and steps after it"),
        ("packed_documents_are_apart", mingled, "A packed document differs from one alone"),
        ("offsets_keep_positions", broken(stepped), "With offsets, the last rows differ"),
        ("log_sum_exp_or_refusal", broken(unlogged), "log-sum-exps must be"),
        ("jit_changes_nothing", broken(outside_jit), "with and without `jax.jit` differ"),
        ("forward_mode_agrees", broken(through(lopsided)), "not the derivative of forward mode"),
        ("second_derivatives_are_symmetric", broken(through(curled)), "Hessian is not symmetric"),
        (
            "cross_steps_reproduce_the_pass",
            variants.get("coverage")._replace(attend=plain),
            "Query after query differs",
        ),
        (
            "score_is_the_variant",
            broken(plain, score=lambda params: lambda q, k: q @ k),
            "`attend` differs from attention by `score`",
        ),
    ],
)
def test_a_broken_promise_is_noticed(name, variant, sentence):
    promise = getattr(_conformance, name)
    with pytest.raises(AssertionError, match=sentence):
        promise.check(Case(variant))
