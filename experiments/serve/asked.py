"""Bodies of requests as values, or a refusal that names what is wrong."""

import json
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from attention_jax.core.wording import said
from experiments.common.served import Pair, Prompt, Served
from experiments.serve.config import LimitFlags

_TEMPERATURES = (0.01, 100.0)


class Refused(Exception):
    """A request that is not answered.

    Attributes:
      status: of HTTP.
      retry_after: seconds after which it may be tried again, if it may.
    """

    def __init__(self, status: int, message: str, *, retry_after: int | None = None):
        super().__init__(message)
        self.status, self.retry_after = status, retry_after


class Translation(NamedTuple):
    """A request of /translate."""

    texts: list[str]
    beam: int | None


class Writing(NamedTuple):
    """A request of /generate."""

    prompts: list[Prompt]
    tokens: int


def body(content: bytes, known: Collection[str], needed: str) -> dict[str, Any]:
    """The fields of a body of JSON.

    Args:
      content: the body.
      known: fields that it may have.
      needed: the field that it must have.

    Raises:
      Refused: it is no JSON object, or has other fields.
    """
    try:
        found = json.loads(content, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise _bad(f"the body must be JSON; {_reason(error)}. Send an object.") from None
    if not isinstance(found, dict):
        raise _bad(f"the body must be a JSON object; got {_kind(found)}. Send {{...}}.")
    for name in found:
        if name not in known:
            raise _bad(
                f"a field must be among {', '.join(known)}; got {name[:40]!r}. Leave it out."
            )
    if needed not in found:
        raise _bad(f"`{needed}` must be there; got none. Add it.")
    return found


def translation(found: Mapping[str, Any], served: Served, limits: LimitFlags) -> Translation:
    """The texts of a body, and the beam that is asked for.

    Raises:
      Refused: they are of other types, or beyond the limits.
    """
    texts = _texts("texts", found["texts"], served, limits)
    beam = _option(found, "beam", served)
    if beam is not None:
        beam = _whole("beam", beam, 1, limits.most_beam)
    return Translation(texts, beam)


def writing(
    found: Mapping[str, Any], served: Served, limits: LimitFlags, *, tokens: int
) -> Writing:
    """The prompts of a body, and how they are to be gone on with.

    Args:
      tokens: that are written where the body does not say.

    Raises:
      Refused: they are of other types, or beyond the limits.
    """
    texts = _texts("prompts", found["prompts"], served, limits)
    tokens = _whole("tokens", found.get("tokens", tokens), 1, limits.most_written)
    seed, temperature = (_option(found, name, served) for name in ("seed", "temperature"))
    if seed is not None:
        seed = _whole("seed", seed, 0, 2**32 - 1)
    if temperature is not None:
        temperature = _temperature(temperature)
    return Writing([Prompt(text, seed, temperature) for text in texts], tokens)


def pair(found: Mapping[str, Any], served: Served, limits: LimitFlags) -> Pair:
    """The source of a body, and its target.

    Raises:
      Refused: they are of other types, or beyond the limits.
    """
    source = _text("source", found["source"], served, limits)
    if not served.length(source):
        raise _bad(f"`source` must hold a token; got {source[:40]!r}. Write a text.")
    target = found.get("target")
    return Pair(source, None if target is None else _text("target", target, served, limits))


def _texts(name: str, value: Any, served: Served, limits: LimitFlags) -> list[str]:
    if not isinstance(value, list):
        raise _bad(f'`{name}` must be a list of texts; got {_kind(value)}. Send ["..."].')
    if not 0 < len(value) <= limits.most_texts:
        raise _bad(
            f"`{name}` must hold 1 to {limits.most_texts} texts; got {len(value)}. Send them in "
            "several requests."
        )
    return [_text(name, text, served, limits) for text in value]


def _text(name: str, value: Any, served: Served, limits: LimitFlags) -> str:
    """A text within the limits, which the model can read."""
    if not isinstance(value, str):
        raise _bad(f"`{name}` must be text; got {_kind(value)}. Put it in quotes.")
    if len(value) > limits.most_characters:
        raise _bad(
            f"`{name}` must have at most {limits.most_characters} characters a text; got "
            f"{len(value)}. Divide it."
        )
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise _bad(f"`{name}` must be text; got halves of a character. Send whole ones.")
    try:
        tokens = served.length(value)
    except ValueError as error:
        raise _bad(str(error)) from None
    if tokens > limits.most_tokens:
        raise _bad(
            f"`{name}` must have at most {limits.most_tokens} tokens a text; got {tokens}. "
            "Divide it."
        )
    return value


def _option(found: Mapping[str, Any], name: str, served: Served) -> Any:
    """The value of an option, None where it is not given; refused where the model has none."""
    if found.get(name) is not None and name not in served.takes:
        raise _bad(f"`{name}` does not go with the search of this server; leave it out.")
    return found.get(name)


def _whole(name: str, value: Any, low: int, high: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise _bad(
            f"`{name}` must be a whole number from {low} to {high}; got {_kind(value)}. Use one."
        )
    return value


def _temperature(value: Any) -> float:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    low, high = _TEMPERATURES
    if not number or not low <= value <= high:
        raise _bad(
            f"`temperature` must be a number from {low:g} to {high:g}; got {_kind(value)}. Below 1 "
            "it favors probable tokens."
        )
    return float(value)


def _bad(message: str) -> Refused:
    return Refused(400, message)


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is none of its numbers")


def _reason(error: BaseException) -> str:
    return "it is nested too deep" if isinstance(error, RecursionError) else str(error)


def _kind(value: Any) -> str:
    """A value in a few words of JSON."""
    names = {dict: "an object", list: "a list", bool: "a truth value", type(None): "null"}
    return names.get(type(value)) or said(value)
