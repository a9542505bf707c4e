"""Tokenizers of characters, words or byte pairs, with one interface."""

from collections.abc import Iterable, Sequence
from os import PathLike
from pathlib import Path

from attention_jax.core.extras import needed
from attention_jax.core.files import write_whole
from attention_jax.data.text_files import unicode_form
from attention_jax.data.types import SPECIAL_TOKENS, UNKNOWN

with needed("train"):
    from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, trainers
    from tokenizers import Tokenizer as RustTokenizer

KINDS = ("character", "word", "bpe")
_BPE_SIZE = 8000
_ALL = 2**31  # no corpus has as many words
_SPACE = "▁"  # stands for a space inside tokens, so that joining tokens restores the text
_NO_TOKEN = "<none>"  # label of an id beyond the vocabulary
_OPENING = "¿¡"  # a space is put after them, so that "come" is one token with and without "¿"


class Tokenizer:
    """Tokenizer learned from text and kept in one JSON file.

        decode(encode(text)) == text        for text of known characters or words

    "character" makes every character a token, spaces included. "word" splits at white space and
    separates punctuation. "bpe" merges the most frequent pairs of pieces within such words. A token
    that begins a word carries the space before it. Ids 0 to 3 are `SPECIAL_TOKENS`; text never
    encodes to PAD, BOS or EOS, even if it spells "<eos>".

    Reference: Sennrich et al. 2016, arXiv:1508.07909, for "bpe".

    >>> tokenizer = Tokenizer.learn(["¿come la niña?"], kind="word")
    >>> tokenizer.decode(tokenizer.encode("¿come la niña?"))
    '¿come la niña?'
    """

    def __init__(self, tokenizer: RustTokenizer):
        first = tuple(tokenizer.id_to_token(i) for i in range(len(SPECIAL_TOKENS)))
        if first != SPECIAL_TOKENS:
            raise ValueError(
                f"a tokenizer must begin with {', '.join(SPECIAL_TOKENS)}; got {first}. "
                "Make one with `Tokenizer.learn`."
            )
        tokenizer.encode_special_tokens = True  # "<eos>" in a sentence is not EOS
        self._tokenizer = tokenizer

    @classmethod
    def learn(
        cls,
        texts: Iterable[str],
        *,
        kind: str,
        size: int | None = None,
        lowercase: bool = False,
        unicode: str = "none",
    ) -> "Tokenizer":
        """Learns the tokens of training texts, sources and targets.

        Args:
          texts: sentences; read once.
          kind: "character", "word" or "bpe".
          size: largest number of tokens, special ones included. By default all, 8000 for "bpe".
            A small corpus may yield fewer.
          lowercase: makes `encode` lower-case text first.
          unicode: normal form in which `encode` puts text first; see `text_files.unicode_form`.

        Returns:
          A `Tokenizer`, the same for the same texts in any order of equal counts.

        Raises:
          ValueError: an unknown `kind`, no text, or a `size` that cannot hold the characters.
        """
        if kind not in KINDS:
            raise ValueError(f"`kind` must be one of {', '.join(KINDS)}; got {kind!r}.")
        texts = [unicode_form(text, unicode) for text in texts if text.strip()]
        if not texts:
            raise ValueError("`texts` must hold at least one sentence that is not empty; got none.")
        if size is None:
            size = _BPE_SIZE if kind == "bpe" else _ALL
        _check_size(size, kind=kind, texts=texts, lowercase=lowercase)
        tokenizer = _untrained(kind, lowercase=lowercase, unicode=unicode)
        tokenizer.train_from_iterator(texts, _trainer(kind, size))
        return cls(tokenizer)

    @classmethod
    def load(cls, path: str | PathLike) -> "Tokenizer":
        """Loads a file written by `save`.

        Raises:
          FileNotFoundError: there is no such file.
          ValueError: the file holds no tokenizer.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"`path` must name a tokenizer file; {path} does not exist.")
        try:
            return cls(RustTokenizer.from_file(str(path)))
        except Exception as error:  # the library raises a bare Exception
            raise ValueError(
                f"`path` must name a file written by `Tokenizer.save`; {path} is not one "
                f"({_one_line(error)})."
            ) from error

    def save(self, path: str | PathLike) -> None:
        """Writes a JSON file that `load`, and the tokenizers library, can read."""
        write_whole(path, self._tokenizer.to_str(pretty=True))

    @property
    def size(self) -> int:
        """Number of tokens, special ones included: one more than the largest id."""
        return self._tokenizer.get_vocab_size()

    @property
    def kind(self) -> str:
        """ "character", "word" or "bpe"."""
        if isinstance(self._tokenizer.model, models.BPE):
            return "bpe"
        return "character" if isinstance(self._tokenizer.decoder, decoders.Fuse) else "word"

    def encode(self, text: str) -> list[int]:
        """Ids of `text`, without BOS and EOS; unseen characters or words become UNKNOWN."""
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """`encode` of several texts, on several cores."""
        encodings = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def decode(self, ids: Iterable[int]) -> str:
        """Text of `ids`, without special tokens."""
        return self._tokenizer.decode([int(i) for i in ids], skip_special_tokens=True)

    def tokens(self, ids: Iterable[int]) -> list[str]:
        """Readable label of each id, special tokens included, as plots show them."""
        labels = [self._tokenizer.id_to_token(int(i)) or _NO_TOKEN for i in ids]
        if self.kind == "word":
            return [label.removeprefix(_SPACE) or _SPACE for label in labels]
        return [_SPACE if label == " " else label for label in labels]

    def unknown(self, text: str) -> list[str]:
        """Parts of `text` that `encode` turns into UNKNOWN, in order."""
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        pairs = zip(encoding.ids, encoding.offsets, strict=True)
        return [text[start:end].strip() for i, (start, end) in pairs if i == UNKNOWN]


def _untrained(kind: str, *, lowercase: bool, unicode: str) -> RustTokenizer:
    """Untrained pipeline of a kind: normalizer, pre-tokenizer, model and decoder."""
    unknown = SPECIAL_TOKENS[UNKNOWN]
    model = models.BPE if kind == "bpe" else models.WordLevel
    tokenizer = RustTokenizer(model(unk_token=unknown))
    forms = {"nfc": [normalizers.NFC()], "nfkc": [normalizers.NFKC()], "none": []}
    lower = [*forms[unicode], *([normalizers.Lowercase()] if lowercase else [])]
    if kind == "character":
        tokenizer.normalizer = normalizers.Sequence(lower)
        tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"(?m)."), "isolated")
        tokenizer.decoder = decoders.Fuse()
        return tokenizer
    opening = [normalizers.Replace(mark, f"{mark} ") for mark in _OPENING]
    closing_up = [decoders.Replace(f"{mark} ", mark) for mark in _OPENING]
    words = Regex(rf"{_SPACE}?\w+|{_SPACE}?[^\w{_SPACE}]|{_SPACE}")
    tokenizer.normalizer = normalizers.Sequence([*lower, *opening])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Metaspace(split=False), pre_tokenizers.Split(words, "isolated")]
    )
    tokenizer.decoder = decoders.Sequence([decoders.Metaspace(), decoders.Fuse(), *closing_up])
    return tokenizer


def _trainer(kind: str, size: int) -> trainers.BpeTrainer | trainers.WordLevelTrainer:
    train = trainers.BpeTrainer if kind == "bpe" else trainers.WordLevelTrainer
    return train(vocab_size=size, special_tokens=list(SPECIAL_TOKENS), show_progress=False)


def _check_size(size: int, *, kind: str, texts: list[str], lowercase: bool) -> None:
    """Refuses a `size` below the smallest vocabulary of the kind."""
    if kind == "bpe":
        text = "".join(texts)
        characters = set(text.lower() if lowercase else text) - {" "} | {_SPACE}
        needed = len(SPECIAL_TOKENS) + len(characters)
        what = f"the {len(characters)} characters of the text"
    else:
        needed, what = len(SPECIAL_TOKENS) + 1, "a token"
    if size < needed:
        raise ValueError(
            f"`size` must be at least {needed}: {len(SPECIAL_TOKENS)} special tokens and {what}; "
            f"got {size}."
        )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
