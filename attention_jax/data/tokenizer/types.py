"""Interfaces of a tokenizer's parts."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable


@runtime_checkable
class Pieces(Protocol):
    """Text to ids and back, where ids 0 to 3 are PAD, BOS, EOS and UNKNOWN.

    Attributes:
      kind: of the pieces, such as "word" or "bpe".
      size: one more than the largest id.
    """

    @property
    def kind(self) -> str: ...

    @property
    def size(self) -> int: ...

    def encode(self, text: str) -> list[int]: ...

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]: ...

    def decode(self, ids: Sequence[int]) -> str: ...

    def labels(self, ids: Sequence[int]) -> list[str | None]: ...

    def unknown(self, text: str) -> list[str]: ...

    def to_text(self) -> str: ...


@runtime_checkable
class Backend(Protocol):
    """A tokenizer of another library, with its own ids.

    Attributes:
      kind: of its model, in small letters.
      special: its ids of padding, begin, end and unknown by `SPECIAL_ROLES`, those that it has.
      reads_all: any text has pieces, down to its bytes.
    """

    @property
    def kind(self) -> str: ...

    @property
    def special(self) -> dict[str, int]: ...

    @property
    def reads_all(self) -> bool: ...

    def ids(self) -> list[int]: ...

    def id_of(self, token: str) -> int | None: ...

    def label(self, id: int) -> str | None: ...

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]: ...

    def parts(self, text: str) -> list[tuple[int, str]]: ...

    def decode(self, ids: Sequence[int]) -> str: ...


# What special tokens are for, in the order of `data.types.SPECIAL_TOKENS`.
SPECIAL_ROLES = ("padding", "begin", "end", "unknown")
