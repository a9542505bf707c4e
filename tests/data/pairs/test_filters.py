"""Filters against counts by hand, and rules that contradict each other."""

import pytest

from attention_jax.data.pairs.filters import Filters, keep
from attention_jax.data.pairs.types import Found

PAIRS = [
    ("a b c", "x y z"),
    ("a b c ", "x  y z"),  # a duplicate, but for spaces
    ("a", "x y"),
    ("a b c d e f", "x y"),
    ("", "x"),
    ("a b c d e f g h", "x y z u v w x y"),
    ("a b c", "other"),
]


def found(pairs=PAIRS):
    return Found(pairs, range(1, len(pairs) + 1), "x.tsv")


def test_without_rules_all_pairs_stay():
    full = [pair for pair in PAIRS if pair[0]]
    assert keep(found(full), Filters()) == (full, {})


def test_each_pair_counts_under_the_first_rule_that_it_breaks():
    filters = Filters(True, True, shortest=2, longest=7, length_ratio=2.5)
    kept, counts = keep(found(), filters)
    assert kept == PAIRS[:1]
    assert counts == {
        "duplicates": 1,
        "shorter than 2 words": 2,
        "one side over 2.5 times as long as the other": 1,
        "empty": 1,
        "longer than 7 words": 1,
    }
    assert sum(counts.values()) + len(kept) == len(PAIRS)


@pytest.mark.parametrize("unit", ["words", "characters"])
def test_lengths_are_those_of_a_count_by_hand(unit):
    texts = [("日本語", "three letters here"), ("a b", "c d e"), ("ab", "abcd")]
    size = {"words": lambda x: x.count(" ") + 1, "characters": len}[unit]
    for low in range(1, 6):
        kept = [p for p in texts if all(size(side) >= low for side in p)]
        filters = Filters(shortest=low, length_unit=unit)
        if kept:
            assert keep(found(texts), filters)[0] == kept
        else:
            with pytest.raises(
                ValueError, match=f"none that is kept .shorter than {low} {unit}: 3"
            ):
                keep(found(texts), filters)


def test_bounds_are_kept():
    pair = [("a b", "a b c d")]
    assert keep(found(pair), Filters(shortest=2, longest=4, length_ratio=2))[0] == pair


def test_empty_sides_are_refused_with_their_place():
    with pytest.raises(ValueError, match=r"x\.tsv has an empty one on line 5\. Set `skip_empty`"):
        keep(found(), Filters())
    units = Found([("", "a"), ("b", " ")], [2, 5], "x.tmx")
    with pytest.raises(ValueError, match=r"empty one on lines 2, 5\."):
        keep(units, Filters())


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        (Filters(shortest=-1), "`shortest` must be at least 0.*got -1"),
        (Filters(longest=-2), "`longest` must be at least 0.*got -2"),
        (Filters(shortest=5, longest=4), "got longest=4, shortest=5"),
        (Filters(length_ratio=0.5), "`length_ratio` must be at least 1.*got 0.5"),
        (Filters(length_ratio=float("nan")), "`length_ratio` must be finite.*got nan"),
        (Filters(length_unit="tokens"), "`length_unit` must be one of 'words', 'characters'"),
    ],
)
def test_rules_that_cannot_be_are_refused(filters, message):
    with pytest.raises(ValueError, match=message):
        keep(found(), filters)


def test_pairs_that_are_learned_alike_are_duplicates():
    pairs, once = [("A b", "X"), ("a B", "x"), ("c", "X")], Filters(drop_duplicates=True)
    assert keep(found(pairs), once) == (pairs, {})
    assert keep(found(pairs), once, lowercase=True) == ([pairs[0], pairs[2]], {"duplicates": 1})
