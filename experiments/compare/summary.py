"""Summary of a comparison in words and rows, for the terminal and for its page."""

from collections.abc import Iterable
from typing import Any

from attention_jax.evaluation import significance
from experiments.compare import verdict

HEADER = (
    "candidate",
    "width",
    "parameters",
    "steps",
    "FLOPs",
    "tokens",
    "seconds",
    "peak MB",
    "rate",
    "runs",
)

SCORES = {
    "exact_match": "exact match, %",
    "bleu": "BLEU",
    "accuracy": "accuracy, %",
    "wer": "word error rate, %",
    "cer": "character error rate, %",
    "bits_per_character": "bits a character",
}

Rows = list[tuple[str, ...]]


def table(found: dict[str, Any]) -> str:
    """Budgets, scores and verdicts as text, for the terminal."""
    parts = ["\n".join([verdict.first(found), *verdict.others(found)])]
    parts.append(_columns([HEADER, *candidate_rows(found)]))
    for name, test in found["tests"].items():
        parts.append(f"{name}, {measure(found)}\n{_columns(score_rows(found, test))}")
        parts.append("\n".join(verdicts(test)))
    parts += ["\n".join(lines) for lines in (claims(found), notes(found), remarks(found)) if lines]
    return "\n\n".join(part for part in parts if part)


def _columns(rows: Iterable[tuple[str, ...]]) -> str:
    rows = list(rows)
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for first, *others in rows:
        cells = [x.rjust(w) for x, w in zip(others, widths[1:], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *cells]))
    return "\n".join(lines)


def candidate_rows(found: dict[str, Any]) -> Rows:
    """The budget of each candidate, a row of `HEADER`."""
    rows = []
    for name in verdict.order(found):
        x = found["candidates"][name]
        own = [run for run in found["runs"] if run["candidate"] == name]
        memory = x["peak_memory_bytes"]
        rows.append(
            (
                name,
                "own" if x["width"] is None else str(x["width"]),
                f"{x['parameters']:,}",
                _mean(x["steps_done"], ",.0f"),
                "-" if x["flops"] is None else f"{x['flops']:.3g}",
                _mean(x["tokens"], ",.0f"),
                _mean(x["seconds"], ",.0f"),
                "-" if memory is None else f"{memory['mean'] / 1e6:,.0f}",
                "-" if x["learning_rate"] is None or is_untrained(x) else f"{x['learning_rate']:g}",
                f"{x['runs']}/{sum(run['counts'] or x['learning_rate'] is None for run in own)}",
            )
        )
    return rows


def _mean(interval: dict[str, Any] | None, form: str) -> str:
    return "-" if interval is None else f"{interval['mean']:{form}}"


def shown(interval: dict[str, Any] | None) -> str:
    """A mean with its interval, or that there is none."""
    if interval is None:
        return "-"
    if interval["low"] is None:
        return f"{interval['mean']:.2f} (one run)"
    return f"{interval['mean']:.2f} ({interval['low']:.2f} to {interval['high']:.2f})"


def score_rows(found: dict[str, Any], test: dict[str, Any]) -> Rows:
    """Scores on one test; candidates without any are there too."""
    own, rows = test["scores"], []
    for name in verdict.order(found):
        if name not in own:
            rows.append((name, "failed", "", ""))
            continue
        learned = "yes" if test["learned"][name] else "no"
        rows.append((name, shown(own[name]), learned, _list(own[name]["values"])))
    return rows


def guess(test: dict[str, Any]) -> str:
    """The score of a guess that never reads its input."""
    if test["guess"] is None:
        return "not known; a score with an interval away from none right counts as learned"
    return shown(test["guess"])


def _list(values: Iterable[float]) -> str:
    return ", ".join(f"{x:.2f}" for x in values)


def measure(found: dict[str, Any]) -> str:
    """The score, and of which share its intervals are."""
    share = f"{100 * found['options']['confidence']:.4g} %"
    return f"{SCORES[found['options']['score']]}; {share} intervals over seeds and items"


def verdicts(test: dict[str, Any]) -> list[str]:
    """Of each pair, whether one is above the other, and what a choice of sentences explains.

    None where nothing was learned: of guesses none is better.
    """
    found = []
    if not any(test["learned"].values()):
        return []
    for pair in test["pairs"]:
        first, second = pair["first"], pair["second"]
        counts = [test["scores"][name]["count"] for name in (first, second)]
        if min(counts) < 2:
            said = f"{first} and {second}: no ranking, for one run has no interval"
        elif not (test["learned"][first] or test["learned"][second]):
            said = f"{first} and {second}: no ranking, neither has learned"
        elif pair["apart"]:
            said = f"{first} is {test['better']} {second}"
        else:
            said = f"{first} and {second}: no ranking, their intervals overlap"
        found.append(
            f"{said}; difference {pair['difference']:.2f} ({pair['low']:.2f} to {pair['high']:.2f} "
            f"over items, p = {pair['p_value']:.3f}; {pair['p_value_of_all_pairs']:.3f} corrected "
            "for all pairs)"
        )
    return found


def claims(found: dict[str, Any]) -> list[str]:
    """Statements about efficiency, focus and memory, candidate by candidate."""
    names = verdict.order(found)
    return [line for say in (_cost, _focus, _memory) for name in names for line in say(found, name)]


def _cost(found: dict[str, Any], name: str) -> list[str]:
    rows = sorted(found["costs"].get(name, []), key=lambda row: row["length"])
    if len(rows) < 2:
        return []
    short, long = rows[0], rows[-1]
    speed = [row["training_tokens_per_second"] for row in (short, long)]
    line = (
        f"efficiency, {name}: {speed[0]:,.0f} tokens a second of training at {short['length']} "
        f"tokens, {speed[1]:,.0f} at {long['length']} ({speed[1] / speed[0]:.2f} of it); one "
        f"sentence of {long['length']} takes {long['one_sentence_seconds'] * 1e3:.1f} ms"
    )
    memory = [row["temporary_bytes"] for row in (short, long)]
    if all(memory):
        line += f"; temporary memory of a step {memory[0] / 1e6:.1f}, then {memory[1] / 1e6:.1f} MB"
    return [line + _beside_the_first(found, name, long)]


def _beside_the_first(found: dict[str, Any], name: str, row: dict[str, Any]) -> str:
    """How fast training is beside that of the first candidate at the same length."""
    first = next(iter(found["candidates"]))
    same = [x for x in found["costs"].get(first, []) if x["length"] == row["length"]]
    if name == first or not same:
        return ""
    own, other = (cost(x, "training_tokens_per_second") for x in (row, same[0]))
    said = f"; {own['mean'] / other['mean']:.2f}"
    if own["low"] is not None and other["low"] is not None:
        said += f" ({own['low'] / other['high']:.2f} to {own['high'] / other['low']:.2f})"
    return f"{said} of the speed of {first} in training"


def _focus(found: dict[str, Any], name: str) -> list[str]:
    own = found["candidates"][name].get("focus")
    if own is None:
        return []
    return [
        f"focus, {name}: a target token draws on {shown(own['effective'])} of "
        f"{own['source']['mean']:.1f} source tokens in effect, in its sharpest head on "
        f"{shown(own['sharpest'])}"
    ]


def _memory(found: dict[str, Any], name: str) -> list[str]:
    own = [(b, b["scores"][name]) for b in found["lengths"]["buckets"] if name in b["scores"]]
    inside = [x for x in own if not x[0]["beyond"]]
    beyond = [x for x in own if x[0]["beyond"]]
    if len(inside) < 2:
        return []
    parts = [
        f"{shown(score)} at {bounds(bucket)} tokens"
        for bucket, score in (inside[0], inside[-1], *beyond[-1:])
    ]
    known = ", longer than any in training" if beyond else ""
    said = [_change(inside[0][1], inside[-1][1], "within the lengths of training")]
    said += [_change(inside[-1][1], x[1], "beyond them") for x in beyond[-1:]]
    return [f"memory, {name}: {'; '.join(parts)}{known}: {', '.join(said)}"]


def _change(before: dict[str, Any], after: dict[str, Any], where: str) -> str:
    """The direction of a change, where its intervals do not meet."""
    if before["low"] is None or after["low"] is None:
        return f"{where} no interval"
    if not significance.are_apart(*(_interval(x) for x in (before, after))):
        return f"no change {where} that intervals would show"
    return f"it {'falls' if after['mean'] < before['mean'] else 'rises'} {where}"


def _interval(x: dict[str, Any]) -> significance.Interval:
    return significance.Interval(x["mean"], x["low"], x["high"], x["count"])


def bounds(bucket: dict[str, Any]) -> str:
    """The lengths of a bucket."""
    low, high = bucket["low"], bucket["high"]
    return str(low) if low == high else f"{low} to {high}"


def is_untrained(plan: dict[str, Any]) -> bool:
    """True of a model that is scored as it is."""
    return plan.get("steps") == 0


def unmatched(found: dict[str, Any]) -> list[str]:
    """Candidates that have not alike what the comparison matches: weights that are there."""
    by_size = found["options"]["match"] == "parameters"
    return [
        name
        for name, x in found["candidates"].items()
        if x.get("place") and (by_size or is_untrained(x))
    ]


def own_tokens(found: dict[str, Any]) -> list[str]:
    """Candidates that cut text into other tokens than the rest."""
    return [name for name, x in found["candidates"].items() if x.get("own_tokens")]


def notes(found: dict[str, Any]) -> list[str]:
    """The meaning of numbers of candidates with weights that were there."""
    lines = [
        _of_weights(name, x, found["options"]["seeds"])
        for name, x in found["candidates"].items()
        if x.get("place")
    ]
    if own := own_tokens(found):
        lines.append(
            f"The tokens of {', '.join(own)} are their own: losses are means over other tokens, "
            "and stand beside no other's in the figures; batches, steps and costs are counted in "
            "them too. "
            f"Scores ({SCORES[found['options']['score']]}) are of text, the same for all."
        )
    return lines


def _of_weights(name: str, own: dict[str, Any], seeds: int) -> str:
    """The origin of a candidate, and what of it is matched with nothing."""
    size = f"its {own['parameters']:,} parameters are its own, and match no other's"
    if is_untrained(own):
        runs = f"; one run stands for all {seeds} seeds, which change nothing of it" * (seeds > 1)
        return (
            f"{name} is {own['place']} as it is, untrained here: {size}; its seconds are those of "
            f"a validation{runs}."
        )
    return (
        f"{name} is trained on from {own['place']}: {size}; what it had learned before is in none "
        "of the costs."
    )


def remarks(found: dict[str, Any]) -> list[str]:
    """Caveats: failures, a single seed, what was left out."""
    lines = [
        f"{run['name']} {run['status']}: {run['reason']}"
        for run in found["runs"]
        if run["status"] != "done"
    ]
    lines += [f"{x['name']} is left out: {x['reason']}" for x in found["left_out"]]
    lines += [
        f"costs of {name} are not measured: {why}"
        for name, why in found.get("costs_failed", {}).items()
    ]
    seeds = found["options"]["seeds"]
    few = [
        name
        for name, x in found["candidates"].items()
        if x["runs"] == 1 and not (is_untrained(x) and seeds > 1)
    ]
    if few:
        lines.append(
            f"Warning: with one run no interval can be given ({', '.join(few)}); use --seeds=3."
        )
    return lines


def cost(row: dict[str, Any], measure: str, unit: float = 1.0) -> dict[str, Any]:
    """A median with the lowest and the highest of its calls; one number has neither."""
    low, high = row.get(f"{measure}_range", (None, None))
    of_unit = [None if x is None else x * unit for x in (row[measure], low, high)]
    return dict(zip(("mean", "low", "high"), of_unit, strict=True))
