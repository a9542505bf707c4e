import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax.engine import onnx_operator


def oracle(
    query,
    key,
    value,
    attn_mask=None,
    past_key=None,
    past_value=None,
    nonpad_kv_seqlen=None,
    *,
    is_causal=0,
    kv_num_heads=None,
    q_num_heads=None,
    scale=None,
    softcap=0.0,
    left_window_size=-1,
    right_window_size=-1,
    stage=None,
):
    """The specification of the operator, one query at a time, in float64.

    With `stage` the fourth output of that mode.
    """
    flat = np.ndim(query) == 3
    q, k, v = (np.asarray(x, np.float64) for x in (query, key, value))
    if flat:
        q, k, v = (
            x.reshape(*x.shape[:2], n, -1).swapaxes(1, 2)
            for x, n in ((q, q_num_heads), (k, kv_num_heads), (v, kv_num_heads))
        )
    past = 0
    if past_key is not None:
        past = past_key.shape[2]
        k = np.concatenate([np.asarray(past_key, np.float64), k], axis=2)
        v = np.concatenate([np.asarray(past_value, np.float64), v], axis=2)
    b, h, t, d = q.shape
    s, group = k.shape[2], h // k.shape[1]
    add = np.zeros((b, h, t, s))
    if attn_mask is not None:
        mask = np.asarray(attn_mask)
        if mask.dtype == bool:
            mask = np.where(mask, 0, -np.inf)
        fill = [(0, 0)] * (mask.ndim - 1) + [(0, s - mask.shape[-1])]
        add = add + np.pad(np.asarray(mask, np.float64), fill, constant_values=-np.inf)
    out, kept = np.zeros((b, h, t, v.shape[-1])), np.zeros((b, h, t, s))
    for at in np.ndindex(b, h, t):
        of_b, of_h, i = at
        frontier, end = i + past, s
        if nonpad_kv_seqlen is not None:
            end = int(nonpad_kv_seqlen[of_b])
            frontier = i + end - t
        products = k[of_b, of_h // group] @ q[at] * (d**-0.5 if scale is None else scale)
        kept[at] = products
        if softcap:
            products = softcap * np.tanh(products / softcap)
        logits = products + add[at]
        for j in range(s):
            early = 0 <= left_window_size < frontier - j
            late = 0 <= right_window_size < j - frontier
            if j >= end or (is_causal and j > frontier) or early or late:
                logits[j] = -np.inf
        if stage:
            kept[at] = products if stage == 1 else logits
        if stage == 3:
            powers = np.exp(logits - max(logits.max(), -1e9))
            kept[at] = powers / max(powers.sum(), 1e-30)
        if (logits > -np.inf).any():
            weights = np.exp(logits - logits.max())
            out[at] = weights @ v[of_b, of_h // group] / weights.sum()
    if stage is not None:
        return kept
    return out.swapaxes(1, 2).reshape(b, t, -1) if flat else out


@pytest.fixture
def inputs(draw):
    """Queries, keys and values of 2 sequences: 4 queries, 6 keys, 4 heads over 2."""
    return draw(2, 4, 4, 8), draw(2, 2, 6, 8), draw(2, 2, 6, 5)


@pytest.fixture
def past(draw):
    return {"past_key": draw(2, 2, 3, 8), "past_value": draw(2, 2, 3, 5)}


def check(*inputs, **rest):
    """Compares with the oracle, and returns all outputs."""
    arrays = {name: x for name, x in rest.items() if isinstance(x, jax.Array)}
    fixed = {name: x for name, x in rest.items() if name not in arrays}
    outputs = jax.jit(lambda *x, **y: onnx_operator.attention(*x, **y, **fixed))(*inputs, **arrays)
    np.testing.assert_allclose(outputs.y, oracle(*inputs, **rest), rtol=1e-5, atol=1e-6)
    return outputs


@pytest.mark.parametrize(
    "attributes", [{}, {"scale": 0.05}, {"softcap": 0.5}, {"is_causal": 1}], ids=str
)
def test_four_axes(inputs, attributes):
    y, key, value = check(*inputs, **attributes)
    assert y.shape == (2, 4, 4, 5)
    np.testing.assert_array_equal(key, inputs[1])
    np.testing.assert_array_equal(value, inputs[2])


def test_heads_may_be_named_where_axes_show_them(inputs):
    check(*inputs, q_num_heads=4, kv_num_heads=2)


@pytest.mark.parametrize("heads", [(4, 4), (4, 2), (4, 1)])
def test_three_axes(draw, heads):
    h, g = heads
    query, key, value = draw(2, 4, 8 * h), draw(2, 6, 8 * g), draw(2, 6, 5 * g)
    y, present, _ = check(query, key, value, q_num_heads=h, kv_num_heads=g, is_causal=1)
    assert y.shape == (2, 4, 5 * h) and present.shape == (2, g, 6, 8)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("shape", [(4, 6), (1, 4, 6), (4, 4, 6), (2, 1, 1, 6), (2, 4, 4, 6), (6,)])
@pytest.mark.parametrize("kind", ["boolean", "numbers"])
def test_masks_broadcast(inputs, draw, shape, kind):
    mask = draw(*shape)
    mask = mask > 0 if kind == "boolean" else jnp.where(mask < -1, -jnp.inf, mask)
    assert 0 < jnp.isfinite(mask).mean() <= 1
    check(*inputs, attn_mask=mask)


@pytest.mark.parametrize("kind", ["boolean", "numbers"])
def test_a_shorter_mask_hides_the_keys_beyond_it(inputs, draw, kind):
    mask = draw(4, 4)
    check(*inputs, attn_mask=mask > -1 if kind == "boolean" else mask)


@pytest.mark.slow
def test_a_soft_cap_comes_before_the_mask(inputs, draw):
    """Bounded after it, hidden keys would come back, and large numbers be cut."""
    mask = 5 * draw(4, 6)
    check(*inputs, attn_mask=jnp.where(mask < -3, -jnp.inf, mask), softcap=0.5)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("is_causal", [0, 1])
@pytest.mark.parametrize("flat", [False, True])
def test_the_past_comes_first(inputs, past, draw, is_causal, flat):
    query, key, value = inputs
    heads = {"q_num_heads": 4, "kv_num_heads": 2} if flat else {}
    if flat:
        query, key, value = (x.swapaxes(1, 2).reshape(2, x.shape[2], -1) for x in inputs)
    mask = draw(4, 4, 9)
    outputs = check(query, key, value, attn_mask=mask, **past, **heads, is_causal=is_causal)
    for name, new in (("key", inputs[1]), ("value", inputs[2])):
        whole = jnp.concatenate([past[f"past_{name}"], new], axis=2)
        np.testing.assert_array_equal(getattr(outputs, f"present_{name}"), whole)


@pytest.mark.slow
def test_one_step_after_another_is_the_causal_pass(draw):
    query, key, value = draw(2, 4, 5, 8), draw(2, 2, 5, 8), draw(2, 2, 5, 6)
    whole = check(query, key, value, is_causal=1).y
    past = {"past_key": key[:, :, :0], "past_value": value[:, :, :0]}
    for n in range(5):
        new = (x[:, :, n : n + 1] for x in (query, key, value))
        y, *cache = jax.jit(functools.partial(onnx_operator.attention, is_causal=1))(*new, **past)
        past = dict(zip(past, cache, strict=True))
        np.testing.assert_allclose(y[:, :, 0], whole[:, :, n], rtol=1e-5, atol=1e-6)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("is_causal", [0, 1])
@pytest.mark.parametrize("masked", [False, True])
def test_lengths_hide_padding_and_place_the_queries(inputs, draw, is_causal, masked):
    query, key, value = inputs
    # The second sequence has fewer keys than queries: the first of these may see none.
    lengths = jnp.array([5, 2])
    rest = {"attn_mask": draw(4, 6) > -1} if masked else {}
    y = check(*inputs, nonpad_kv_seqlen=lengths, is_causal=is_causal, **rest).y
    padding = jnp.arange(6)[None] >= lengths[:, None]
    spoiled = [jnp.where(padding[:, None, :, None], jnp.nan, x) for x in (key, value)]
    again = onnx_operator.attention(
        query, *spoiled, nonpad_kv_seqlen=lengths, is_causal=is_causal, **rest
    ).y
    np.testing.assert_allclose(again, y, rtol=1e-6)
    if is_causal:
        np.testing.assert_array_equal(y[1, :, :2], 0)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("kind", ["plain", "past", "lengths"])
@pytest.mark.parametrize(
    "window", [{"left_window_size": 1, "right_window_size": 0}, {"right_window_size": 2}], ids=str
)
def test_windows_are_about_the_position_of_a_query(inputs, past, draw, kind, window):
    rest = {"plain": {}, "past": past, "lengths": {"nonpad_kv_seqlen": jnp.array([5, 2])}}[kind]
    check(*inputs, **rest, **window, is_causal=int(kind == "past"))


@pytest.mark.sampled(1)
@pytest.mark.parametrize("mode", [0, 1, 2, 3])
def test_the_fourth_output_holds_scores_or_weights(inputs, past, draw, mode):
    mask = draw(4, 4, 9).at[1, 2].set(-jnp.inf)
    rest = {"attn_mask": mask, **past, "is_causal": 1, "softcap": 0.7}
    call = jax.jit(
        functools.partial(
            onnx_operator.attention, is_causal=1, softcap=0.7, qk_matmul_output_mode=mode
        )
    )
    got = call(*inputs, attn_mask=mask, **past)
    expected = oracle(*inputs, **rest, stage=mode)
    np.testing.assert_allclose(got.qk_matmul_output, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(got.y, oracle(*inputs, **rest), rtol=1e-5, atol=1e-6)


def test_there_is_a_fourth_output_only_where_it_is_asked_for(inputs):
    assert len(jax.eval_shape(onnx_operator.attention, *inputs)) == 3


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["boolean", "numbers"])
def test_a_query_that_sees_nothing_gives_0(inputs, kind):
    shown = jnp.ones((4, 6), bool).at[1].set(False)
    mask = shown if kind == "boolean" else jnp.where(shown, 0.0, -jnp.inf)
    y = check(*inputs, attn_mask=mask).y
    np.testing.assert_array_equal(y[:, :, 1], 0)
    gradient = jax.grad(
        lambda q: (onnx_operator.attention(q, *inputs[1:], attn_mask=mask).y ** 2).sum()
    )
    np.testing.assert_array_equal(gradient(inputs[0])[:, :, 1], 0)


@pytest.mark.slow
def test_numbers_of_a_mask_learn(inputs, draw):
    mask = jnp.where(jnp.eye(4, 6, dtype=bool), -jnp.inf, draw(4, 6))
    gradient = jax.grad(
        lambda mask: jnp.sin(onnx_operator.attention(*inputs, attn_mask=mask).y).sum()
    )(mask)
    assert ((gradient != 0) == ~np.eye(4, 6, dtype=bool)).all() and jnp.isfinite(gradient).all()


@pytest.mark.slow
def test_a_number_that_is_none_shows(inputs):
    mask = jnp.zeros((4, 6)).at[1, 2].set(jnp.nan)
    y = onnx_operator.attention(*inputs, attn_mask=mask).y
    assert jnp.isnan(y[:, :, 1]).all() and jnp.isfinite(y[:, :, [0, 2, 3]]).all()


@pytest.mark.parametrize("precision", [None, 1, 10, 16])
def test_the_softmax_is_at_least_as_precise(inputs, precision):
    narrow = [x.astype(jnp.bfloat16) for x in inputs]
    y = onnx_operator.attention(*narrow, softmax_precision=precision).y
    assert y.dtype == jnp.bfloat16
    expected = oracle(*(x.astype(jnp.float32) for x in narrow))
    # Off by the rounding of the output only.
    np.testing.assert_allclose(y.astype(jnp.float32), expected, rtol=2**-8, atol=1e-6)


@pytest.mark.slow
def test_long_sequences(draw):
    query, key, value = draw(1, 2, 140, 8), draw(1, 1, 150, 8), draw(1, 1, 150, 8)
    mask = draw(2, 140, 150)
    check(query, key, value, attn_mask=mask, nonpad_kv_seqlen=jnp.array([145]), is_causal=1)


@pytest.mark.parametrize(
    ("rest", "error"),
    [
        ({"q_num_heads": 3}, "`q_num_heads` must be the length of axis 1 of `query`; got 3"),
        ({"past_key": jnp.zeros((2, 2, 3, 8))}, "`past_value` must be given along with `past_key`"),
        (
            {"past_key": jnp.zeros((2, 4, 3, 8)), "past_value": jnp.zeros((2, 2, 3, 5))},
            r"`past_key` must be \[b g p d\] = \[2, 2, p, 8\].*; got shape \(2, 4, 3, 8\)",
        ),
        ({"attn_mask": jnp.zeros((4, 7))}, r"`attn_mask` must broadcast to .*\(4, 7\)"),
        ({"attn_mask": jnp.zeros((3, 6))}, r"`attn_mask` must broadcast to .*\(3, 6\)"),
        ({"attn_mask": jnp.zeros((4, 1))}, "Repeat it, or fill it up, by hand"),
        ({"attn_mask": jnp.zeros((1, 2, 4, 4, 6))}, r"`attn_mask` must broadcast to"),
        ({"attn_mask": jnp.ones((4, 6), int)}, "`attn_mask` must hold floating-point numbers"),
        ({"nonpad_kv_seqlen": jnp.array([5])}, "each of 2 sequences; got int32"),
        ({"is_causal": 2}, "`is_causal` must be one of 0, 1; got 2"),
        ({"qk_matmul_output_mode": 4}, "`qk_matmul_output_mode` must be one of .*; got 4"),
        ({"left_window_size": -2}, "`left_window_size` must be a whole number .*got -2"),
        ({"right_window_size": 1.5}, "`right_window_size` must be a whole number .*got 1.5"),
        ({"scale": 0.0}, "`scale` must be above 0; got 0.0"),
        ({"softcap": -1.0}, "`softcap` must be 0, for none, or above; got -1.0"),
        ({"softmax_precision": 7}, "`softmax_precision` must be one of"),
        ({"softmax_precision": 11}, "needs an input of float64.*got float32"),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_what_breaks_a_rule_is_refused(users_errors, inputs, rest, error):
    with pytest.raises(ValueError, match=error):
        onnx_operator.attention(*inputs, **rest)


def test_a_cache_is_kept_on_one_side_only(users_errors, inputs, past):
    with pytest.raises(ValueError, match="must not be given along with `past_key`"):
        onnx_operator.attention(*inputs, **past, nonpad_kv_seqlen=jnp.array([5, 2]))


def test_three_axes_need_numbers_of_heads(users_errors, draw, inputs):
    x = draw(2, 4, 32)
    with pytest.raises(ValueError, match="`kv_num_heads` must be given where inputs have three"):
        onnx_operator.attention(x, x, x, q_num_heads=4)
    with pytest.raises(ValueError, match="`q_num_heads` must divide `width of query`"):
        onnx_operator.attention(x, x, x, q_num_heads=5, kv_num_heads=1)
    with pytest.raises(ValueError, match=r"three axes, or all four; got \[3, 4, 4\]"):
        onnx_operator.attention(x, *inputs[1:], q_num_heads=4)
