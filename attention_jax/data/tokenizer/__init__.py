"""Tokenizers with one interface: of characters, words or byte pairs, or made elsewhere."""

import os
from collections.abc import Iterable, Sequence
from os import PathLike
from pathlib import Path

from attention_jax.core import checks
from attention_jax.core.files import write_whole
from attention_jax.core.plain_types import typed_calls
from attention_jax.data.text_files import UNICODE_FORMS, unicode_form
from attention_jax.data.tokenizer import given, learned
from attention_jax.data.tokenizer.types import Pieces

KINDS = ("character", "word", "bpe")
_BPE_SIZE = 8000
_ALL = 2**31  # no corpus has as many words
_NO_TOKEN = "<none>"  # label of an id beyond the vocabulary


class Tokenizer:
    """Tokenizer learned from text, or read from a file, and kept in one JSON file.

        decode(encode(text)) == text        for text of known characters or words

    "character" makes every character a token, spaces included. "word" splits at white space and
    separates punctuation. "bpe" merges the most frequent pairs of pieces within such words. A token
    that begins a word carries the space before it. Ids 0 to 3 are PAD, BOS, EOS and UNKNOWN; text
    never encodes to PAD, BOS or EOS, even if it spells "<eos>".

    Reference: Sennrich et al. 2016, arXiv:1508.07909, for "bpe".

    >>> tokenizer = Tokenizer.learn(["¿come la niña?"], kind="word")
    >>> tokenizer.decode(tokenizer.encode("¿come la niña?"))
    '¿come la niña?'
    """

    @typed_calls
    def __init__(self, pieces: Pieces):
        self._pieces = pieces

    @classmethod
    @typed_calls
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
        checks.one_of("unicode", unicode, UNICODE_FORMS)
        texts = list(texts)
        if not all(isinstance(text, str) for text in texts):
            raise ValueError("`texts` must hold text alone; got something else. Convert it: `str`.")
        texts = [unicode_form(text, unicode) for text in texts if text.strip()]
        if not texts:
            raise ValueError("`texts` must hold at least one sentence that is not empty; got none.")
        if size is None:
            size = _BPE_SIZE if kind == "bpe" else _ALL
        learned.check_size(size, kind=kind, texts=texts, lowercase=lowercase)
        tokenizer = learned.untrained(kind, lowercase=lowercase, unicode=unicode)
        tokenizer.train_from_iterator(texts, learned.trainer(kind, size))
        return cls(learned.Learned(tokenizer))

    @classmethod
    @typed_calls
    def from_file(
        cls,
        path: str | PathLike,
        *,
        special_tokens: Sequence[str] = (),
        lowercase: bool = False,
        unicode: str = "none",
        argument: str = "path",
    ) -> "Tokenizer":
        """Reads one made elsewhere: a tokenizer.json of Hugging Face, or a SentencePiece model.

        Its tokens keep their order, but for the special ones, which move to the front:

            own ids    0, 1, 2, 3      4, 5, ...
            file's     pad, bos, eos, unk, then all others by their ids in the file

        Args:
          path: the file; its content tells what it is. A file written by `save` is read as it is.
          special_tokens: names of padding, begin, end and unknown in the file. Default: a
            SentencePiece model says which they are; in a tokenizer.json they are found by the
            names that are usual, such as "<pad>", "[PAD]" or "</s>"; those that it has not are
            added.
          lowercase: makes `encode` lower-case text before the file's own rules.
          unicode: normal form in which `encode` puts text before them.
          argument: the caller's name for the file in errors.

        Raises:
          FileNotFoundError: there is no such file.
          ModuleNotFoundError: a SentencePiece model, without the package sentencepiece.
          ValueError: the file holds no tokenizer, lacks a token that is named, or would drop text
            for want of an unknown one.
        """
        checks.one_of("unicode", unicode, UNICODE_FORMS)
        path = Path(path)
        if not os.path.isfile(path):
            raise FileNotFoundError(f"`{argument}` must name a tokenizer; {path} does not exist.")
        content = path.read_bytes()
        if given.is_kept(content):
            return cls.load(path)
        options = given.Options(tuple(special_tokens), lowercase, unicode)
        return cls(given.read(content, options, name=str(path), argument=argument))

    @classmethod
    @typed_calls
    def from_text(cls, text: str, *, name: str) -> "Tokenizer":
        """Reads the text of a tokenizer.json, which another file holds, as `from_file`.

        Args:
          name: of the file, for errors.

        Raises:
          ValueError: the text is none.
        """
        options = given.Options()
        return cls(given.read(text.encode(), options, name=name, argument="text"))

    @classmethod
    @typed_calls
    def from_pair(
        cls,
        source: str | PathLike,
        target: str | PathLike,
        vocabulary: str | PathLike,
    ) -> "Tokenizer":
        """Reads SentencePiece models of two languages over one vocabulary, as opus-mt has them.

        `encode` splits text as the source's model does, `encode_target` as the target's, and
        `decode` joins what the target's has split. The order of tokens is that of `from_file`.
        Punctuation is left as it is, which `transformers` changes where sacremoses is installed.

        Args:
          source, target: the models, "source.spm" and "target.spm".
          vocabulary: a JSON object, from each token to its id: "vocab.json".

        Raises:
          FileNotFoundError: there is no such file.
          ModuleNotFoundError: sentencepiece is not installed.
          ValueError: a file is damaged, or the vocabulary lacks an unknown token.
        """
        paths = {"source": source, "target": target, "vocabulary": vocabulary}
        for name, path in paths.items():
            if not os.path.isfile(path):
                raise FileNotFoundError(f"`{name}` must name a file; {path} does not exist.")
        files = (Path(path).read_bytes() for path in paths.values())
        return cls(given.read_pair(*files, name=str(Path(source).parent)))

    @classmethod
    def of_bytes(cls) -> "Tokenizer":
        """A tokenizer whose tokens are the bytes of UTF-8, with the ids of ByT5.

        >>> tokenizer = Tokenizer.of_bytes()
        >>> tokenizer.decode(tokenizer.encode("año")), len(tokenizer.encode("año"))
        ('año', 4)
        """
        return cls(given.of_bytes())

    @typed_calls
    def of_languages(self, *, source: str = "", target: str = "") -> "Tokenizer":
        """The same, whose sources and targets begin with tokens, as models of many languages ask.

        `encode` puts the token of the source first, `encode_target` that of the target. A search
        is given the latter as the first of its `DecodingOptions.prefix`.

        Args:
          source, target: names of tokens, such as "eng_Latn" and "fra_Latn"; "" for none.

        Raises:
          ValueError: there is no such token, or the tokenizer was learned here.
        """
        if not isinstance(self._pieces, given.Given):
            raise ValueError(
                "`of_languages` must be asked of a tokenizer that was read from a file made "
                "elsewhere; this one was learned here, and has no tokens of languages."
            )
        return Tokenizer(self._pieces.of_languages(source, target))

    @typed_calls
    def ending_with(self, theirs: int) -> "Tokenizer":
        """The same with another token of its file as EOS, for a model whose texts end with it.

        A tokenizer.json does not say which token ends a text, and files of chats have several.

        Args:
          theirs: the token's id in the file.

        Raises:
          ValueError: there is no such token, it is the unknown one, or the tokenizer was learned
            here.
        """
        if not isinstance(self._pieces, given.Given):
            raise ValueError(
                "`ending_with` must be asked of a tokenizer that was read from a file made "
                "elsewhere; this one was learned here, and has its end."
            )
        return Tokenizer(self._pieces.ending_with(theirs))

    @classmethod
    @typed_calls
    def load(cls, path: str | PathLike) -> "Tokenizer":
        """Loads a file written by `save`.

        Raises:
          FileNotFoundError: there is no such file.
          ValueError: the file holds no tokenizer.
          ModuleNotFoundError: it holds a SentencePiece model, and sentencepiece is not installed.
        """
        path = Path(path)
        if not os.path.isfile(path):
            raise FileNotFoundError(f"`path` must name a tokenizer file; {path} does not exist.")
        try:
            content = path.read_bytes()
            return cls(given.restored(content) if given.is_kept(content) else learned.read(content))
        except ModuleNotFoundError:
            raise
        except Exception as error:  # the libraries raise bare Exceptions
            raise ValueError(
                f"`path` must name a file written by `Tokenizer.save`; {path} is not one "
                f"({checks.reason(error)})."
            ) from error

    @typed_calls
    def save(self, path: str | PathLike) -> None:
        """Writes a JSON file that `load` can read; that of a learned one is a tokenizer.json."""
        write_whole(path, self.to_text())

    def to_text(self) -> str:
        """Content of the file that `save` writes."""
        return self._pieces.to_text()

    @property
    def files(self) -> dict[str, bytes]:
        """The files that other libraries read, by their names."""
        if isinstance(self._pieces, given.Given):
            return self._pieces.files
        return {"tokenizer.json": self.to_text().encode()}

    @property
    def is_given(self) -> bool:
        """True for one that was read from a file made elsewhere."""
        return isinstance(self._pieces, given.Given)

    @property
    def theirs(self) -> tuple[int | None, ...]:
        """The id in its file of each token; None for a special token that it has not.

        Raises:
          ValueError: it was learned here, and has no other ids.
        """
        if not isinstance(self._pieces, given.Given):
            raise ValueError(
                "`theirs` must be asked of a tokenizer that was read from a file made elsewhere; "
                "this one was learned here, and its ids are its own."
            )
        return tuple(self._pieces.theirs(range(self.size)))

    @property
    def size(self) -> int:
        """Number of tokens, special ones included: one more than the largest id."""
        return self._pieces.size

    @property
    def kind(self) -> str:
        """ "character", "word" or "bpe"; of one made elsewhere, the kind of its model."""
        return self._pieces.kind

    def encode(self, text: str) -> list[int]:
        """Ids of `text`, without BOS and EOS; unseen characters or words become UNKNOWN."""
        if not isinstance(text, str):
            raise ValueError(
                f"`text` must be text; got {checks.said(text)}. For several use `encode_batch`."
            )
        return self._pieces.encode(text)

    @typed_calls
    def encode_target(self, text: str) -> list[int]:
        """Ids of a text of the target language: those of `encode` where it is split alike."""
        own = self._pieces
        return own.encode_target(text) if isinstance(own, given.Given) else self.encode(text)

    @typed_calls
    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """`encode` of several texts, on several cores."""
        if isinstance(texts, str):
            raise ValueError(f"`texts` must be several; got {texts!r}. For one use `encode`.")
        return self._pieces.encode_batch(texts)

    def decode(self, ids: Iterable[int]) -> str:
        """Text of `ids`, without special tokens."""
        if isinstance(ids, str) or not hasattr(ids, "__iter__"):
            raise ValueError(f"`ids` must be whole numbers; got {checks.said(ids)}. Give a list.")
        return self._pieces.decode([int(i) for i in ids])

    @typed_calls
    def tokens(self, ids: Iterable[int]) -> list[str]:
        """Readable label of each id, special tokens included, as plots show them."""
        return [label or _NO_TOKEN for label in self._pieces.labels([int(i) for i in ids])]

    @typed_calls
    def unknown(self, text: str) -> list[str]:
        """Parts of `text` that `encode` turns into UNKNOWN, in order."""
        return self._pieces.unknown(text)
