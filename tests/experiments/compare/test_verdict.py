"""Who won, who learned, and what may be said: verdicts against worlds whose truth is known."""

import json

import numpy as np
import pytest

from experiments.common import guesses
from experiments.compare import leaderboard, old_reports, scores, summary, verdict
from experiments.compare.scores import Options
from tests.support.browser import PROGRAM, Browser
from tests.support.paths import ROOT

OPTIONS = Options("parameters", "exact_match", 0.95, 3, [])
COMMITTED = sorted((ROOT / "experiments/results").glob("compare_*.json"))
# How the verdict of each begins, and what else it says.
FIRST = {
    # Both with attention solve it, and one run of the Transformer is at 95 %.
    "compare_rnn_vs_transformer": ("No winner on reverse (test)", "both are above gru-none"),
    "compare_multi30k": ("gru-additive is best on multi30k_de_en, with 38.5 BLEU",),
    "compare_ladder_spanish": ("No winner on spanish (test)", "above gru-none"),
    "compare_ladder_multi30k": ("No verdict on multi30k_de_en", "gru-additive, at 17.5 BLEU"),
}


def percent(sums):
    return 100 * sums[..., 0] / sums[..., 1]


def runs(*shares, items=400, seed=0):
    """Outcomes of runs that get so large a share of the items right."""
    draw = np.random.default_rng(seed)
    return [{"test": guesses.of_hits(draw.random(items) < share)} for share in shares]


def world(options=OPTIONS, guess=0.01, **candidates):
    """The part of a comparison that verdicts read."""
    hits = np.arange(400) < 400 * guess
    test = scores.compare("test", candidates, percent, guesses.of_hits(hits), options)
    return {
        "task": "reverse",
        "options": options._asdict(),
        "candidates": dict.fromkeys(candidates),
        "tests": {"test": test},
    }


def test_a_clear_winner_is_named_with_its_lead():
    found = world(b=runs(0.5, 0.52, 0.48, seed=1), a=runs(0.9, 0.91, 0.92), c=runs(0.1, 0.1, 0.1))
    said = verdict.first(found)
    scored = found["tests"]["test"]["scores"]
    assert said.startswith("a is best on reverse, with ") and "ahead of the next, b." in said
    lead = scored["a"]["mean"] - scored["b"]["mean"]
    assert f": {lead:.1f} points (" in said
    assert verdict.order(found) == ["a", "b", "c"]


def test_those_that_overlap_are_no_winners():
    found = world(a=runs(0.90, 0.95, 0.85), b=runs(0.91, 0.86, 0.93), c=runs(0.2, 0.2, 0.2))
    said = verdict.first(found)
    assert said.startswith("No winner on reverse: 3 seeds and 400 items do not tell ")
    assert said.endswith("apart; both are above c.")


def test_nothing_is_ranked_where_nothing_was_learned():
    found = world(a=runs(0.012, 0.0, 0.0), b=runs(0.0, 0.0, 0.0), guess=0.01)
    said = verdict.first(found)
    assert said.startswith("Nothing was learned on reverse, so nothing is ranked")
    assert "a guess that never reads its input (1.0 % exact match" in said
    assert verdict.order(found) == ["a", "b"] and not summary.verdicts(found["tests"]["test"])


def test_one_item_more_than_a_guess_of_none_is_not_learned():
    """A logit interval never touches 0, so the guess needs an interval of its own."""
    lucky = [{"test": guesses.of_hits(np.arange(400) < k)} for k in (1, 2, 1)]
    found = world(a=lucky, guess=0.0)
    assert found["tests"]["test"]["scores"]["a"]["low"] > 0
    assert not found["tests"]["test"]["learned"]["a"]


def test_who_learned_may_rank_above_who_did_not_but_two_guessers_do_not():
    found = world(a=runs(0.6, 0.6, 0.6), b=runs(0.02, 0.01, 0.0), c=runs(0.0, 0.0, 0.0))
    learned = found["tests"]["test"]["learned"]
    assert learned == {"a": True, "b": False, "c": False}
    assert "b (learned nothing)" in verdict.first(found)
    assert "b and c: no ranking, neither has learned" in summary.verdicts(found["tests"]["test"])[2]


def test_of_errors_less_is_better():
    options = OPTIONS._replace(score="wer")
    found = world(options, guess=0.97, a=runs(0.1, 0.12, 0.11), b=runs(0.5, 0.5, 0.5))
    assert verdict.first(found).startswith("a is best on reverse, with ")
    assert found["tests"]["test"]["pairs"][0]["margin"]["mean"] < 0
    assert not any(
        world(options, guess=0.97, a=runs(0.96, 0.98, 0.97))["tests"]["test"]["learned"].values()
    )


def test_one_run_each_gives_no_verdict_but_says_what_it_learned():
    found = world(a=runs(0.9), b=runs(0.5))
    assert verdict.first(found).startswith("No verdict on reverse: one run of each")
    assert found["tests"]["test"]["learned"] == {"a": True, "b": True}
    assert "Nothing was learned" in verdict.first(world(a=runs(0.01), b=runs(0.0)))


@pytest.mark.parametrize("seed", range(20))
def test_guessers_are_seldom_said_to_have_learned(seed):
    """Of two candidates at the level of the guess none learns, in all but a few worlds."""
    found = world(
        a=runs(0.1, 0.1, 0.1, seed=seed), b=runs(0.1, 0.1, 0.1, seed=99 + seed), guess=0.1
    )
    assert not any(found["tests"]["test"]["learned"].values())


def test_a_guess_is_the_most_frequent_answer_or_a_random_one():
    training = np.array([2, 2, 1, 0, 2])
    counts = guesses.of_classes(training, {"test": np.array([2, 0, 2, 1])})["test"]
    assert percent(counts.sum(axis=0)) == 50.0
    hits = lambda said, wanted: guesses.of_hits(  # noqa: E731
        np.array([a in b for a, b in zip(said, wanted, strict=True)])
    )
    found = guesses.of_texts(["x", "x", "y"], {"t": [("x",), ("y",), ("x",)]}, hits, percent)
    assert percent(found["t"].sum(axis=0)) >= 200 / 3
    worst = guesses.of_texts(
        ["x", "x", "y"],
        {"t": [("z",)] * 3},
        lambda a, b: 1 - hits(a, b) * [1, 0],
        percent,
        is_error=True,
    )
    assert len(worst["t"]) == 3


# ---- Reports of earlier versions, and the page of all ------------------------------------------


def numbers(x):
    """All intervals in what a report holds."""
    if isinstance(x, dict) and {"mean", "low", "high", "values"} <= set(x):
        yield x
    elif isinstance(x, (dict, list)):
        for part in x.values() if isinstance(x, dict) else x:
            yield from numbers(part)


def inside(interval, most):
    """True if it ends there, or, of one run, its mean does."""
    ends = interval["mean"] if interval["high"] is None else interval["high"]
    return ends <= most


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_committed_comparisons_have_their_verdict_and_no_interval_outside_the_range(path):
    found = old_reports.read(path)
    said = verdict.first(found)
    first, *others = FIRST[path.stem]
    assert said.startswith(first) and all(x in said for x in others)
    if path.stem == "compare_rnn_vs_transformer":
        assert verdict.others(found)[0].startswith("gru-additive is best on reverse (longer)")
    seen = list(numbers(found))
    assert len(seen) > 50
    assert all(x["low"] is None or 0 <= x["low"] <= x["mean"] + 1e-9 for x in seen)
    for test in found["tests"].values():
        assert all(inside(x, 100) for x in test["scores"].values())
    for bucket in found["lengths"]["buckets"]:
        assert all(inside(x, 100) for x in bucket["scores"].values())
    shares = [
        p[m] for c in found["curves"].values() for p in c for m in ("accuracy", "exact_match")
    ]
    assert all(inside(x, 1) for x in shares)
    assert old_reports.upgraded(found) is found


def board(folder):
    for path in COMMITTED:
        (folder / path.stem).mkdir()
        (folder / path.stem / "report.json").write_text(path.read_text())
    (folder / "other").mkdir()
    (folder / "other" / "report.json").write_text("[]")
    return leaderboard.write(folder)


def test_the_leaderboard_has_all_comparisons_with_their_commands(tmp_path):
    path, count = board(tmp_path)
    page = path.read_text()
    candidates = sum(len(old_reports.read(x)["candidates"]) for x in COMMITTED)
    assert count == len(COMMITTED) == len(FIRST) and page.count("<tr>") == 1 + candidates
    for file in COMMITTED:
        assert json.loads(file.read_text())["command"] in page
    with pytest.raises(ValueError, match="none has a scored run"):
        leaderboard.write(tmp_path / "other")
    with pytest.raises(FileNotFoundError, match="must name a folder"):
        leaderboard.write(tmp_path / "absent")


@pytest.mark.slow
@pytest.mark.skipif(PROGRAM is None, reason="no Chromium or Chrome is installed")
def test_the_leaderboard_sorts_by_value_up_and_down(tmp_path):
    path, _ = board(tmp_path)
    browser = Browser(tmp_path / "profile")
    try:
        browser.open(path.as_uri())
        browser.wait("document.readyState == 'complete'")
        column = "[...document.querySelectorAll('tbody tr')].map(row => row.cells[{}].textContent)"
        click = "document.querySelectorAll('th button')[{}].click()"
        parameters = [int(x.replace(",", "")) for x in browser.evaluate(column.format(8))]
        for wanted in (sorted(parameters), sorted(parameters, reverse=True)):
            browser.evaluate(click.format(8))
            found = [int(x.replace(",", "")) for x in browser.evaluate(column.format(8))]
            assert found == wanted
        assert "high to low" in browser.evaluate("document.getElementById('sorted').textContent")
        browser.evaluate(click.format(1))
        names = browser.evaluate(column.format(1))
        # As languages sort: an underscore comes before a hyphen, and both before letters.
        assert names == sorted(names, key=lambda x: x.replace("_", "\0").replace("-", "\1"))
        assert not browser.errors
    finally:
        browser.close()
