import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax.core import masks
from attention_jax.core.types import Options
from attention_jax.variants._builders import keywise

PADDED = jnp.asarray([[True, True, False], [True, False, True]])


def seen(mask, **offset):
    return keywise.split_mask("this", mask, batch=2, length=3, **offset)


def test_no_mask_shows_all():
    assert seen(None) == (False, None, None)
    assert seen(masks.causal) == (True, None, None)


@pytest.mark.parametrize(
    "mask",
    [
        masks.causal & masks.keys(PADDED),
        masks.keys(PADDED) & masks.causal,
        masks.both(masks.causal, masks.keys(PADDED)),
        masks.both(masks.keys(PADDED), masks.causal),
        masks.both(masks.both(masks.causal, masks.causal), masks.keys(PADDED)),
        masks.both(masks.both(masks.causal, masks.lengths(jnp.array([3, 3]))), masks.keys(PADDED)),
    ],
)
def test_causal_and_padding_are_told_apart(mask):
    causal, keys, _ = seen(mask)
    assert causal and keywise.is_causal(mask)
    np.testing.assert_array_equal(keys, PADDED)


def test_masks_of_keys_are_joined():
    causal, keys, _ = seen(masks.keys(PADDED) & masks.lengths(jnp.array([3, 2])))
    assert not causal
    np.testing.assert_array_equal(keys, [[True, True, False], [True, False, False]])


def test_keys_are_looked_up_at_their_global_positions():
    _, keys, _ = seen(masks.keys(jnp.pad(PADDED, ((0, 0), (4, 0)))), offset=4)
    np.testing.assert_array_equal(keys, PADDED)
    traced = jax.jit(lambda offset: seen(masks.lengths(jnp.array([5, 6])), offset=offset).keys)
    np.testing.assert_array_equal(traced(4), [[True, False, False], [True, True, False]])


@pytest.mark.parametrize(
    "mask, letter",
    [
        (masks.sliding_window(2), "i"),
        (masks.causal & masks.sliding_window(2), "i"),
        (masks.causal | masks.prefix(2), "i"),
        (~masks.causal, "i"),
        (lambda b, h, i, j: j <= i, "i"),
        (masks.Mask(lambda b, h, i, j: (h == 0) | (j > 1)), "h"),
    ],
)
def test_masks_of_single_pairs_are_refused(mask, letter):
    with pytest.raises(ValueError, match=f"`mask` may be .* depends on {letter}. Use `masks.keys`"):
        seen(mask)


def test_masks_of_single_pairs_say_nothing_of_keys():
    both = masks.causal & masks.sliding_window(2) & masks.keys(PADDED)
    np.testing.assert_array_equal(keywise.seen_keys(both, batch=2, length=3), PADDED)
    assert keywise.seen_keys(masks.sliding_window(2), batch=2, length=3) is None


def test_a_causal_pass_has_its_queries_at_its_keys():
    keywise.aligned("this", 3, 3, 0, 0)
    keywise.aligned("this", 3, 3, 2, 2)
    offset = jnp.int32(1)
    keywise.aligned("this", 3, 3, offset, offset)
    for other in ((3, 4, 0, 0), (3, 3, 1, 0), (3, 3, offset, 1), (3, 3, offset, jnp.int32(1))):
        with pytest.raises(ValueError, match="causal pass of this .* `start` and `step`"):
            keywise.aligned("this", *other)


def test_a_pass_both_ways_is_refused_where_the_state_fades():
    keywise.only_causal("this", True)
    with pytest.raises(ValueError, match="this takes in one .* must hold `masks.causal`"):
        keywise.only_causal("this", False)


@pytest.mark.slow
def test_hidden_and_spoiled_keys_are_opened_as_zeros(qkv):
    q, k, v = qkv
    visible = jnp.ones((2, 5), bool).at[0, 1].set(False)
    k = k.at[0, 1].set(jnp.nan).at[1, 2, 0, 3].set(jnp.inf)
    got = keywise.prepare("this", q, k.astype(jnp.bfloat16), v, Options(mask=masks.keys(visible)))
    assert got.q.dtype == got.k.dtype == got.v.dtype == jnp.float32 and not got.causal
    for x in (got.k, got.v):
        assert not x[0, 1].any() and not x[1, 2, 0].any() and (x[1, 2, 1] != 0).all()
    np.testing.assert_array_equal(got.spoiled, jnp.zeros((2, 5, 2), bool).at[1, 2, 0].set(True))


@pytest.mark.slow
def test_rows_that_see_a_spoiled_key_are_closed_as_nan(qkv):
    q, k, v = qkv
    v = v.at[1, 2, 0, 3].set(jnp.nan)
    out = jnp.ones((2, 5, 4, 6))
    before = keywise.prepare("this", q, k, v, Options(mask=masks.causal))
    bad = np.zeros((2, 5, 4), bool)
    bad[1, 2:, :2] = True
    np.testing.assert_array_equal(
        jnp.isnan(keywise.finalize(before, out, q.dtype)), np.repeat(bad[..., None], 6, axis=-1)
    )
    closed = keywise.finalize(keywise.prepare("this", q, k, v, Options()), out, jnp.bfloat16)
    assert closed.dtype == jnp.bfloat16
    bad[1, :, :2] = True
    np.testing.assert_array_equal(jnp.isnan(closed), np.repeat(bad[..., None], 6, axis=-1))


def test_what_no_sum_of_keys_can_do_is_refused(qkv, users_errors):
    key = jax.random.key(0)
    with pytest.raises(ValueError, match="`dropout_rate` must be 0 for this.*; got 0.1"):
        keywise.prepare("this", *qkv, Options(dropout_rate=0.1, dropout_key=key))
    with pytest.raises(ValueError, match=r"`dropout_rate` must be .* in \[0, 1\)"):
        keywise.prepare("this", *qkv, Options(dropout_rate=1.5, dropout_key=key))
    with pytest.raises(ValueError, match=r"`key` must have shape \[b s g d\]"):
        keywise.prepare("this", qkv[0], qkv[1][0], qkv[2], Options())
    with pytest.raises(ValueError, match="`return_lse` must be False for this.*; got True"):
        keywise.prepare("this", *qkv, Options(return_lse=True))
    with pytest.raises(ValueError, match="`implementation` must be None for this.*; got 'dense'"):
        keywise.prepare("this", *qkv, Options(implementation="dense"))
    with pytest.raises(ValueError, match="causal pass of this"):
        keywise.prepare("this", *qkv, Options(mask=masks.causal, query_offset=1))
