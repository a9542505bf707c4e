"""Tokenizers made elsewhere, with the special tokens at the ids that models here expect."""

import base64
import json
from collections.abc import Sequence
from typing import NamedTuple

from attention_jax.core import checks
from attention_jax.data.text_files import unicode_form
from attention_jax.data.tokenizer.backends import (
    USUAL,
    Bytes,
    HuggingFace,
    SentencePiece,
    SentencePiecePair,
)
from attention_jax.data.tokenizer.types import SPECIAL_ROLES, Backend
from attention_jax.data.types import EOS, SPECIAL_TOKENS, UNKNOWN

_FORMAT = "format"  # key of a kept file that no tokenizer.json has
_HUGGING_FACE, _SENTENCEPIECE = "tokenizer.json", "sentencepiece"
_PAIR, _BYTES = "sentencepiece of two languages", "bytes"
_LATER = ("source_token", "target_token")


class Options(NamedTuple):
    """How a file is read.

    Attributes:
      special_tokens: names of padding, begin, end and unknown; () for those that it is known by.
      lowercase: text is lower-cased first.
      unicode: normal form in which text is put first.
      source_token: with which each source begins, such as the name of its language; "" for none.
      target_token: likewise each target.
    """

    special_tokens: tuple[str, ...] = ()
    lowercase: bool = False
    unicode: str = "none"
    source_token: str = ""
    target_token: str = ""


class Given:
    """Pieces of another library's tokenizer, its special tokens moved to the front.

    Args:
      backend: the tokenizer.
      content: its file.
      options: with the names of all four special tokens, "" for one that the file has not.
    """

    def __init__(self, backend: Backend, content: bytes, options: Options):
        special = [backend.id_of(name) if name else None for name in options.special_tokens]
        self._theirs = [*special, *(i for i in backend.ids() if i not in special)]
        # Text that spells a special token is text that has no token.
        self._ours = {
            theirs: UNKNOWN if i <= EOS else i
            for i, theirs in enumerate(self._theirs)
            if theirs is not None
        }
        self._backend, self._content, self._options = backend, content, options
        self._first = [self._ids_of(x) for x in (options.source_token, options.target_token)]
        self.kind, self.size = backend.kind, len(self._theirs)

    @property
    def files(self) -> dict[str, bytes]:
        """The files that it was read from, by the names that other libraries look for."""
        if isinstance(self._backend, SentencePiecePair):
            kept = json.loads(self._content)
            models = {f"{name}.spm": base64.b64decode(kept[name]) for name in ("source", "target")}
            vocabulary = json.dumps(kept["vocabulary"], ensure_ascii=False)
            return models | {"vocab.json": vocabulary.encode()}
        if isinstance(self._backend, Bytes):
            return {"tokenizer_config.json": self._content}
        own = _HUGGING_FACE if isinstance(self._backend, HuggingFace) else "tokenizer.model"
        return {own: self._content}

    def theirs(self, ids: Sequence[int]) -> list[int | None]:
        """The file's own ids; None for special tokens that it has not."""
        return [self._theirs[i] for i in ids]

    def of_languages(self, source: str, target: str) -> "Given":
        """The same, whose sources and targets begin with a token; "" for none."""
        options = self._options._replace(source_token=source, target_token=target)
        return Given(self._backend, self._content, options)

    def ending_with(self, theirs: int) -> "Given":
        """The same, whose EOS is another token of the file; where that was special, none is now."""
        label = self._backend.label(theirs) if theirs in self._theirs else None
        names = ["" if name == label else name for name in self._options.special_tokens]
        if label is None or not names[UNKNOWN] and self._theirs[UNKNOWN] is not None:
            raise ValueError(
                "`theirs` must be the id of a token of the file, and not of its unknown one; got "
                f"{theirs}. `theirs` lists them."
            )
        names[EOS] = label
        return Given(
            self._backend, self._content, self._options._replace(special_tokens=tuple(names))
        )

    def _ids_of(self, token: str) -> list[int]:
        """Our id of a token by its name; none of none.

        Raises:
          ValueError: there is no such token.
        """
        if not token:
            return []
        theirs = self._backend.id_of(token)
        if theirs is None:
            raise ValueError(
                f"`source` and `target` must name tokens of the file; it has no {token!r}. "
                "`tokens(range(size))` lists them."
            )
        return [self._ours[theirs]]

    def encode(self, text: str) -> list[int]:
        return self.encode_batch([text])[0]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        return [[*self._first[0], *ids] for ids in self._bare([self._prepared(x) for x in texts])]

    def _bare(self, prepared: Sequence[str]) -> list[list[int]]:
        return [[self._ours[i] for i in ids] for ids in self._backend.encode_batch(prepared)]

    def encode_target(self, text: str) -> list[int]:
        """Ids of a text of the target language, which may have a model and a token of its own."""
        prepared = self._prepared(text)
        if not isinstance(self._backend, SentencePiecePair):
            return [*self._first[1], *self._bare([prepared])[0]]
        ids = self._backend.encode_target(prepared)
        return [*self._first[1], *(self._ours[i] for i in ids)]

    def decode(self, ids: Sequence[int]) -> str:
        theirs = self.theirs([i for i in ids if UNKNOWN < i < self.size])
        return self._backend.decode([i for i in theirs if i is not None])

    def labels(self, ids: Sequence[int]) -> list[str | None]:
        return [self._label(i) if 0 <= i < self.size else None for i in ids]

    def _label(self, id: int) -> str | None:
        theirs = self._theirs[id]
        return SPECIAL_TOKENS[id] if theirs is None else self._backend.label(theirs)

    def unknown(self, text: str) -> list[str]:
        parts = self._backend.parts(self._prepared(text))
        return [part.strip() for i, part in parts if self._ours[i] == UNKNOWN]

    def to_text(self) -> str:
        if isinstance(self._backend, HuggingFace):
            form, content = _HUGGING_FACE, json.loads(self._content.decode("utf-8-sig"))
        elif isinstance(self._backend, SentencePiecePair):
            form, content = _PAIR, json.loads(self._content)
        elif isinstance(self._backend, Bytes):
            form, content = _BYTES, None
        else:
            form, content = _SENTENCEPIECE, base64.b64encode(self._content).decode()
        options = self._options._asdict()
        for name in _LATER:
            if not options[name]:  # as files were before there was such an option
                del options[name]
        kept = {_FORMAT: form, **options, "content": content}
        return json.dumps(kept, ensure_ascii=False) + "\n"

    def _prepared(self, text: str) -> str:
        text = unicode_form(text, self._options.unicode)
        return text.lower() if self._options.lowercase else text


def read(content: bytes, options: Options, *, name: str, argument: str) -> Given:
    """Pieces of a file.

    Args:
      content: that of the file.
      options: how it is read.
      name: that of the file, for errors.
      argument: the caller's name for it in errors.

    Raises:
      ModuleNotFoundError: a SentencePiece model, without the package sentencepiece.
      ValueError: the file holds no tokenizer, or lacks a special token.
    """
    kind = HuggingFace if content.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"{" else None
    try:
        backend = (kind or SentencePiece)(content)
    except ModuleNotFoundError:
        raise
    except Exception as error:  # the libraries raise bare Exceptions
        raise ValueError(
            f"`{argument}` must be a tokenizer.json of Hugging Face or a SentencePiece model; "
            f"{name} is neither ({checks.reason(error)})."
        ) from error
    special = _special(backend, options.special_tokens, name=name, argument=argument)
    return Given(backend, content, options._replace(special_tokens=special))


def is_kept(content: bytes) -> bool:
    """True for a file that `Given.to_text` wrote."""
    return content.startswith(f'{{"{_FORMAT}": '.encode())


def restored(content: bytes) -> Given:
    """Pieces that `Given.to_text` wrote.

    Raises:
      Exception: it holds none.
    """
    kept = json.loads(content)
    options = Options(tuple(kept["special_tokens"]), kept["lowercase"], kept["unicode"])
    options = options._replace(**{name: kept[name] for name in _LATER if name in kept})
    if kept[_FORMAT] == _SENTENCEPIECE:
        own = base64.b64decode(kept["content"])
        return Given(SentencePiece(own), own, options)
    if kept[_FORMAT] == _BYTES:
        return of_bytes(options)
    own = json.dumps(kept["content"], ensure_ascii=False).encode()
    backend = SentencePiecePair if kept[_FORMAT] == _PAIR else HuggingFace
    return Given(backend(own), own, options)


def of_bytes(options: Options | None = None) -> Given:
    """Pieces that are bytes, for which there is no file but a word of what they are."""
    own, content = Bytes(), json.dumps({"tokenizer_class": "ByT5Tokenizer"}).encode()
    if options is None:
        options = Options(_special(own, (), name="ByT5", argument="path"))
    return Given(own, content, options)


def read_pair(source: bytes, target: bytes, vocabulary: bytes, *, name: str) -> Given:
    """Pieces of two SentencePiece models over one vocabulary.

    Args:
      source, target: the models.
      vocabulary: a JSON object, from each token to its id.
      name: of the files' folder, for errors.

    Raises:
      ModuleNotFoundError: sentencepiece is not installed.
      ValueError: one of them is damaged, or the vocabulary lacks an unknown token.
    """
    try:
        kept = {
            "source": base64.b64encode(source).decode(),
            "target": base64.b64encode(target).decode(),
            "vocabulary": {str(token): int(i) for token, i in json.loads(vocabulary).items()},
        }
        content = json.dumps(kept, ensure_ascii=False).encode()
        backend = SentencePiecePair(content)
    except ModuleNotFoundError:
        raise
    except Exception as error:  # the libraries raise bare Exceptions
        raise ValueError(
            f"{name} must hold two SentencePiece models and a vocabulary with an unknown token; it "
            f"does not ({checks.reason(error)}). Fetch the files anew."
        ) from error
    special = _special(backend, (), name=name, argument="path")
    return Given(backend, content, Options(special))


def _special(
    backend: Backend, names: Sequence[str], *, name: str, argument: str
) -> tuple[str, ...]:
    """The names of the four special tokens of a file, all different; "" for one that it has not.

    A token for what no piece spells must be there: without one text would be dropped unsaid.
    """
    if names and len(names) != len(SPECIAL_ROLES):
        raise ValueError(
            f"`special_tokens` must be four names, of {', '.join(SPECIAL_ROLES)}; got "
            f"{','.join(names)}. Write, for example, <pad>,<s>,</s>,<unk>."
        )
    if names:
        found = {role: backend.id_of(own) for role, own in zip(SPECIAL_ROLES, names, strict=True)}
    else:
        found = {role: backend.special.get(role) for role in SPECIAL_ROLES}
    missing = [role for role, i in found.items() if i is None]
    if not names and (backend.reads_all or "unknown" not in missing):
        missing = []
    if missing:
        raise _lacking(missing, names, name=name, argument=argument)
    ids = [i for i in found.values() if i is not None]
    if len(set(ids)) < len(ids):
        raise ValueError(
            f"`{argument}` must hold four different tokens for {', '.join(SPECIAL_ROLES)}; {name} "
            f"has {', '.join(str(backend.label(i)) for i in ids)}. Name others by `special_tokens`."
        )
    own = backend.special.get("unknown")
    if own not in (None, found["unknown"]):
        raise ValueError(
            f"`special_tokens` must name the file's own unknown token last, which is "
            f"{backend.label(own)}; got {names[-1]}."
        )
    return tuple("" if i is None else str(backend.label(i)) for i in found.values())


def _lacking(roles: list[str], names: Sequence[str], *, name: str, argument: str) -> ValueError:
    own = dict(zip(SPECIAL_ROLES, names, strict=True)) if names else {}
    looked = own.get(roles[0]) or ", ".join(USUAL[roles[0]])
    return ValueError(
        f"`{argument}` must hold a token for {', '.join(SPECIAL_ROLES)}; {name} has none for "
        f"{' and '.join(roles)} (looked for {looked}). Name its own by `special_tokens`, or add "
        "the token to the file."
    )
