"""Requests that the Pallas kernels take and refuse, why, and the plan of those they take."""

import re

import jax
import jax.numpy as jnp
import pytest

from attention_jax import plan
from attention_jax.core import normalizers, scores
from attention_jax.core.masks import causal
from attention_jax.engine import cudnn, pallas, tokamax
from attention_jax.engine.request import make_request
from tests.support.pallas_cases import MASKS, PAIRS, SCORE_MODS, B, D, E, G, H, S, T, request


@pytest.fixture
def arrays(draw):
    return draw(B, T, H, D), draw(B, S, G, D), draw(B, S, G, E)


@pytest.fixture
def on_gpu(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")


def refusal(arrays, implementation=pallas, **asked):
    return implementation.refuse(make_request(*arrays, **asked))


@pytest.mark.usefixtures("on_gpu")
@pytest.mark.parametrize(("mask", "score_mod"), PAIRS)
def test_pallas_takes_what_it_can(mask, score_mod, arrays):
    assert refusal(arrays, mask=MASKS[mask], score_mod=SCORE_MODS[score_mod]) is None


def largest(score, b, h, i, j):
    return jnp.sort(jnp.stack([score, -score]))[1]


def whole_rows(b, h, i, j):
    return (jnp.ones((40, 40))[i] > 0).all()


@pytest.mark.usefixtures("on_gpu")
@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (dict(normalizer=normalizers.relu), "must be the softmax"),
        (dict(dropout_rate=0.1, dropout_key=jax.random.key(0)), "must be 0; got 0.1"),
        (dict(score_mod=largest), "`score_mod` uses `sort`"),
        (dict(mask=whole_rows), r"`mask` computes with an array of shape \(40,\)"),
    ],
)
def test_pallas_says_what_it_cannot_do(asked, reason, arrays):
    assert re.search(reason, refusal(arrays, **asked))


def test_pallas_runs_on_gpus_alone(arrays, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    assert "this is a tpu" in refusal(arrays)


def test_block_sizes_are_powers_of_two(arrays):
    with pytest.raises(ValueError, match=r"powers of 2 from 16; got \(48, 64\)"):
        pallas.run(make_request(*arrays), interpret=True, block_sizes=(48, 64))


@pytest.mark.usefixtures("on_gpu")
def test_pallas_says_which_arrays_it_cannot_read(arrays):
    q, k, v = arrays
    assert refusal((q, k.astype(jnp.bfloat16), v)).endswith("got bfloat16, float32.")
    wide = jnp.zeros((1, 1, 1, 300))
    assert "at most 256 wide" in refusal((wide, wide, wide))


def half_dot(q, k):
    return scores.dot(q, k) / 2


def test_a_scaled_product_is_taken_by_kernels_alone(arrays, monkeypatch):
    asked = request(causal, None, score=half_dot)
    assert "this is a cpu" in refusal(arrays, pallas, **asked)
    assert "this is a cpu" in refusal(arrays, cudnn, **asked)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert refusal(arrays, pallas, **asked) is None
    assert "got float32" in refusal(arrays, cudnn, **asked)


@pytest.mark.parametrize(
    ("score", "scale"),
    [(scores.dot, 1.0), (scores.scaled_dot, D**-0.5), (half_dot, 0.5)],
    ids=["dot", "scaled_dot", "half_dot"],
)
def test_the_scale_is_read_from_the_score(score, scale, arrays):
    got = make_request(*arrays, score=score).analysis.score.dot_scale
    assert got == pytest.approx(scale)


@pytest.mark.parametrize("implementation", [pallas, cudnn, tokamax], ids=lambda x: x.__name__)
@pytest.mark.parametrize(
    "score",
    [scores.cosine(), scores.general(jnp.eye(D)), lambda q, k: scores.dot(q + 1, k)],
    ids=["cosine", "general", "shifted"],
)
def test_scores_that_are_no_dot_product_are_refused(implementation, score, arrays):
    assert "`score` is another function" in refusal(arrays, implementation, score=score)


@pytest.mark.usefixtures("on_gpu")
def test_the_plan_is_what_the_kernels_visit():
    shapes = [jax.ShapeDtypeStruct((2, 256, 4, 64), jnp.float32)] * 3
    told = plan(*shapes, mask=causal)
    assert (told.implementation, told.block_sizes) == ("pallas", (128, 32))
    # Of 2 by 8 blocks, the first 4 and 8 of a line are visited.
    assert told.skipped == 1 - 12 / 16
    tiling = pallas.tile(make_request(*shapes, mask=causal))
    assert (len(tiling.partial), len(tiling.full), tiling.counts) == (8, 4, (1, 2, 8))
    none = [jax.ShapeDtypeStruct((0, *x.shape[1:]), x.dtype) for x in shapes]
    assert plan(*none).skipped == 0
