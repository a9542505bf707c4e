"""Wrong arguments of every variant's functions: each is answered by one line that says what to do.

Hardly anything is compiled: arrays are known by shape and dtype alone.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import Options, masks, variants

KEY = jax.random.key(0)
SIZES = {"heads": 4, "kv_heads": 2, "head_width": 8}
STATE = SIZES | {"value_width": 6, "dtype": jnp.float32}


def array(*shape, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(shape, dtype)


def narrower(x):
    return array(*x.shape[:-1], x.shape[-1] // 2)


Q, K, V = array(2, 5, 4, 8), array(2, 5, 2, 8), array(2, 5, 2, 8)
ONE = array(2, 4, 8), array(2, 2, 8), array(2, 2, 8)  # one position
OTHERS = ("linear", "delta", "coverage")  # variants with states


def sizes_of(name):
    return SIZES if variants.get(name).features is None else SIZES | {"width": 12}


def features_of_one(name):
    """The keyword of features of one position."""
    own = variants.get(name).features
    if own is None:
        return {}
    found = jax.eval_shape(own, parameters(name), array(2, 1, 12))
    return {"features": jax.tree.map(lambda x: array(2, *x.shape[2:]), found)}


@functools.cache
def parameters(name, head_width=8):
    init, sizes = variants.get(name).init, sizes_of(name) | {"head_width": head_width}
    return jax.eval_shape(lambda: init(KEY, **sizes))


@functools.cache
def started(name, batch=2, width=8):
    start, sizes = variants.get(name).start, STATE | {"head_width": width, "value_width": width}
    return jax.eval_shape(lambda: start(parameters(name, width), batch, 5, **sizes))


def of_init(name):
    init, sizes = variants.get(name).init, sizes_of(name)
    yield lambda: init(KEY), "missing a required .*argument: 'heads'"
    yield lambda: init(KEY, **sizes, no_such=4), "`init` takes no `no_such`. It takes `key`"
    yield lambda: init(KEY, num_heads=4, kv_heads=2, head_width=8), "Did you mean `heads`"
    yield lambda: init(KEY, 4, 2, 8), "too many positional arguments"
    yield lambda: init(0, **sizes), r"`key` must be one random key.*jax.random.key\(0\)"
    yield lambda: init(None, **sizes), "`key` must be one random key; got None"
    yield lambda: init(jax.random.split(KEY), **sizes), "`key` must be one random key"
    yield lambda: init(KEY, **sizes | {"heads": 2.5}), "`heads` must be a whole number"
    yield lambda: init(KEY, **sizes | {"kv_heads": 3}), "`kv_heads` must divide `heads`"


def of_attend(name):
    variant = variants.get(name)
    params = parameters(name)
    attend = functools.partial(variant.attend, params)
    yield lambda: variant.attend(), "missing a required argument: 'params'"
    yield lambda: attend(Q, K, V, mask=masks.causal), r"write `Options\(mask=...\)`"
    yield lambda: attend(Q, K, V, is_causal=True), r"`mask=masks.causal`, in its `Options"
    yield lambda: attend(Q, K, V, None), "`options` must be an `Options`"
    yield lambda: attend(Q, K, V, Options(), 1), "too many positional arguments"
    yield lambda: attend([1.0], K, V), "`query` must be an array"
    yield lambda: attend(Q, K, V, Options(return_lse="yes")), "`return_lse` must be one of"
    yield lambda: attend(array(2, 5, 4, 8, dtype=int), K, V), "`query` must hold floating-point"
    yield lambda: attend(Q, array(2, 5, 3, 8), array(2, 5, 3, 8)), "must divide those of `query`"
    yield lambda: variant.attend({"no_such": Q}, Q, K, V), "`params` must be what `init`"
    if jax.tree.leaves(params):
        yield lambda: variant.attend({}, Q, K, V), "`params` must be.*got none at"
        yield lambda: variant.attend(None, Q, K, V), "`params` must be.*got none at"
        texts = jax.tree.map(lambda x: "x", params)
        if variant.score is None:
            yield lambda: variant.attend(texts, Q, K, V), "`params` must be.*shape.*got 'x'"
    if variant.score is None:
        yield lambda: attend(narrower(Q), K, V), "`key` and `query` must have the same width"


def of_start(name):
    start = functools.partial(variants.get(name).start, parameters(name))
    yield lambda: start(2, 5), "missing a required .*argument: 'heads'"
    yield lambda: start(2, 5, 4, 2, 8, 6), "too many positional arguments"
    yield lambda: start(2.5, 5, **STATE), "`batch` must be a whole number"
    yield lambda: start(2, -1, **STATE), "`length` must be a whole number"
    yield lambda: start(2, 5, **STATE | {"value_width": 0}), "`value_width` must be"
    yield lambda: start(2, 5, **STATE | {"dtype": "int32"}), "`dtype` must be a type of floating"
    other = {"no_such": Q}
    yield lambda: variants.get(name).start(other, 2, 5, **STATE), "`params` must be"


def of_step(name):
    variant, params, state = variants.get(name), parameters(name), started(name)
    own = features_of_one(name)
    step = functools.partial(variant.step, params, **own)
    q, k, v = ONE
    one_sequence, first = jax.tree.map(lambda x: array(1, *x.shape[1:]), (ONE, own))
    yield lambda: step(state, q, k), "missing a required argument: 'v'"
    yield lambda: step(state, q, k, v, mask=1), "`step` takes no `mask`"
    yield lambda: step(state, Q, K, V), r"`query` must have shape \[b h d\]"
    yield lambda: step(state, array(2, 4, 8, dtype=int), k, v), "`query` must hold floating-point"
    yield lambda: step(state, narrower(q), k, v), "must have the same width"
    yield lambda: variant.step(params, state, *one_sequence, **first), "`state` must be of arrays"
    yield lambda: step(None, *ONE), "`state` must be what `start`"
    yield lambda: variant.step({"no_such": Q}, state, *ONE, **own), "`params` must be"
    yield from (
        (lambda given=given: jax.eval_shape(step, given, *ONE), "`state` must be")
        for given in (started(name, width=4), *states(name))
    )


def of_cross_step(name):
    variant, params, state = variants.get(name), parameters(name), started(name)
    step = functools.partial(variant.cross_step, params)
    q, seen = ONE[0], array(2, 5, dtype=bool)
    yield lambda: step(state, q, K, V), "missing a required .*argument: 'visible'"
    yield lambda: step(state, Q, K, V, visible=seen), r"`query` must have shape \[b h d\]"
    yield lambda: step(state, narrower(q), K, V, visible=seen), "must have the same width"
    yield lambda: step(None, q, K, V, visible=seen), "`state` must be what `start`"
    keyed = functools.partial(step, state, q, K, V, visible=seen, dropout_key=3)
    yield keyed, "`dropout_key` must be one random key"
    yield from (
        (
            lambda given=given: jax.eval_shape(
                functools.partial(variant.cross_step, visible=jnp.ones((2, 5), bool)),
                *(params, given, q, K, V),
            ),
            "`state` must be",
        )
        for given in states(name)
    )


def states(name):
    """States of another batch, and of other variants."""
    own = shapes(started(name))
    others = (started(other) for other in OTHERS if other != name)
    return [started(name, batch=3), *(x for x in others if shapes(x) != own)]


def shapes(state):
    return jax.tree.structure(state), [x.shape for x in jax.tree.leaves(state)]


def cases():
    for name in variants.names():
        yield from ((name, of) for of in (of_init, of_attend))
        variant = variants.get(name)
        for function, of in (("start", of_start), ("step", of_step), ("cross_step", of_cross_step)):
            if getattr(variant, function) is not None:
                yield name, of


@pytest.mark.sampled(48)
@pytest.mark.parametrize(("name", "of"), list(cases()), ids=lambda x: getattr(x, "__name__", x))
def test_one_line_says_what_to_write(name, of, users_errors):
    for call, words in of(name):
        with pytest.raises((ValueError, TypeError), match=words) as caught:
            call()
        said = str(caught.value)
        assert "\n" not in said and len(said) < 600, said
        # The last frame is ours, so the words are too.
        assert "attention_jax" in str(caught.traceback[-1].path), said


def test_there_are_many(users_errors):
    assert sum(1 for name, of in cases() for _ in of(name)) >= 1600


def test_parameters_of_more_heads_are_refused(users_errors):
    variant = variants.get("temperature")
    other = {"log_temperature": array(8)}
    with pytest.raises(ValueError, match=r"`params` must be.*shape.*heads=4"):
        variant.attend(other, Q, K, V)


def test_a_score_takes_keys_of_another_width(users_errors):
    params = {"w_q": array(3, 8), "w_k": array(3, 4), "w": array(3)}
    out = jax.eval_shape(variants.get("additive").attend, params, Q, narrower(K), V)
    assert out.shape == Q.shape


def test_an_error_of_a_mask_of_ones_own_stays(users_errors):
    def mask(b, h, i, j):
        raise ZeroDivisionError("of mine")

    attend = functools.partial(variants.get("linear").attend, {}, options=Options(mask))
    with pytest.raises(ZeroDivisionError, match="of mine"):
        jax.eval_shape(attend, Q, K, V)


@pytest.mark.parametrize("name", ["learned_absolute", "memory"])
def test_keys_repeated_for_more_heads_keep_the_parameters_of_theirs(name, qkv):
    variant, (q, k, v) = variants.get(name), qkv
    params = variant.init(KEY, **SIZES)
    shared = variant.attend(params, q, k, v)
    repeated = variant.attend(params, q, jnp.repeat(k, 2, axis=2), jnp.repeat(v, 2, axis=2))
    np.testing.assert_allclose(repeated, shared, rtol=1e-5, atol=1e-6)
