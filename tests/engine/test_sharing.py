"""Devices that divide the batch or the heads share work and memory, and need nothing of another."""

import pytest

from tests.support import shared_programs

LONG, SHORT = 512, 64
CASES = {
    "batch": ["batch", 8, "gradient", LONG],
    "both, few key heads": ["both", 2, "forward", LONG],
    "heads, few key heads": ["heads", 2, "learned", LONG],
    "short": ["both", 8, "gradient", SHORT],
}
OTHERS = {
    f"{division} {kv_heads} {kind} {length}": [division, kv_heads, kind, length]
    for division in ("batch", "heads", "both")
    for kv_heads in (8, 2)
    for kind in ("forward", "gradient", "learned")
    for length in (LONG, SHORT)
}


@pytest.fixture(scope="module")
def measured():
    kept = {}

    def look(cases):
        new = [case for case in cases if str(case) not in kept]
        kept.update(zip(map(str, new), shared_programs.measured("sharing_cases", new), strict=True))
        return [kept[str(case)] for case in cases]

    return look


def check(case, found):
    division, kv_heads, kind, length = case
    assert not found["looped"], found
    # What is whole on every device, keys or slopes, has its cotangents summed, and no more.
    whole = division == "heads" and kv_heads < 8 and kind != "forward"
    needed = whole or kind == "learned"
    others = [x for x in found["found"] if not (needed and "all-reduce" in x)]
    if whole:  # and brought to every device
        others = [x for x in others if "all-gather" not in x]
    assert not others, found
    # In one tile each device also holds the derivatives of a changed score, summed over the batch.
    memory = 0.2 if [kind, length] == ["learned", SHORT] else 0.15
    assert found["work"] <= 0.15 and found["memory"] <= memory, found


@pytest.mark.slow
def test_each_device_has_its_share_and_needs_no_other(measured):
    for name, found in zip(CASES, measured(list(CASES.values())), strict=True):
        check(CASES[name], found)


@pytest.mark.slow
def test_every_division_shares(measured):
    for case, found in zip(OTHERS.values(), measured(list(OTHERS.values())), strict=True):
        check(case, found)


@pytest.mark.slow
def test_documents_are_gathered_once(measured):
    """The mask reads numbers of any sequence, so they are brought to each device, before loops."""
    (found,) = measured([["batch", 8, "documents", LONG]])
    assert not found["looped"] and len(found["found"]) == 1, found


@pytest.mark.slow
def test_shared_results_are_those_of_one_device(measured):
    cases = [[division, n, "values", 300] for division in ("batch", "both") for n in (8, 2)]
    cases.append(["heads", 2, "values", 300])
    for case, errors in zip(cases, measured(cases), strict=True):
        assert max(errors) < 1e-5, (case, errors)
