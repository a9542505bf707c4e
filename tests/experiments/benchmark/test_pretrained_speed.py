"""Speed of pretrained language models, beside the library that they came from."""

import pytest

from attention_jax import pretrained
from experiments.benchmark.pretrained_speed import PEER, alike, line, measure, their_text
from tests.support import pretrained_folders


@pytest.fixture
def folder(tmp_path):
    pytest.importorskip("safetensors", reason="safetensors is not installed")
    return pretrained_folders.gpt2(tmp_path)


def test_one_side_is_measured_where_the_other_is_missing(folder):
    row = measure(pretrained.load(folder), None, "ab", 5, repeats=2)
    assert row.case == {"family": "gpt2", "prompt": 2, "tokens": 5} and row.repeats == 2
    assert row.not_measured == {PEER: "is not installed"} and row.peer_ms == {}
    assert row.ours_ms is not None
    assert row.facts["ours_tokens_a_second"] == pytest.approx(5e3 / row.ours_ms)
    assert "5 tokens: ours_tokens_a_second" in line(row) and "is not installed" in line(row)


def test_tokens_are_alike_until_the_first_that_differs(folder):
    loaded = pretrained.load(folder)
    assert loaded.tokenizer is not None and loaded.order is not None
    ids = [loaded.order.theirs[i] for i in loaded.tokenizer.encode("abdc")]
    assert alike(loaded, "abdc", ids) == 4 and alike(loaded, "abcc", ids) == 2
    other = measure(loaded, lambda prompt, tokens: [ids[0]] * tokens, "ab", 3, repeats=1)
    assert 0 <= other.facts["alike"] <= 3 and other.peer_ms[PEER] > 0


@pytest.mark.slow
def test_both_sides_write_alike(folder):
    for name in ("torch", "transformers"):
        pytest.importorskip(name, reason=f"{name} is not installed")
    theirs, loaded = their_text(folder), pretrained.load(folder)
    row = measure(loaded, theirs, "abd", 6, repeats=1)
    assert row.facts["alike"] == 6 and row.ratio[PEER].median > 0


def test_a_model_that_writes_no_text_is_refused(folder):
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ValueError, match="must name a language model with its tokenizer"):
        measure(pretrained.load(folder), None, "ab", 5)
