"""The list of variants: it fits a terminal, and leaves none out."""

from attention_jax import variants
from attention_jax.analysis import variant_list, variant_support
from attention_jax.analysis.variant_support import FAMILIES, Support


def test_all_variants_fit_eighty_columns_by_family():
    lines = list(variant_list.lines(variant_list.rows(variants.names())))
    assert max(map(len, lines)) <= 80
    table = lines[: lines.index("")]
    listed = [line.split()[0] for line in table if line[2] != " " == line[0]]
    assert sorted(listed) == list(variants.names())
    headings = [line for line in lines if line in FAMILIES]
    assert headings == list(FAMILIES)


def test_a_line_says_what_a_variant_supports():
    lines = list(variant_list.lines(variant_list.rows(["alibi", "linear"])))
    assert lines[0].split() == ["bcx", "masks", "srm"]
    alibi = next(line for line in lines if "alibi" in line)
    assert alibi.split()[:4] == ["alibi", "bc-", "pairs", "--m"]
    assert "Attention with linear biases: " in alibi
    linear = next(line for line in lines if line.startswith("  linear"))
    assert linear.split()[:4] == ["linear", "bcx", "keys", "s-m"]
    # Marks stand below their titles.
    for title in ("bcx", "masks", "srm"):
        column = lines[0].index(title)
        assert alibi[column] != " " == alibi[column - 1]
    legend = "\n".join(lines[lines.index("") :])
    assert all(f"\n{mark} " in legend for mark in ("masks", "s", "r", "m"))


def test_a_variant_that_is_not_recorded_is_traced(monkeypatch):
    traced = Support(("causal",), "pairwise", False, False, False, False, FAMILIES[-1])
    monkeypatch.setattr("attention_jax.analysis.variant_list.recorded", dict)
    monkeypatch.setattr("attention_jax.analysis.variant_info.recorded", dict)
    monkeypatch.setattr("attention_jax.analysis.variant_info.support_of", lambda variant: traced)
    (row,) = variant_list.rows(["alibi"])
    assert row.support == traced and row.claim.startswith("Attention with linear biases")


def test_recorded_variants_are_not_imported(monkeypatch):
    def refuse(*arguments, **options):
        raise AssertionError("imported")

    monkeypatch.setattr(variants, "get", refuse)
    assert [row.name for row in variant_list.rows(["dot"])] == ["dot"]
    assert variant_support.recorded()["dot"] == variant_list.rows(["dot"])[0].support
