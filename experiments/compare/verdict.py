"""The verdict of a comparison: one sentence a test, with its uncertainty, or that there is none."""

from collections.abc import Sequence
from typing import Any

UNITS = {
    "exact_match": " % exact match",
    "bleu": " BLEU",
    "accuracy": " % accuracy",
    "wer": " % word error rate",
    "cer": " % character error rate",
    "bits_per_character": " bits a character",
}
_DIGITS = {"bits_per_character": 3}  # behind the point; others have one
RULE = (
    "A model has learned where the interval of its score is better than that of a guess that never "
    "reads its input: the answer that is most frequent in training or, of text, the better of that "
    "and a random answer of training. One is ranked above another where their intervals do not "
    "meet, and one of the two has learned."
)


def first(found: dict[str, Any]) -> str:
    """The sentence of the first test, which is that of the task itself."""
    if not any(test["scores"] for test in found["tests"].values()):
        return "No verdict yet: no run is done."
    name, test = next(iter(found["tests"].items()))
    return sentence(found, test, found["task"], len(found["tests"]) > 1 and name)


def others(found: dict[str, Any]) -> list[str]:
    """The sentences of the other tests."""
    return [
        sentence(found, test, found["task"], name)
        for name, test in list(found["tests"].items())[1:]
        if test["scores"]
    ]


def sentence(found: dict[str, Any], test: dict[str, Any], task: str, part: str | bool) -> str:
    """The verdict on a test.

    Args:
      found: the comparison.
      test: one of its tests.
      task: its name.
      part: the name of the test, where there are several.
    """
    where = f"on {task}" + (f" ({part})" if part else "")
    names = list(test["scores"])
    learned = [name for name in names if test["learned"][name]]
    if not learned:
        return _nothing(found, test, where)
    best, alone = names[0], test["scores"][names[0]]["low"] is None
    if len(names) == 1:
        return f"{best} reaches {_said(found, test, best)} {where}; there is no other to compare."
    if alone:
        return (
            f"No verdict {where}: one run of each has no interval; the best of them is {best}, at "
            f"{_said(found, test, best)}. --seeds=3 gives intervals."
        )
    beaten = {x["second"]: x for x in test["pairs"] if x["first"] == best and x["apart"]}
    level = [name for name in names if name == best or name not in beaten]
    if len(level) == 1:
        return _won(found, test, where, beaten[names[1]])
    return _level(found, test, where, level)


def order(found: dict[str, Any]) -> list[str]:
    """Candidates as every table and figure has them: best first where any has learned."""
    given = list(found["candidates"])
    test = next(iter(found["tests"].values()), None)
    if test is None or not any(test["learned"].values()):
        return given
    ranked = list(test["scores"])
    return ranked + [name for name in given if name not in ranked]


def _nothing(found: dict[str, Any], test: dict[str, Any], where: str) -> str:
    """That none has learned, and what it did not beat."""
    best = next(iter(test["scores"]))
    bar = "the worst score there is" if test["guess"] is None else _bar(found, test)
    return (
        f"Nothing was learned {where}, so nothing is ranked: no model is surely better than {bar}; "
        f"the best of them reaches {_said(found, test, best)}."
    )


def _bar(found: dict[str, Any], test: dict[str, Any]) -> str:
    return f"a guess that never reads its input ({_numbers(found, test['guess'])})"


def _won(found: dict[str, Any], test: dict[str, Any], where: str, pair: dict[str, Any]) -> str:
    margin = pair["margin"]
    low, high = sorted(abs(margin[x]) for x in ("low", "high"))
    second = pair["second"] + ("" if test["learned"][pair["second"]] else " (learned nothing)")
    form = _form(found)
    return (
        f"{pair['first']} is best {where}, with {_said(found, test, pair['first'])}: "
        f"{abs(margin['mean']):{form}} points ({low:{form}} to {high:{form}}) ahead of the next, "
        f"{second}."
    )


def _level(found: dict[str, Any], test: dict[str, Any], where: str, level: Sequence[str]) -> str:
    own = _listed([f"{name} ({_numbers(found, test['scores'][name])})" for name in level])
    counts = min(test["scores"][name]["count"] for name in level)
    below = [name for name in test["scores"] if name not in level]
    apart = {(x["first"], x["second"]) for x in test["pairs"] if x["apart"]}
    all_are = all((above, other) in apart for above in level for other in below)
    who = ("both are" if len(level) == 2 else "all are") if all_are else f"{level[0]} is"
    rest = f"; {who} {test['better']} {_listed(below)}" if below else ""
    items = f" and {test['items']:,} items" if test["items"] else ""
    return f"No winner {where}: {counts} seeds{items} do not tell {own} apart{rest}."


def _said(found: dict[str, Any], test: dict[str, Any], name: str) -> str:
    return _numbers(found, test["scores"][name])


def _numbers(found: dict[str, Any], score: dict[str, Any]) -> str:
    unit, form = UNITS[found["options"]["score"]], _form(found)
    if score["low"] is None:
        return f"{score['mean']:{form}}{unit}"
    return f"{score['mean']:{form}}{unit}, {score['low']:{form}} to {score['high']:{form}}"


def _form(found: dict[str, Any]) -> str:
    """The form of a score's numbers."""
    return f".{_DIGITS.get(found['options']['score'], 1)}f"


def _listed(names: Sequence[str]) -> str:
    """Names in a sentence."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
