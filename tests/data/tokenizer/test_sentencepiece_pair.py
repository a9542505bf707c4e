"""SentencePiece models of two languages over one vocabulary, as opus-mt has them."""

import io
import json

import pytest

from attention_jax.data.batching import encode_examples
from attention_jax.data.tokenizer import Tokenizer
from attention_jax.data.types import EOS, PAD, UNKNOWN, Example

pieces = pytest.importorskip("sentencepiece", reason="sentencepiece is not installed")

ENGLISH = ["the small dog runs", "the big dog sleeps", "a small cat runs", "the cat sleeps"] * 5
SPANISH = ["el perro corre", "el gato duerme", "un perro duerme", "un gato corre"] * 5


def trained(texts: list[str], size: int) -> bytes:
    model = io.BytesIO()
    pieces.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=model,
        vocab_size=size,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    return model.getvalue()


def piece_list(model: bytes) -> list[str]:
    processor = pieces.SentencePieceProcessor(model_proto=model)
    return [processor.id_to_piece(i) for i in range(processor.get_piece_size())]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """source.spm, target.spm, and a vocabulary in which "d" of the source has no token."""
    found = tmp_path_factory.mktemp("opus")
    models = trained(ENGLISH, 40), trained(SPANISH, 30)
    own = ["</s>", "<unk>"]
    for model in models:
        own += [x for x in piece_list(model) if x not in (*own, "<s>", "d", "▁d")]
    own += [">>spa<<", "<pad>"]
    (found / "source.spm").write_bytes(models[0])
    (found / "target.spm").write_bytes(models[1])
    (found / "vocab.json").write_text(json.dumps({x: i for i, x in enumerate(own)}))
    return found


@pytest.fixture(scope="module")
def tokenizer(folder):
    return Tokenizer.from_pair(*(folder / x for x in ("source.spm", "target.spm", "vocab.json")))


def theirs(folder, side: str, text: str) -> list[int]:
    """Ids in the vocabulary of what one side's own model splits a text into."""
    vocabulary = json.loads((folder / "vocab.json").read_text())
    processor = pieces.SentencePieceProcessor(model_file=str(folder / f"{side}.spm"))
    return [vocabulary.get(x, vocabulary["<unk>"]) for x in processor.encode(text, out_type=str)]


def test_each_side_is_split_by_its_own_model(folder, tokenizer):
    source, target = "the cat runs", "un perro corre"
    ids = tokenizer.encode(source)
    assert [tokenizer.theirs[i] for i in ids] == theirs(folder, "source", source)
    ids = tokenizer.encode_target(target)
    assert [tokenizer.theirs[i] for i in ids] == theirs(folder, "target", target)
    assert tokenizer.decode([*ids, EOS, PAD]) == target
    assert tokenizer.encode(target) != ids


def test_special_tokens_stand_first(folder, tokenizer):
    vocabulary = json.loads((folder / "vocab.json").read_text())
    names = vocabulary["<pad>"], None, vocabulary["</s>"], vocabulary["<unk>"]
    assert tokenizer.theirs[:4] == names
    assert sorted(x for x in tokenizer.theirs if x is not None) == list(range(len(vocabulary)))


def test_a_text_may_begin_with_its_language(tokenizer):
    first, *rest = tokenizer.encode(">>spa<<the cat runs")
    assert tokenizer.tokens([first]) == [">>spa<<"] and rest == tokenizer.encode("the cat runs")
    assert tokenizer.encode(">>xyz<<the cat")[0] == UNKNOWN


def test_a_piece_without_a_token_is_unknown(tokenizer):
    assert UNKNOWN in tokenizer.encode("the dog d")
    assert UNKNOWN not in tokenizer.encode("the cat runs")
    assert "d" in "".join(tokenizer.unknown("the dog d"))


def test_one_file_keeps_it(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "tokenizer.json")
    again = Tokenizer.load(tmp_path / "tokenizer.json")
    for text in ("the cat runs", "un perro corre"):
        assert again.encode(text) == tokenizer.encode(text)
        assert again.encode_target(text) == tokenizer.encode_target(text)
    assert again.theirs == tokenizer.theirs and again.to_text() == tokenizer.to_text()


def test_its_files_are_those_that_it_was_read_from(folder, tokenizer):
    assert set(tokenizer.files) == {"source.spm", "target.spm", "vocab.json"}
    for name, content in tokenizer.files.items():
        kept = (folder / name).read_bytes()
        assert content == kept or json.loads(content) == json.loads(kept)


def test_examples_are_encoded_side_by_side(tokenizer):
    example = Example("the cat runs", ("un gato corre",))
    ((source, target),) = encode_examples([example], tokenizer)
    assert source == tokenizer.encode(example.source)
    assert target == tokenizer.encode_target("un gato corre")


def test_languages_may_be_told_once(tokenizer, tmp_path):
    both = tokenizer.of_languages(source=">>spa<<", target=">>spa<<")
    first = tokenizer.encode(">>spa<<")
    assert both.encode("the cat runs") == first + tokenizer.encode("the cat runs")
    assert both.encode_target("un gato") == first + tokenizer.encode_target("un gato")
    both.save(tmp_path / "kept.json")
    assert Tokenizer.load(tmp_path / "kept.json").encode("the cat") == both.encode("the cat")
    assert both.of_languages().to_text() == tokenizer.to_text()
    with pytest.raises(ValueError, match="must name tokens of the file; it has no '>>deu<<'"):
        tokenizer.of_languages(source=">>deu<<")


def test_a_learned_tokenizer_has_no_languages():
    with pytest.raises(ValueError, match="`of_languages` must be asked of a tokenizer that was"):
        Tokenizer.learn(["un gato"], kind="word").of_languages(source="es")


def test_other_tokenizers_have_one_side():
    tokenizer = Tokenizer.learn(["un gato corre"], kind="word")
    assert tokenizer.encode_target("un gato") == tokenizer.encode("un gato")


def test_what_is_missing_or_damaged_is_refused(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match="`target` must name a file"):
        Tokenizer.from_pair(folder / "source.spm", tmp_path / "x.spm", folder / "vocab.json")
    (tmp_path / "vocab.json").write_text('{"<pad>": 0}')
    source, target = folder / "source.spm", folder / "target.spm"
    with pytest.raises(ValueError, match="a vocabulary with an unknown token") as caught:
        Tokenizer.from_pair(source, target, tmp_path / "vocab.json")
    assert "\n" not in str(caught.value)
