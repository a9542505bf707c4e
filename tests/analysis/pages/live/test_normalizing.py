"""Steps from scores to weights: they end in JAX's weights, and their numbers obey the equations."""

import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax.analysis.pages import live
from attention_jax.core import normalizers
from tests.support import node

SINK = 0.7
NORMALIZERS = {
    "scaled_dot": normalizers.softmax,
    "softmax_with_sink": normalizers.softmax_with_sink(jnp.asarray([SINK])),
    "softmax_off_by_one": normalizers.softmax_with_sink(jnp.zeros(1)),
    "top_k": normalizers.top_k(3),
    "sparsemax": normalizers.sparsemax,
    "entmax15": normalizers.entmax15,
    "relu": normalizers.relu,
    "sigmoid": normalizers.sigmoid(None),
    "sigmoid, bias": normalizers.sigmoid(-1.5),
}
OPTIONS = {"top_k": {"k": 3}, "sigmoid": {"bias": None}, "sigmoid, bias": {"bias": -1.5}}
CODE = """
return data.cases.flatMap(({name, options}) => data.rows.map(({scores, seen}) =>
  Normalizing.steps({name, options}, scores, seen, name === "softmax_with_sink" ? data.sink
    : undefined)));
"""


def rows():
    """Rows of scores, and what is seen: wide and narrow ones, ties, a hidden end, a single key."""
    draw = np.random.default_rng(0)
    found = [(size * draw.normal(size=9), np.ones(9, bool)) for size in (0.2, 1.0, 5.0, 40.0)]
    found.append((draw.normal(size=9), np.arange(9) < 5))
    found.append((np.asarray([1.0, 2, 2, 2, 2, 0, 1, -1, 2]), np.arange(9) % 4 != 2))
    found.append((draw.normal(size=9), np.arange(9) == 4))
    found.append((np.full(9, 300.0), np.ones(9, bool)))
    return [(scores.astype(np.float32), seen) for scores, seen in found]


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    data = {
        "cases": [
            {"name": name.split(",")[0], "options": OPTIONS.get(name, {})} for name in NORMALIZERS
        ],
        "rows": [{"scores": x.tolist(), "seen": seen.tolist()} for x, seen in rows()],
        "sink": SINK,
    }
    steps = node.run(tmp_path_factory.mktemp("node"), CODE, data, scripts=live.MODEL)
    count = len(data["rows"])
    return {name: steps[n * count :][:count] for n, name in enumerate(NORMALIZERS)}


def column(step, word):
    return np.asarray(next(x["numbers"] for x in step["columns"] if x["word"] == word), np.float64)


@node.needs_node
@pytest.mark.parametrize("name", NORMALIZERS)
def test_steps_end_in_the_weights_of_the_library(name, found):
    for (scores, seen), steps in zip(rows(), found[name], strict=True):
        expected = NORMALIZERS[name].weights(
            *(jnp.asarray(x)[None, None, None] for x in (scores, seen))
        )
        np.testing.assert_allclose(
            column(steps[-1], "weight"), np.asarray(expected)[0, 0, 0], atol=2e-6
        )
        # What a step says of its weights is true of them.
        total = steps[-1]["values"]["total"]
        assert total == pytest.approx(float(np.asarray(expected).sum()), abs=1e-5)


@node.needs_node
@pytest.mark.parametrize(("name", "power"), [("sparsemax", 1), ("entmax15", 2)])
def test_the_threshold_is_the_one_at_which_weights_sum_to_1(name, power, found):
    for (scores, seen), steps in zip(rows(), found[name], strict=True):
        z = (scores[seen].astype(np.float64) - scores[seen].max()) / power
        low, high = -1.0, 0.0
        for _ in range(60):
            middle = (low + high) / 2
            above = (np.maximum(z - middle, 0) ** power).sum() > 1
            low, high = (middle, high) if above else (low, middle)
        assert steps[-1]["values"]["threshold"] == pytest.approx(low, abs=1e-6)
        stays = [x is True for x in steps[1]["columns"][-1]["numbers"]]
        weights = column(steps[-1], "weight")
        assert all(kept for kept, weight in zip(stays, weights, strict=True) if weight > 1e-9)


@node.needs_node
def test_the_largest_are_counted_by_hand(found):
    # Seen are 1, 2, _, 2, 2, 0, _, -1, 2: four twos are the largest, and with k = 3 all stay.
    first, last = found["top_k"][5]
    assert first["values"] == {"k": 3, "count": 4}
    assert [first["columns"][0]["numbers"][j] for j in (0, 1, 5, 7)] == [4, 0, 5, 6]
    np.testing.assert_allclose(column(last, "weight"), [0, 0.25, 0, 0.25, 0.25, 0, 0, 0, 0.25])


@node.needs_node
def test_the_sink_takes_what_no_key_gets(found):
    for (scores, seen), (powers, shares) in zip(rows(), found["softmax_with_sink"], strict=True):
        own = np.exp(scores[seen].astype(np.float64))
        rest = np.exp(SINK) / (own.sum() + np.exp(SINK))
        assert shares["values"]["rest"] == pytest.approx(rest, rel=1e-6)
        assert powers["values"]["sum"] == pytest.approx(own.sum() + np.exp(SINK), rel=1e-6)


def test_every_normalizer_of_the_page_is_stepped_through(tmp_path):
    if node.PROGRAM is None:
        pytest.skip("node is not installed")
    # Of the others test_models.py compares the weights in which steps end with those of the model.
    code = """const options = {k: 1, bias: null};
      return Scores.LIVE.filter(name => Normalizing.steps({name, options}, [0, 1], [true, true], 0)
        [0].name !== "softmax");"""
    own = {name.split(",")[0] for name in NORMALIZERS} - {"scaled_dot"}
    assert set(node.run(tmp_path, code, {})) == own
