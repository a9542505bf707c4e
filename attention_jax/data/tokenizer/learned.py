"""Pipelines that learn tokens from text: characters, words or byte pairs."""

from collections.abc import Sequence

from attention_jax.core.extras import needed
from attention_jax.data.types import SPECIAL_TOKENS, UNKNOWN

with needed("train"):
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

SPACE = "▁"  # stands for a space inside tokens, so that joining tokens restores the text
_OPENING = "¿¡"  # a space is put after them, so that "come" is one token with and without "¿"


def untrained(kind: str, *, lowercase: bool, unicode: str) -> Tokenizer:
    """Untrained pipeline of a kind: normalizer, pre-tokenizer, model and decoder."""
    unknown = SPECIAL_TOKENS[UNKNOWN]
    model = models.BPE if kind == "bpe" else models.WordLevel
    tokenizer = Tokenizer(model(unk_token=unknown))
    forms = {"nfc": [normalizers.NFC()], "nfkc": [normalizers.NFKC()], "none": []}
    lower = [*forms[unicode], *([normalizers.Lowercase()] if lowercase else [])]
    if kind == "character":
        tokenizer.normalizer = normalizers.Sequence(lower)
        tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"(?m)."), "isolated")
        tokenizer.decoder = decoders.Fuse()
        return tokenizer
    opening = [normalizers.Replace(mark, f"{mark} ") for mark in _OPENING]
    closing_up = [decoders.Replace(f"{mark} ", mark) for mark in _OPENING]
    words = Regex(rf"{SPACE}?\w+|{SPACE}?[^\w{SPACE}]|{SPACE}")
    tokenizer.normalizer = normalizers.Sequence([*lower, *opening])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Metaspace(split=False), pre_tokenizers.Split(words, "isolated")]
    )
    tokenizer.decoder = decoders.Sequence([decoders.Metaspace(), decoders.Fuse(), *closing_up])
    return tokenizer


def trainer(kind: str, size: int) -> trainers.BpeTrainer | trainers.WordLevelTrainer:
    train = trainers.BpeTrainer if kind == "bpe" else trainers.WordLevelTrainer
    return train(vocab_size=size, special_tokens=list(SPECIAL_TOKENS), show_progress=False)


def check_size(size: int, *, kind: str, texts: list[str], lowercase: bool) -> None:
    """Refuses a `size` below the smallest vocabulary of the kind."""
    if kind == "bpe":
        text = "".join(texts)
        characters = set(text.lower() if lowercase else text) - {" "} | {SPACE}
        needed = len(SPECIAL_TOKENS) + len(characters)
        what = f"the {len(characters)} characters of the text"
    else:
        needed, what = len(SPECIAL_TOKENS) + 1, "a token"
    if size < needed:
        raise ValueError(
            f"`size` must be at least {needed}: {len(SPECIAL_TOKENS)} special tokens and {what}; "
            f"got {size}."
        )


class Learned:
    """Pieces of a tokenizer of the tokenizers library that begins with `SPECIAL_TOKENS`.

    Raises:
      ValueError: it begins with other tokens.
    """

    def __init__(self, tokenizer: Tokenizer):
        first = tuple(tokenizer.id_to_token(i) for i in range(len(SPECIAL_TOKENS)))
        if first != SPECIAL_TOKENS:
            raise ValueError(
                f"a tokenizer must begin with {', '.join(SPECIAL_TOKENS)}; got {first}. "
                "Make one with `Tokenizer.learn`, or read it with `Tokenizer.from_file`."
            )
        tokenizer.encode_special_tokens = True  # "<eos>" in a sentence is not EOS
        self._tokenizer = tokenizer

    @property
    def kind(self) -> str:
        if isinstance(self._tokenizer.model, models.BPE):
            return "bpe"
        return "character" if isinstance(self._tokenizer.decoder, decoders.Fuse) else "word"

    @property
    def size(self) -> int:
        return self._tokenizer.get_vocab_size()

    def encode(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        encodings = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def decode(self, ids: Sequence[int]) -> str:
        return self._tokenizer.decode(list(ids), skip_special_tokens=True)

    def labels(self, ids: Sequence[int]) -> list[str | None]:
        labels = [self._tokenizer.id_to_token(i) for i in ids]
        if self.kind == "word":
            return [label and (label.removeprefix(SPACE) or SPACE) for label in labels]
        return [SPACE if label == " " else label for label in labels]

    def unknown(self, text: str) -> list[str]:
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        pairs = zip(encoding.ids, encoding.offsets, strict=True)
        return [text[start:end].strip() for i, (start, end) in pairs if i == UNKNOWN]

    def to_text(self) -> str:
        return self._tokenizer.to_str(pretty=True)


def read(content: bytes) -> Learned:
    """Pieces of a file that a learned tokenizer was saved in.

    Raises:
      Exception: it holds none.
    """
    return Learned(Tokenizer.from_str(content.decode()))
