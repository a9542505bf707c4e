"""Text to ids and back: nothing is lost, nothing is smuggled in."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attention_jax.data.tokenizer import KINDS, Tokenizer
from attention_jax.data.types import BOS, EOS, PAD, SPECIAL_TOKENS, UNKNOWN

TEXTS = [
    "¿come la niña una manzana?",
    "no, la niña no come.",
    "¡hola! ¿y tú?",
    "17 3 42",
    "it's 5+5",
]


def learn(kind, texts=TEXTS, **options):
    return Tokenizer.learn(texts, kind=kind, **options)


@pytest.fixture(params=KINDS)
def vocabulary(request):
    return learn(request.param)


def test_known_text_comes_back(vocabulary):
    for text in TEXTS:
        assert vocabulary.decode(vocabulary.encode(text)) == text


@given(words=st.lists(st.sampled_from("¿ ? ¡ ! . , - ' ( ) a b ab niña 3 42".split()), min_size=1))
@settings(max_examples=40, deadline=None)
@pytest.mark.parametrize("glue", ["", " ", "  "])
@pytest.mark.parametrize("kind", KINDS)
def test_any_arrangement_comes_back(kind, glue, words):
    # Every way a word or mark can stand is in the corpus, so that all is known.
    text = glue.join(words)
    assert learn(kind, [text]).decode(learn(kind, [text]).encode(text)) == text


def test_special_tokens_come_first(vocabulary):
    assert vocabulary.tokens(range(4)) == list(SPECIAL_TOKENS)
    assert (PAD, BOS, EOS, UNKNOWN) == (0, 1, 2, 3)


def test_decoding_drops_special_tokens(vocabulary):
    ids = vocabulary.encode("la niña")
    assert vocabulary.decode([BOS, *ids, EOS, PAD]) == "la niña"
    assert vocabulary.decode([]) == ""


def test_text_that_spells_a_special_token_is_text(vocabulary):
    assert not {PAD, BOS, EOS} & set(vocabulary.encode("<pad> la <eos> niña <bos>"))


def test_what_is_unknown_is_named():
    words = learn("word")
    assert UNKNOWN in words.encode("la cebra come.")
    assert words.unknown("la cebra come.") == ["cebra"]
    assert words.unknown("la niña come.") == []
    assert learn("bpe").unknown("la niñaß") == ["ß"]


def test_a_word_is_one_token_with_and_without_a_question_mark():
    words = learn("word")
    assert words.tokens(words.encode("¿come la niña?")) == ["¿", "come", "la", "niña", "?"]
    assert words.encode("come")[0] == words.encode("¿come")[1]


def test_numbers_and_punctuation_are_words():
    words = learn("word")
    assert words.tokens(words.encode("17 3 42")) == ["17", "3", "42"]
    assert words.tokens(words.encode("no, la")) == ["no", ",", "la"]


def test_characters_show_spaces():
    characters = learn("character")
    assert characters.tokens(characters.encode("a ú")) == ["a", "▁", "ú"]
    assert characters.kind == "character"


def test_sizes_are_kept():
    everything, small = learn("word"), learn("word", size=8)
    assert everything.size > small.size == 8
    assert max(i for text in TEXTS for i in everything.encode(text)) == everything.size - 1
    assert learn("bpe", TEXTS * 10, size=60).size == 60


def test_lower_casing_is_part_of_the_vocabulary():
    lower = learn("bpe", ["Die NIÑA Straße"], lowercase=True)
    assert lower.decode(lower.encode("DIE Niña")) == "die niña"


def test_batches_encode_alike(vocabulary):
    assert vocabulary.encode_batch(TEXTS) == [vocabulary.encode(text) for text in TEXTS]


def test_learning_is_reproducible(vocabulary, tmp_path):
    again = learn(vocabulary.kind)
    for text in TEXTS:
        assert again.encode(text) == vocabulary.encode(text)
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    vocabulary.save(first)
    again.save(second)
    assert first.read_bytes() == second.read_bytes()


def test_a_file_keeps_everything(vocabulary, tmp_path):
    path = tmp_path / "vocabulary.json"
    vocabulary.save(path)
    loaded = Tokenizer.load(path)
    assert (loaded.size, loaded.kind) == (vocabulary.size, vocabulary.kind)
    for text in [*TEXTS, "<eos> ß"]:
        assert loaded.encode(text) == vocabulary.encode(text)
        assert loaded.decode(loaded.encode(text)) == vocabulary.decode(vocabulary.encode(text))


def test_kinds_are_known():
    with pytest.raises(ValueError, match="one of character, word, bpe; got 'letter'"):
        learn("letter")


@pytest.mark.parametrize("texts", [[], ["", "  "]])
def test_a_corpus_holds_text(texts, vocabulary):
    with pytest.raises(ValueError, match="at least one sentence"):
        learn(vocabulary.kind, texts)


def test_a_size_has_room():
    with pytest.raises(ValueError, match=r"at least 7: 4 special tokens and the 3 .*; got 5"):
        learn("bpe", ["ab ba"], size=5)
    with pytest.raises(ValueError, match="at least 5.*; got 0"):
        learn("word", size=0)
    assert learn("bpe", ["ab ba"], size=7).size == 7


def test_a_vocabulary_is_a_vocabulary(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.json does not exist"):
        Tokenizer.load(tmp_path / "none.json")
    other = tmp_path / "other.json"
    for text in ("", "{}", '{"version": "1.0"}', "\x00"):
        other.write_text(text)
        with pytest.raises(ValueError, match=r"written by `Tokenizer.save`.*other\.json is not"):
            Tokenizer.load(other)


def test_special_tokens_of_others_are_refused(tmp_path):
    import tokenizers

    path = tmp_path / "foreign.json"
    tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0, "<unk>": 1}, unk_token="<unk>")).save(
        str(path)
    )
    with pytest.raises(ValueError, match="must begin with <pad>, <bos>, <eos>, <unk>"):
        Tokenizer.load(path)


@pytest.mark.parametrize("kind", KINDS)
def test_a_normal_form_makes_equal_text_equal(kind, tmp_path):
    composed, wide = "el ni\u00f1o 12", "el nin\u0303o \uff11\uff12"
    learned = Tokenizer.learn([composed], kind=kind, unicode="nfkc")
    learned.save(tmp_path / "kept.json")
    for tokenizer in (learned, Tokenizer.load(tmp_path / "kept.json")):
        assert tokenizer.encode(wide) == tokenizer.encode(composed)
        assert not tokenizer.unknown(wide)
    assert Tokenizer.learn([composed], kind=kind).unknown(wide)
