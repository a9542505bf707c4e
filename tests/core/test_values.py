"""Functions that are made alike are equal, and survive a pickle."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax.core import mask_rules, masks, normalizers, positions, scores, values

IDS = np.array([[0, 0, 1, 1, 2]])
W = np.arange(4.0, dtype=np.float32).reshape(2, 2)
# Each made twice, from arrays of their own.
MAKERS = {
    "causal": lambda: masks.causal,
    "window": lambda: masks.sliding_window(4),
    "dilated": lambda: masks.sliding_window(4, dilation=2),
    "strided": lambda: masks.strided(3),
    "neighborhood": lambda: masks.neighborhood(3, height=4, width=5),
    "and": lambda: masks.causal & masks.sliding_window(4),
    "or": lambda: masks.chunks(3) | masks.summaries(3, 1),
    "not": lambda: ~masks.prefix(3),
    "lengths": lambda: masks.lengths(jnp.array([4, 2])),
    "keys": lambda: masks.keys(jnp.array([[True, False]])),
    "documents": lambda: masks.documents(jnp.array(IDS), jnp.array(IDS)),
    "of numpy": lambda: masks.Mask(values.bind(mask_rules.documents, IDS.copy(), IDS.copy())),
    "array": lambda: masks.causal & masks.from_array(jnp.ones((1, 1, 2, 2), bool)),
    "scaled dot": lambda: scores.scaled_dot,
    "cosine": lambda: scores.cosine(temperature=0.5),
    "general": lambda: scores.general(jnp.array(W)),
    "additive": lambda: scores.additive(jnp.array(W), jnp.array(W), jnp.array(W[0])),
    "distance": lambda: scores.distance(width=2.0),
    "alibi": lambda: positions.alibi(heads=4),
    "t5": lambda: positions.t5_bias(jnp.ones((32, 2)), max_distance=64),
    "by distance": lambda: positions.by_distance(jnp.ones((1, 2, 1, 3)), rows="keys", offset=1),
    "softmax": lambda: normalizers.softmax,
    "sink": lambda: normalizers.softmax_with_sink(jnp.ones(2)),
    "sigmoid": lambda: normalizers.sigmoid(-1.5),
    "sigmoid of count": lambda: normalizers.sigmoid(None),
    "top k": lambda: normalizers.top_k(3),
    "entmax": lambda: normalizers.entmax(1.5),
    "entmax of heads": lambda: normalizers.entmax(jnp.array([1.5, 1.2])),
    **{
        name: lambda name=name: getattr(normalizers, name)
        for name in ("relu", "hard", "straight_through", "sparsemax", "entmax15")
    },
}


@pytest.mark.parametrize("name", MAKERS)
def test_made_alike_they_are_equal_and_so_is_a_pickled_copy(name):
    first, second = MAKERS[name](), MAKERS[name]()
    for other in (second, pickle.loads(pickle.dumps(first))):
        assert first == other and hash(first) == hash(other)
    alike = {"documents", "of numpy"}  # the same numbers
    for other, make in MAKERS.items():
        assert other == name or {name, other} == alike or first != make()


def test_other_parameters_make_others():
    assert masks.sliding_window(4) != masks.sliding_window(5)
    assert masks.sliding_window(4) != masks.chunks(4)
    assert masks.causal & masks.full != masks.full & masks.causal
    assert masks.lengths(jnp.array([4, 2])) != masks.lengths(jnp.array([4, 3]))
    assert masks.lengths(jnp.array([4, 2])) != masks.lengths(jnp.array([4, 2], jnp.int16))
    assert scores.cosine(temperature=1.0) != scores.cosine(temperature=2.0)


@pytest.mark.slow
def test_a_pickled_copy_works():
    mask = masks.causal & masks.documents(jnp.array(IDS), jnp.array(IDS)) | ~masks.prefix(2)
    copy = pickle.loads(pickle.dumps(mask))
    for i, j in np.ndindex(5, 5):
        assert bool(copy(0, 0, i, j)) == bool(mask(0, 0, i, j))
    bound = pickle.loads(pickle.dumps(scores.general(jnp.array(W))))
    q, k = jnp.array([1.0, 2.0]), jnp.array([3.0, 4.0])
    np.testing.assert_allclose(bound(q, k), q @ W @ k)


def module_level(b, h, i, j):
    return j != 3


def test_functions_of_users_compare_by_identity_and_pickle_by_name():
    first, second = masks.causal & module_level, masks.causal & module_level
    assert first == second and pickle.loads(pickle.dumps(first)) == first
    assert masks.causal & (lambda b, h, i, j: j != 3) != masks.causal & (lambda b, h, i, j: j != 3)


def test_an_array_of_numpy_is_held_as_it_was():
    lengths = np.array([4, 2])
    bound, before = (values.bind(mask_rules.lengths, x) for x in (lengths, lengths.copy()))
    lengths[:] = 0
    assert bound == before and bool(masks.Mask(bound)(0, 0, 0, 3))


def test_traced_arrays_equal_only_themselves():
    @jax.jit
    def trace(x):
        one, two = masks.lengths(x), masks.lengths(x + 1)
        assert one == masks.lengths(x) and one != two and hash(one) == hash(masks.lengths(x))
        assert one != masks.lengths(jnp.array([1, 2])) and not values.is_settled(one)
        return x

    trace(jnp.array([4, 2]))


def test_only_what_cannot_change_is_settled():
    for make in MAKERS.values():
        assert values.is_settled(make())
    assert not values.is_settled(masks.causal & module_level)
    assert not values.is_settled(masks.Mask(lambda b, h, i, j: j <= i))
    alone = {}
    exec("def score(q, k): return q @ k", alone)  # of no module
    assert not values.is_settled(alone["score"])
    assert not values.is_settled(values.bind(module_level))


def test_what_does_not_hash_does_not_fail():
    class Odd:
        __hash__ = None

        def __eq__(self, other):
            raise RuntimeError("no")

        def __call__(self, b, h, i, j):
            return j <= i

    odd = Odd()
    assert hash(masks.Mask(odd)) == hash(masks.Mask(Odd()))
    assert masks.Mask(odd) == masks.Mask(odd) and masks.Mask(odd) != masks.Mask(Odd())
