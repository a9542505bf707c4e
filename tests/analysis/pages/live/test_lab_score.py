"""A line is read as the score it says, and a line that is none is refused with its reason."""

import re

import numpy as np
import pytest

from tests.support import lab_scripts

pytestmark = lab_scripts.needs_node

# Line -> its value in NumPy, given q, k, and what is learned.
GOOD = {
    "(q, k) => dot(q, k)": lambda q, k, p: q @ k,
    "(q, k) => dot(q, k) / sqrt(d)": lambda q, k, p: q @ k / np.sqrt(len(q)),
    "(q, k) => q.dot(k) / Math.sqrt(q.length);": lambda q, k, p: q @ k / np.sqrt(len(q)),
    "(q, k, p) => dot(p.v, tanh(q + k))": lambda q, k, p: p["v"] @ np.tanh(q + k),
    "(a, b, c) => dot(dot(c.W, a), b)": lambda q, k, p: (p["W"] @ q) @ k,
    "(q, k, p) => dot(q, p.W).dot(k) + sum(dot(p.W, p.W))": lambda q, k, p: (
        (q @ p["W"]) @ k + (p["W"] @ p["W"]).sum()
    ),
    "(q, k) => -sum((q - k) ** 2)": lambda q, k, p: -((q - k) ** 2).sum(),
    "(q, k) => 10 * dot(q, k) / (norm(q) * norm(k))": lambda q, k, p: (
        10 * (q @ k) / np.sqrt((q @ q) * (k @ k))
    ),
    "(q, k) => { const z = abs(q - k); let s = sum(z); return -s * s }": lambda q, k, p: (
        -(np.abs(q - k).sum() ** 2)
    ),
    "(q, k) => 1 - 2 - 3 + 8 / 4 / 2 - -2 ** 2 * .5": lambda q, k, p: -1.0,
    "(q, k) => max(q) - min(k) + max(2, 3)": lambda q, k, p: q.max() - k.min() + 3,
    "(q, k) => sum(max(q, k)) + mean(min(q, 0.1))": lambda q, k, p: (
        np.maximum(q, k).sum() + np.minimum(q, 0.1).mean()
    ),
    "(q, k) => sum(sin(q) * cos(k)) + log(sum(exp(q)))": lambda q, k, p: (
        (np.sin(q) * np.cos(k)).sum() + np.log(np.exp(q).sum())
    ),
    "(q, k) => dot(sigmoid(q), relu(k)) + sum(square(k.mul(q)))": lambda q, k, p: (
        (1 / (1 + np.exp(-q))) @ np.maximum(k, 0) + ((k * q) ** 2).sum()
    ),
    "(q, k) => sum((q * k) ** 3)": lambda q, k, p: ((q * k) ** 3).sum(),
    "(q, k) => q.sub(k).pow(2).sum().div(2).add(1)": lambda q, k, p: ((q - k) ** 2).sum() / 2 + 1,
    "(ключ, 键) => dot(ключ, 键)": lambda q, k, p: q @ k,
}

# Line -> the mistake, and what the message must hold.
BAD = {
    "": ("empty", "empty"),
    "dot(q, k)": ("arrow", "(q, k) =>"),
    "q => q": ("arrow", "(q, k) =>"),
    "(q) => sum(q)": ("count", "named here: 1"),
    "(a, b, c, e) => 1": ("count", "named here: 4"),
    "(q, q) => 1": ("twice", "q names two"),
    "(q, k) => dot(q, k) # 2": ("character", "Place 21: #"),
    "(q, k) => dot(q, k": ("end", "“)”"),
    "(q, k) => dot(q k)": ("expected", "Place 17: “)” should stand here, not k"),
    "(q, k) => * q": ("expected", "Place 11: a number, a name or ( should"),
    "(q, k) => { z = q }": ("expected", "Place 13"),
    "(q, k) => 1; 2": ("rest", "Place 14"),
    "(q, k) => dto(q, k)": ("unknown", "Is dot meant?"),
    "(q, k) => x": ("unknown", "x is not known"),
    "(q, k) => constructor(q)": ("unknown", "constructor is not known"),
    "(q, k) => fetch(q)": ("unknown", "fetch is not known"),
    "(q, k) => tanh": ("uncalled", "tanh(…)"),
    "(q, k, p) => dot(p, q)": ("bare", "p.v"),
    "(q, k) => q.constructor": ("member", ".constructor"),
    "(q, k) => dot(q)": ("given", "takes 2"),
    "(q, k) => dot(q, 2)": ("shapes", "[8] and 1"),
    "(q, k, p) => sum(p.W * q)": ("shapes", "[8, 8] and [8]"),
    "(q, k) => q * k": ("many", "gives 8"),
    "(q, k, p) => p.W": ("many", "gives 64"),
    "(q, k) => log(dot(q, k))": ("value", "NaN"),
    "(q, k) => dot(q, k) / 0": ("value", "Infinity"),
    "(q, k) => exp(exp(2 * dot(q, k)))": ("value", "Infinity"),
    "(q, k) => sqrt(dot(q, k) - dot(q, k))": ("gradient", "NaN"),
    "(q, k) => " + "(" * 5000 + "1": ("failed", "can't be computed"),
}


@pytest.fixture(scope="module")
def values(tmp_path_factory):
    """The numbers of good lines, with their slopes, for random q, k, v and W."""
    random = np.random.default_rng(0)
    given = {"q": random.normal(size=8), "k": random.normal(size=8), "v": random.normal(size=8)}
    given["W"] = random.normal(size=(8, 8))
    code = """
    const {lines, given} = data, found = [];
    const shape = name => name === "W" ? [8, 8] : [8];
    const array = name => Lab.array(Float32Array.from(given[name].flat()), shape(name));
    for (const line of lines) {
      const score = await Lab.score.check(line, 8);
      const f = tree => Lab.score.value(score.tree, tree.q, tree.k, tree);
      const tree = {};
      for (const name of ["q", "k", ...score.learned]) tree[name] = array(name);
      const [value, slopes] = Lab.compile(jaxjs.valueAndGrad(f))(tree);
      found.push({learned: score.learned, value: (await value.data())[0],
        slopes: await plain(slopes)});
    }
    return found;
    """
    data = {"lines": list(GOOD), "given": {name: x.tolist() for name, x in given.items()}}
    found = lab_scripts.run(tmp_path_factory.mktemp("good"), code, data)
    return given, dict(zip(GOOD, found, strict=True))


@pytest.mark.parametrize("line", GOOD)
def test_a_line_has_the_value_that_it_says(line, values):
    given, found = values
    want = GOOD[line](given["q"], given["k"], given)
    np.testing.assert_allclose(found[line]["value"], want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("line", GOOD)
def test_the_slope_of_a_line_is_that_of_differences(line, values):
    given, found = values
    for name, slope in found[line]["slopes"].items():
        want, at = np.zeros(given[name].shape), given[name]
        for place in np.ndindex(at.shape):
            step = np.zeros(at.shape)
            step[place] = 1e-6
            up, down = (
                GOOD[line](*(changed[x] for x in "qk"), changed)
                for changed in (given | {name: at + step}, given | {name: at - step})
            )
            want[place] = (up - down) / 2e-6
        got = np.reshape(slope["values"], slope["shape"])
        np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-4, err_msg=name)


def test_a_line_says_what_it_learns(values):
    _, found = values
    learned = {line: one["learned"] for line, one in found.items() if one["learned"]}
    assert learned == {
        "(q, k, p) => dot(p.v, tanh(q + k))": ["v"],
        "(a, b, c) => dot(dot(c.W, a), b)": ["W"],
        "(q, k, p) => dot(q, p.W).dot(k) + sum(dot(p.W, p.W))": ["W"],
    }


@pytest.fixture(scope="module")
def refusals(tmp_path_factory):
    code = """
    const found = {};
    for (const line of data) {
      try {
        await Lab.score.check(line, 8);
        found[line] = null;
      } catch (error) {
        found[line] = {kind: error.kind ?? "failed", en: Lab.speaker("en").mistake(error),
          es: Lab.speaker("es").mistake(error)};
      }
    }
    return found;
    """
    return lab_scripts.run(tmp_path_factory.mktemp("bad"), code, list(BAD))


@pytest.mark.parametrize("line", BAD, ids=lambda line: line[:30] or "nothing")
def test_a_line_that_is_no_score_is_refused_with_its_reason(line, refusals):
    kind, words = BAD[line]
    found = refusals[line]
    assert found and found["kind"] == kind, found
    assert words in found["en"], found["en"]
    for text in (found["en"], found["es"]):
        assert text and "{" not in text.replace("not {", "") and "undefined" not in text, text
    assert found["es"] != found["en"]


def test_a_score_that_ignores_the_key_says_so(tmp_path):
    code = """
    const uses = async line => (await Lab.score.check(line, 8)).uses;
    const lines = ["(q, k) => sum(q)", "(q, k) => 1", "(q, k) => dot(q, k)"];
    return Promise.all(lines.map(uses));
    """
    assert lab_scripts.run(tmp_path, code) == [[True, False], [False, False], [True, True]]


def test_both_languages_have_the_same_words(tmp_path):
    words = lab_scripts.run(tmp_path, "return Lab.words")

    def flat(tree, path=""):
        for name, value in tree.items():
            if isinstance(value, dict):
                yield from flat(value, f"{path}{name}.")
            else:
                yield f"{path}{name}", sorted(set(re.findall(r"\{(\w+)\}", value)))

    assert dict(flat(words["en"])) == dict(flat(words["es"]))
