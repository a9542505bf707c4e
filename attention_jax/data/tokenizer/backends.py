"""Tokenizers of other libraries behind one interface, `types.Backend`."""

import base64
import json
from collections.abc import Sequence

from attention_jax.core.extras import needed
from attention_jax.data.tokenizer.types import SPECIAL_ROLES

with needed("train"):
    from tokenizers import Tokenizer

# Names by which files of Hugging Face call their special tokens; they do not say which is which.
USUAL = {
    "padding": ("<pad>", "[PAD]", "<|pad|>", "<|padding|>", "<PAD>"),
    "begin": ("<bos>", "<s>", "[BOS]", "[CLS]", "<|begin_of_text|>", "<|startoftext|>", "<BOS>"),
    "end": ("<eos>", "</s>", "[EOS]", "[SEP]", "<|end_of_text|>", "<|endoftext|>", "<EOS>"),
    "unknown": ("<unk>", "[UNK]", "<|unk|>", "<UNK>"),
}


class HuggingFace:
    """A tokenizer.json.

    Raises:
      Exception: it is none.
    """

    def __init__(self, content: bytes):
        text = content.decode("utf-8-sig")
        self._tokenizer = Tokenizer.from_str(text)
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._tokenizer.encode_special_tokens = True  # "</s>" in a sentence is not its end
        whole = json.loads(text)
        model = whole["model"]
        self.kind = str(model.get("type", "bpe")).lower()
        self.special = self._found(model)
        self.reads_all = (whole.get("decoder") or {}).get("type") == "ByteLevel"

    def _found(self, model: dict) -> dict[str, int]:
        """Special tokens by the usual names; the unknown one is what the model itself puts."""
        usual = {role: [self.id_of(name) for name in names] for role, names in USUAL.items()}
        own = model.get("unk_id")
        if own is None and model.get("unk_token"):
            own = self.id_of(model["unk_token"])
        usual["unknown"].insert(0, own)
        firsts = {role: next((i for i in usual[role] if i is not None), None) for role in usual}
        return {role: i for role, i in firsts.items() if i is not None}

    def ids(self) -> list[int]:
        return sorted(set(self._tokenizer.get_vocab(with_added_tokens=True).values()))

    def id_of(self, token: str) -> int | None:
        return self._tokenizer.token_to_id(token)

    def label(self, id: int) -> str | None:
        return self._tokenizer.id_to_token(id)

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        found = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [encoding.ids for encoding in found]

    def parts(self, text: str) -> list[tuple[int, str]]:
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        pairs = zip(encoding.ids, encoding.offsets, strict=True)
        return [(i, text[start:end]) for i, (start, end) in pairs]

    def decode(self, ids: Sequence[int]) -> str:
        return self._tokenizer.decode(list(ids), skip_special_tokens=True)


class SentencePiece:
    """A SentencePiece model.

    Raises:
      ModuleNotFoundError: sentencepiece is not installed.
      RuntimeError: it is no such model.
    """

    kind, reads_all = "sentencepiece", False

    def __init__(self, content: bytes):
        with needed("sentencepiece"):
            from sentencepiece import SentencePieceProcessor
        self._processor = SentencePieceProcessor()
        self._processor.LoadFromSerializedProto(content)
        of = self._processor
        own = (of.pad_id(), of.bos_id(), of.eos_id(), of.unk_id())  # -1 where there is none
        self.special = {role: i for role, i in zip(SPECIAL_ROLES, own, strict=True) if i >= 0}

    def ids(self) -> list[int]:
        return list(range(self._processor.get_piece_size()))

    def id_of(self, token: str) -> int | None:
        found = self._processor.piece_to_id(token)
        return found if self.label(found) == token else None

    def label(self, id: int) -> str | None:
        return self._processor.id_to_piece(id)

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        return [self._processor.encode_as_ids(text) for text in texts]

    def parts(self, text: str) -> list[tuple[int, str]]:
        of = self._processor
        return list(zip(of.encode_as_ids(text), of.encode_as_pieces(text), strict=True))

    def decode(self, ids: Sequence[int]) -> str:
        return self._processor.decode_ids(list(ids))


class SentencePiecePair:
    """SentencePiece models of a source and a target language, over one vocabulary, as opus-mt has.

    Pieces of the source's model are tokens of the vocabulary where it has them, and unknown where
    not. A source that begins with a language, as ">>fra<< Good day.", begins with its token.

    Args:
      content: a JSON object with both models in base64, and the id of each token.

    Raises:
      ModuleNotFoundError: sentencepiece is not installed.
      Exception: it holds no such models.
    """

    kind, reads_all = "sentencepiece", False

    def __init__(self, content: bytes):
        kept = json.loads(content)
        models = (base64.b64decode(kept[name]) for name in ("source", "target"))
        self._source, self._target = (SentencePiece(x)._processor for x in models)
        self._ids: dict[str, int] = kept["vocabulary"]
        self._labels = {i: token for token, i in self._ids.items()}
        found = {role: [self._ids.get(name) for name in names] for role, names in USUAL.items()}
        firsts = {
            role: next((i for i in ids if i is not None), None) for role, ids in found.items()
        }
        self.special = {role: i for role, i in firsts.items() if i is not None}
        self._unknown = self.special["unknown"]

    def ids(self) -> list[int]:
        return sorted(self._labels)

    def id_of(self, token: str) -> int | None:
        return self._ids.get(token)

    def label(self, id: int) -> str | None:
        return self._labels.get(id)

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        return [[i for i, _ in self.parts(text)] for text in texts]

    def encode_target(self, text: str) -> list[int]:
        """Ids of a text of the target language."""
        return [
            self._ids.get(piece, self._unknown) for piece in self._target.encode_as_pieces(text)
        ]

    def parts(self, text: str) -> list[tuple[int, str]]:
        language, rest = _language(text)
        pieces = [*language, *self._source.encode_as_pieces(rest)]
        return [(self._ids.get(piece, self._unknown), piece) for piece in pieces]

    def decode(self, ids: Sequence[int]) -> str:
        pieces = [self._labels[i] for i in ids]
        return self._target.decode_pieces(pieces).replace("▁", " ").strip()


class Bytes:
    """Bytes of UTF-8, as ByT5 has them: after padding, end and unknown.

    Reference: Xue et al. 2022, arXiv:2105.13626, section 3.1.
    """

    kind, reads_all = "byte", True
    special = {"padding": 0, "end": 1, "unknown": 2}
    _NAMES = ("<pad>", "</s>", "<unk>")

    def ids(self) -> list[int]:
        return list(range(len(self._NAMES) + 256))

    def id_of(self, token: str) -> int | None:
        return next((i for i in self.ids() if self.label(i) == token), None)

    def label(self, id: int) -> str | None:
        byte = id - len(self._NAMES)
        if byte < 0:
            return self._NAMES[id]
        return chr(byte) if 32 < byte < 127 else f"<0x{byte:02X}>"

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        return [[byte + len(self._NAMES) for byte in text.encode()] for text in texts]

    def parts(self, text: str) -> list[tuple[int, str]]:
        return [(i, str(self.label(i))) for i in self.encode_batch([text])[0]]

    def decode(self, ids: Sequence[int]) -> str:
        first = len(self._NAMES)
        return bytes(i - first for i in ids if i >= first).decode(errors="ignore")


def _language(text: str) -> tuple[list[str], str]:
    """The language that a text begins with, if it does, and the rest."""
    end = text.find("<<")
    if not text.startswith(">>") or end < 0:
        return [], text
    return [text[: end + 2]], text[end + 2 :]
