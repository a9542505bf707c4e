"""The tokenizer beside a model's weights, by the files that families have."""

import io
import json

import pytest

from attention_jax.data.tokenizer import Tokenizer
from attention_jax.pretrained.tokenizers import tokenizer_of

pieces = pytest.importorskip("sentencepiece", reason="sentencepiece is not installed")


def trained(texts: list[str], size: int, **options: int) -> bytes:
    found = io.BytesIO()
    pieces.SentencePieceTrainer.train(
        sentence_iterator=iter(9 * texts),
        model_writer=found,
        vocab_size=size,
        hard_vocab_limit=False,
        minloglevel=2,
        **options,
    )
    return found.getvalue()


@pytest.fixture(scope="module")
def model() -> bytes:
    return trained(["the small dog runs", "a big cat sleeps"], 30)


def names(model: bytes) -> list[str]:
    processor = pieces.SentencePieceProcessor(model_proto=model)
    return [processor.id_to_piece(i) for i in range(processor.get_piece_size())]


def test_opus_mt_has_two_models_and_a_vocabulary(model, tmp_path):
    for name in ("source.spm", "target.spm"):
        (tmp_path / name).write_bytes(model)
    own = ["</s>", *names(model)[:0:-1], "<pad>"]
    vocabulary = {name: i for i, name in enumerate(dict.fromkeys(own))} | {"<unk>": len(own)}
    (tmp_path / "vocab.json").write_text(json.dumps(vocabulary))
    found = tokenizer_of(tmp_path)
    split = pieces.SentencePieceProcessor(model_proto=model).encode("the cat", out_type=str)
    assert [found.theirs[i] for i in found.encode("the cat")] == [vocabulary[x] for x in split]


def test_m2m_100_counts_languages_after_its_pieces(model, tmp_path):
    (tmp_path / "sentencepiece.bpe.model").write_bytes(model)
    own = ["<s>", "<pad>", "</s>", "<unk>", *(x for x in names(model) if x[0] != "<")]
    (tmp_path / "vocab.json").write_text(json.dumps({x: i for i, x in enumerate(own)}))
    languages = {"additional_special_tokens": ["__en__", "__fr__"]}
    (tmp_path / "special_tokens_map.json").write_text(json.dumps(languages))
    found = tokenizer_of(tmp_path).of_languages(source="__en__", target="__fr__")
    assert found.theirs[:4] == (1, 0, 2, 3)
    assert found.theirs[found.encode("the cat")[0]] == len(own)
    assert found.theirs[found.encode_target("the cat")[0]] == len(own) + 1


def test_byt5_has_bytes(tmp_path):
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "ByT5Tokenizer"}')
    found = tokenizer_of(tmp_path)
    text = "¿Dónde está 東京?"
    assert [found.theirs[i] for i in found.encode(text)] == [x + 3 for x in text.encode()]
    assert found.decode(found.encode(text)) == text and found.unknown(text) == []
    assert found.tokens([0, 1, 2, 3, *found.encode("aé")]) == [
        *("<pad>", "<bos>", "</s>", "<unk>"),
        *("a", "<0xC3>", "<0xA9>"),
    ]
    found.save(tmp_path / "kept.json")
    assert Tokenizer.load(tmp_path / "kept.json").encode(text) == found.encode(text)
    assert set(found.files) == {"tokenizer_config.json"}


def test_pieces_without_their_ids_are_refused(model, tmp_path):
    (tmp_path / "sentencepiece.bpe.model").write_bytes(model)
    with pytest.raises(ValueError, match="Write a tokenizer.json beside it") as caught:
        tokenizer_of(tmp_path)
    assert "\n" not in str(caught.value)


def test_one_vocabulary_serves_both_sides(model, tmp_path):
    (tmp_path / "vocab.enpt.spm").write_bytes(model)
    assert tokenizer_of(tmp_path).kind == "sentencepiece"
    (tmp_path / "vocab.pten.spm").write_bytes(model)
    with pytest.raises(ValueError, match="must hold one vocabulary, of source and target"):
        tokenizer_of(tmp_path)


def test_t5_reads_texts_as_transformers_does(tmp_path):
    """Spaces, capitals, numbers, marks and what no piece holds, by a vocabulary like T5's."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    texts = ["The small dog runs, and 12 cats sleep.", "A big cat sleeps!"]
    found = trained(texts, 60, pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
    (tmp_path / "spiece.model").write_bytes(found)
    ours = tokenizer_of(tmp_path)
    theirs = transformers.T5Tokenizer.from_pretrained(tmp_path, extra_ids=0)
    for text in (*texts, " The  cat ", "cats, 21 dogs!", "Zürich sleeps", "a\tb\nc", "ﬁne ½"):
        wanted = theirs(text)["input_ids"]
        assert [*(ours.theirs[i] for i in ours.encode(text)), 1] == wanted, text
