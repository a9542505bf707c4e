"""Answers of a model to what waits, and what the model is asked before the server is ready."""

from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

import numpy as np

from experiments.common.served import Attends, Attention, Pair, Prompt, Served, Translates, Writes

_DIGITS = 5  # of weights


class Kind(NamedTuple):
    """The kind of a text that waits; texts of one kind share a batch.

    Attributes:
      endpoint: "translate", "generate" or "attention".
      option: the beam, or the number of tokens that are written.
      bucket: of the text, as the model has it.
    """

    endpoint: str
    option: int | None
    bucket: Hashable


def endpoints(served: Served) -> tuple[str, ...]:
    """The names of what a model answers."""
    own = {"translate": Translates, "attention": Attends, "generate": Writes}
    return tuple(name for name, protocol in own.items() if isinstance(served, protocol))


def answer_with(served: Any) -> Callable[[Kind, list[Any]], list[Any]]:
    """The function that answers values of one kind, for `Batcher`."""

    def answer(kind: Kind, values: list[Any]) -> list[Any]:
        if kind.endpoint == "translate":
            return served.translate(values, kind.option)
        if kind.endpoint == "generate":
            return served.generate(values, kind.option)
        return [as_json(served.attention(value)) for value in values]

    return answer


def as_json(found: Attention) -> dict[str, Any]:
    """Attention as JSON has it: `maps[kind][layer][head]` is a matrix, or null."""
    maps = {
        name: [[_matrix(head) for head in layer] for layer in layers]
        for name, layers in found.maps.items()
    }
    return found._asdict() | {"maps": maps}


def warm_up(served: Any, *, tokens: int, written: int) -> list[int]:
    """Compiles programs for texts of up to so many tokens.

    Args:
      served: the model.
      tokens: of the longest text.
      written: tokens that are written after a prompt.

    Returns:
      The numbers of tokens of the texts that were tried, one of each bucket.
    """
    tried: dict[Hashable, int] = {}
    for length in range(1, tokens + 1):
        text = served.example(length)
        if not text or served.bucket(text) in tried:
            continue
        tried[served.bucket(text)] = length
        if isinstance(served, Translates):
            served.translate([text], None)
        if isinstance(served, Attends):
            served.attention(Pair(text, text))
        if isinstance(served, Writes):
            served.generate([Prompt(text)], written)
    return list(tried.values())


def _matrix(head: np.ndarray) -> list[list[float]] | None:
    return None if np.isnan(head).any() else np.round(head.astype(float), _DIGITS).tolist()
