"""The page splits sentences as the library's tokenizers do."""

import random

import pytest

from attention_jax.analysis.pages.live.describe import vocabulary
from attention_jax.data.tokenizer import Tokenizer
from tests.support import node

TEXTS = ["¿come la niña dos manzanas rojas?", "¡no, gracias!", "the boy's 12 cats don't sleep."]
ODD = [
    "",
    " ",
    "  two  spaces ",
    "▁niña ▁ ▁▁",
    "<eos> and <unk>",
    "¿¿come",
    "nin\u0303a",
    "a_b-c/d",
    "١٢ Ⅷ Ⓐ x²",
    "日本語 и ёлка 🦊👩‍👩‍👧",
    "tab\tand\nline\u00a0end",
    "THE BOY ÇA İ",
]
KINDS = {
    "character": {"kind": "character"},
    "word": {"kind": "word", "unicode": "nfc"},
    "word, lower": {"kind": "word", "lowercase": True, "unicode": "nfkc"},
    "bpe": {"kind": "bpe", "size": 60, "unicode": "nfc"},
    "bpe, lower": {"kind": "bpe", "size": 48, "lowercase": True},
}
CODE = """
return data.map(({own, texts}) => {
  const tokenizer = new Tokenizer(own);
  return texts.map(text => {
    const ids = tokenizer.encode(text);
    return {ids, decoded: tokenizer.decode(ids), labels: ids.map(id => tokenizer.label(id))};
  });
});
"""


def mixed(count):
    """Sentences of letters that are learned and others, with spaces and marks."""
    draw = random.Random(0)
    letters = "¿¡ñaeiouth  dcsé.,?!'-_▁12zé\u0301Ñ"
    return ["".join(draw.choices(letters, k=draw.randrange(1, 30))) for _ in range(count)]


@node.needs_node
def test_ids_texts_and_labels_are_those_of_the_library(tmp_path):
    made = {name: Tokenizer.learn(TEXTS, **own) for name, own in KINDS.items()}
    texts = [*TEXTS, *ODD, *mixed(200)]
    data = [{"own": vocabulary(own), "texts": texts} for own in made.values()]
    found = node.run(tmp_path, CODE, data)
    for (name, own), read in zip(made.items(), found, strict=True):
        for text, got in zip(texts, read, strict=True):
            ids = own.encode(text)
            assert got["ids"] == ids, (name, text)
            assert got["decoded"] == own.decode(ids), (name, text)
            assert got["labels"] == own.tokens(ids), (name, text)


def test_a_vocabulary_has_its_tokens_by_id():
    own = Tokenizer.learn(TEXTS, kind="bpe", size=60, lowercase=True, unicode="nfkc")
    found = vocabulary(own)
    assert (found["kind"], found["unicode"], found["lowercase"]) == ("bpe", "nfkc", True)
    assert len(found["vocabulary"]) == own.size and len(found["merges"][0]) == 2


@pytest.mark.parametrize("kind", ["character", "word"])
def test_without_options_a_text_is_left_as_it_is(kind):
    found = vocabulary(Tokenizer.learn(TEXTS, kind=kind))
    assert (found["unicode"], found["lowercase"], found["merges"]) == ("none", False, [])
