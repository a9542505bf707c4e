"""Tokenizers made elsewhere: the same pieces as in the library that made them."""

import io
import json
import re

import pytest
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from attention_jax.core import extras
from attention_jax.data.text_files import unicode_form
from attention_jax.data.tokenizer import Tokenizer, given
from attention_jax.data.types import BOS, EOS, PAD, SPECIAL_TOKENS, UNKNOWN

TEXTS = ["the cat sleeps here", "A dog sleeps there.", "the dog, the cat and the niña eat"]
UNSEEN = ["the ca tsleeps  the", "a catß </s> [SEP] dog", "", " the "]
# In whatever place, and among other tokens.
SPECIAL = ["[MASK]", "</s>", "<unk>", "<pad>", "<s>"]


def byte_pairs(special=SPECIAL):
    made = tokenizers.Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        TEXTS,
        trainers.BpeTrainer(special_tokens=special, initial_alphabet=alphabet, vocab_size=290),
    )
    return made


def word_pieces(special=("[PAD]", "[UNK]", "[CLS]", "[SEP]")):
    made = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.pre_tokenizer, made.decoder = pre_tokenizers.BertPreTokenizer(), decoders.WordPiece()
    made.train_from_iterator(
        TEXTS, trainers.WordPieceTrainer(special_tokens=list(special), vocab_size=60)
    )
    return made


def unigrams(special=("<s>", "<pad>", "</s>", "<unk>")):
    made = tokenizers.Tokenizer(models.Unigram())
    made.pre_tokenizer, made.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    made.train_from_iterator(
        TEXTS,
        trainers.UnigramTrainer(special_tokens=list(special), unk_token="<unk>", vocab_size=50),
    )
    return made


MADE = {"bpe": byte_pairs, "wordpiece": word_pieces, "unigram": unigrams}


def sentence_pieces(**options):
    sentencepiece = pytest.importorskip("sentencepiece", reason="needs the extra sentencepiece")
    model = io.BytesIO()
    own = {"vocab_size": 40, "hard_vocab_limit": False, "pad_id": 3, "minloglevel": 2} | options
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS * 3), model_writer=model, **own
    )
    peer = sentencepiece.SentencePieceProcessor()
    peer.LoadFromSerializedProto(model.getvalue())
    return peer, model.getvalue()


@pytest.fixture(params=[*MADE, "sentencepiece"])
def made(request, tmp_path):
    """A file, the peer's ids of a text, and the peer's text of ids."""
    if request.param == "sentencepiece":
        peer, content = sentence_pieces()
        path, special = tmp_path / "own.model", [3, 1, 2, 0]
        path.write_bytes(content)
        return path, peer.encode_as_ids, peer.decode_ids, special
    peer = MADE[request.param]()
    path = tmp_path / "tokenizer.json"
    peer.save(str(path))
    names = [("<pad>", "[PAD]"), ("<s>", "[CLS]"), ("</s>", "[SEP]"), ("<unk>", "[UNK]")]
    special = [next(i for i in map(peer.token_to_id, own) if i is not None) for own in names]
    peer.encode_special_tokens = True
    encode = lambda text: peer.encode(text, add_special_tokens=False).ids  # noqa: E731
    return path, encode, peer.decode, special


def test_ids_are_those_of_the_peer_with_the_special_ones_in_front(made):
    path, encode, decode, special = made
    pieces = given.read(path.read_bytes(), given.Options(), name="x", argument="y")
    assert pieces.theirs(range(4)) == special
    assert sorted(pieces.theirs(range(pieces.size))) == list(range(pieces.size))
    rest = pieces.theirs(range(4, pieces.size))
    assert rest == sorted(rest)
    hidden = set(special[: EOS + 1])
    for text in [*TEXTS, *UNSEEN]:
        # What spells a special token is unknown.
        wanted = [special[UNKNOWN] if i in hidden else i for i in encode(text)]
        assert pieces.theirs(pieces.encode(text)) == wanted
        known = [i for i in wanted if i != special[UNKNOWN]]
        assert pieces.decode(pieces.encode(text)) == decode(known)
    assert pieces.encode_batch(TEXTS) == [pieces.encode(text) for text in TEXTS]


def test_text_comes_back_and_special_tokens_do_not(made):
    tokenizer = Tokenizer.from_file(made[0])
    assert tokenizer.is_given
    for text in TEXTS[:1]:
        ids = tokenizer.encode(text)
        assert min(ids) > UNKNOWN and max(ids) < tokenizer.size
        assert tokenizer.decode([BOS, *ids, EOS, PAD, tokenizer.size]) == text
    assert tokenizer.tokens([tokenizer.size]) == ["<none>"]
    for text in UNSEEN:
        assert not {PAD, BOS, EOS} & set(tokenizer.encode(text))


def test_a_saved_one_is_whole_without_its_file(made, tmp_path):
    path, *_ = made
    tokenizer = Tokenizer.from_file(path, lowercase=True, unicode="nfkc")
    tokenizer.save(tmp_path / "kept.json")
    path.unlink()
    loaded, again = Tokenizer.load(tmp_path / "kept.json"), tmp_path / "again.json"
    loaded.save(again)
    assert again.read_bytes() == (tmp_path / "kept.json").read_bytes()
    assert (loaded.size, loaded.kind) == (tokenizer.size, tokenizer.kind)
    for text in [*TEXTS, *UNSEEN]:
        assert loaded.encode(text) == tokenizer.encode(text)
        assert loaded.unknown(text) == tokenizer.unknown(text)
    every = range(tokenizer.size)
    assert loaded.tokens(every) == tokenizer.tokens(every)
    assert Tokenizer.from_file(again).to_text() == tokenizer.to_text()


def test_text_is_prepared_as_is_asked(made):
    path, encode, *_ = made
    pieces = given.read(path.read_bytes(), given.Options((), True, "nfkc"), name="x", argument="y")
    for text in ("The CAT", "nin\u0303a \uff12"):
        prepared = unicode_form(text, "nfkc").lower()
        assert pieces.theirs(pieces.encode(text)) == encode(prepared)


def test_what_is_unknown_is_named(made):
    tokenizer = Tokenizer.from_file(made[0])
    found = tokenizer.unknown("the ß cat")
    assert found == ([] if tokenizer.kind == "bpe" else ["ß"])
    assert tokenizer.unknown("the cat") == []


@pytest.mark.parametrize(
    ("special", "names", "message"),
    [
        (SPECIAL, ("<pad>", "<s>"), "`special_tokens` must be four names"),
        (SPECIAL, ("<pad>", "<go>", "</s>", "<unk>"), "none for begin (looked for <go>)"),
        (SPECIAL, ("<pad>", "</s>", "</s>", "<unk>"), "must hold four different tokens"),
    ],
)
def test_special_tokens_must_be_there(special, names, message):
    content = byte_pairs(special).to_str().encode()
    with pytest.raises(ValueError) as error:
        given.read(content, given.Options(names), name="x", argument="tokenizer_file")
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("special", [["</s>"], ["<s>", "</s>", "<unk>"], ["<pad>", "<unk>"], []])
def test_special_tokens_that_are_not_there_have_ids_of_their_own(special):
    made = byte_pairs(special)
    content = made.to_str().encode()
    pieces = given.read(content, given.Options(), name="x", argument="y")
    again = given.restored(pieces.to_text().encode())
    names = [name if name in special else None for name in ("<pad>", "<s>", "</s>", "<unk>")]
    wanted = [own or ours for own, ours in zip(names, SPECIAL_TOKENS, strict=True)]
    for own in (pieces, again):
        assert own.labels(range(4)) == wanted
        assert own.theirs(range(4)) == [name and made.token_to_id(name) for name in names]
        assert own.size == made.get_vocab_size() + names.count(None)
        ids = own.encode(TEXTS[0])
        assert min(ids) > UNKNOWN and own.decode([BOS, *ids, EOS, PAD]) == TEXTS[0]


def test_text_is_never_dropped_for_want_of_an_unknown_token():
    made = tokenizers.Tokenizer(models.BPE())
    made.train_from_iterator(TEXTS, trainers.BpeTrainer(special_tokens=SPECIAL, vocab_size=60))
    own = json.loads(made.to_str())
    del own["model"]["vocab"]["<unk>"]
    own["added_tokens"] = [x for x in own["added_tokens"] if x["content"] != "<unk>"]
    with pytest.raises(ValueError, match="none for unknown .looked for <unk>, .UNK."):
        given.read(json.dumps(own).encode(), given.Options(), name="x", argument="y")


def test_special_tokens_may_have_other_names():
    made = byte_pairs(["<0>", "<1>", "<2>", "<3>"])
    content = made.to_str().encode()
    names = ("<2>", "<3>", "<0>", "<1>")
    pieces = given.read(content, given.Options(names), name="x", argument="y")
    assert pieces.theirs(range(4)) == [2, 3, 0, 1] and pieces.labels([0, 3]) == ["<2>", "<1>"]


def test_another_token_may_end_texts(tmp_path):
    """A token of chats in place of the usual one, which is text then; and one that was special."""
    made = byte_pairs(["<s>", "</s>", "<|turn|>"])
    made.save(str(tmp_path / "own.json"))
    tokenizer = Tokenizer.from_file(tmp_path / "own.json")
    end, turn, begin = (made.token_to_id(name) for name in ("</s>", "<|turn|>", "<s>"))
    own = tokenizer.ending_with(turn)
    own.save(tmp_path / "kept.json")
    assert Tokenizer.load(tmp_path / "kept.json").theirs == own.theirs
    assert own.theirs[:4] == (None, begin, turn, None) and end in own.theirs[4:]
    assert sorted(own.theirs[4:]) == sorted({*range(made.get_vocab_size())} - {begin, turn})
    for text in TEXTS:
        assert own.decode([*own.encode(text), EOS]) == text
        assert [own.theirs[i] for i in own.encode(text)] == made.encode(text).ids
    assert tokenizer.ending_with(begin).theirs[:4] == (None, None, begin, None)
    assert tokenizer.ending_with(end).theirs == tokenizer.theirs


def test_what_cannot_end_texts_is_refused(tmp_path):
    made = byte_pairs()
    made.save(str(tmp_path / "own.json"))
    tokenizer = Tokenizer.from_file(tmp_path / "own.json")
    for theirs in (made.token_to_id("<unk>"), -1, made.get_vocab_size()):
        with pytest.raises(ValueError, match=f"not of its unknown one; got {theirs}"):
            tokenizer.ending_with(theirs)
    with pytest.raises(ValueError, match="this one was learned here, and has its end"):
        Tokenizer.learn(TEXTS, kind="word").ending_with(2)


def test_the_unknown_token_is_the_models_own():
    content = word_pieces(("[PAD]", "[UNK]", "[CLS]", "[SEP]", "<unk>")).to_str().encode()
    pieces = given.read(content, given.Options(), name="x", argument="y")
    assert pieces.labels([UNKNOWN]) == ["[UNK]"]
    names = ("[PAD]", "[CLS]", "[SEP]", "<unk>")
    with pytest.raises(ValueError, match=r"own unknown token last, which is \[UNK\]; got <unk>"):
        given.read(content, given.Options(names), name="x", argument="y")


def test_a_sentencepiece_model_needs_no_padding(tmp_path):
    peer, content = sentence_pieces(pad_id=-1)  # as its trainer makes them
    path = tmp_path / "own.model"
    path.write_bytes(content)
    tokenizer = Tokenizer.from_file(path)
    assert tokenizer.size == peer.get_piece_size() + 1
    assert tokenizer.tokens(range(4)) == ["<pad>", "<s>", "</s>", "<unk>"]
    assert tokenizer.decode(tokenizer.encode(TEXTS[0])) == TEXTS[0]


@pytest.mark.parametrize("content", [b"{}", b'{"version": "1.0"}', b"", b"\x00\x01", b"word\n"])
def test_what_is_no_tokenizer_is_refused_in_one_line(tmp_path, content):
    if not content.startswith(b"{"):
        pytest.importorskip("sentencepiece", reason="needs the extra sentencepiece")
    path = tmp_path / "odd"
    path.write_bytes(content)
    with pytest.raises(
        ValueError, match=r"`tokenizer_file` must be .*; \S*odd is neither"
    ) as error:
        Tokenizer.from_file(path, argument="tokenizer_file")
    assert "\n" not in str(error.value)
    with pytest.raises(FileNotFoundError, match=r"`path` must name a tokenizer; .*none does not"):
        Tokenizer.from_file(tmp_path / "none")


def test_a_missing_package_is_named_with_its_command(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sentencepiece", None)
    said = re.escape(extras.message("sentencepiece", "sentencepiece"))
    with pytest.raises(ModuleNotFoundError, match=said):
        given.read(b"\x0a", given.Options(), name="x", argument="y")


def test_a_damaged_copy_is_refused(tmp_path):
    tokenizer = given.read(byte_pairs().to_str().encode(), given.Options(), name="x", argument="y")
    kept = json.loads(tokenizer.to_text())
    del kept["content"]["model"]
    (tmp_path / "kept.json").write_text(json.dumps(kept))
    with pytest.raises(ValueError, match="written by `Tokenizer.save`"):
        Tokenizer.load(tmp_path / "kept.json")
