"""Variants as text, as flags and configurations hold them.

alibi                        a variant of the library
sliding_window(size=64)      with options: literals of Python, each by its name
mine.py                      a file of your own, with a function of the file's name
mine.py:manhattan(p=2)       another function of it
[3*gated_delta, scaled_dot]  a pattern, repeated over the layers of a stack
"""

import ast
import itertools
import re
from pathlib import PurePath
from typing import Any, NamedTuple

_FILE = re.compile(r"(?P<source>.+?\.py)(?::(?P<function>[^()]*))?(?P<call>\(.*\))?", re.DOTALL)
_NAME = re.compile(r"(?P<source>[^()]+)(?P<call>\(.*\))?", re.DOTALL)
_TIMES = re.compile(r"(?:(?P<count>\d+)\s*\*\s*)?(?P<text>.+)", re.DOTALL)
MOST_LAYERS = 1000  # of a pattern
_FORMS = "Write alibi, sliding_window(size=64), mine.py or mine.py:function(p=2)."


class Spec(NamedTuple):
    """The parts of a text.

    Attributes:
      source: a variant of the library, or the path of a file.
      function: that makes the variant.
      options: its keywords.
    """

    source: str
    function: str
    options: dict[str, Any]

    @property
    def is_file(self) -> bool:
        return self.source.endswith(".py")

    @property
    def name(self) -> str:
        """The text without its options."""
        if not self.is_file or self.function == PurePath(self.source).stem:
            return self.source
        return f"{self.source}:{self.function}"


def parse(text: str) -> Spec:
    """The parts of a text such as `sliding_window(size=64)`; nothing is looked up.

    Raises:
      ValueError: it is no such text.

    >>> parse("mine.py:manhattan(p=2)")
    Spec(source='mine.py', function='manhattan', options={'p': 2})
    """
    if not isinstance(text, str):
        raise ValueError(
            "`attention` must be an attention_jax.Variant or the text of one; got "
            f"{type(text).__name__}. {_FORMS}"
        )
    stripped = text.strip()
    if is_pattern(stripped):
        raise _unreadable(text, "it is a pattern of layers, and one attention is asked for")
    match = _FILE.fullmatch(stripped) or _NAME.fullmatch(stripped)
    if match is None:
        raise _unreadable(text, "brackets must open after a name and close at the end")
    parts = match.groupdict()
    source = parts["source"].strip()
    function = parts.get("function")
    if function is None:
        function = PurePath(source).stem if source.endswith(".py") else source
    if source.endswith(".py") and not function.isidentifier():
        raise _unreadable(text, f"{function!r} is not the name of a function")
    return Spec(source, function, _options(text, parts["call"] or "()"))


def _options(text: str, call: str) -> dict[str, Any]:
    try:
        found: Any = ast.parse(f"f{call}", mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise _unreadable(text, getattr(error, "msg", None) or str(error)) from None
    if not isinstance(found, ast.Call) or not isinstance(found.func, ast.Name):
        raise _unreadable(text, "more follows the options")
    if found.args or any(keyword.arg is None for keyword in found.keywords):
        raise _unreadable(text, "an option has no name")
    options = {keyword.arg: _literal(keyword) for keyword in found.keywords}
    if len(options) < len(found.keywords):
        raise _unreadable(text, "an option is given twice")
    return options


def _literal(keyword: ast.keyword) -> Any:
    try:
        return ast.literal_eval(keyword.value)
    except (ValueError, TypeError, RecursionError, MemoryError):
        value = _short(ast.unparse(keyword.value))
        raise ValueError(
            f"`{keyword.arg}` must be a number, text in quotes, True, False, None, or a tuple of "
            f'these; got {value}. Quote text: {keyword.arg}="{value}".'
        ) from None


def _short(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:77]}..."


def _unreadable(text: str, why: str) -> ValueError:
    return ValueError(f"The attention {_short(text)!r} could not be read: {why}. {_FORMS}")


def is_pattern(text: str) -> bool:
    """Tells whether a text is a pattern of layers."""
    return text.strip().startswith("[")


def layers(text: str) -> tuple[str, ...]:
    """The attentions of a pattern, each as often as it stands there; of another text, itself.

    Raises:
      ValueError: it is no such text, or a count is not from 1 up.

    >>> layers("[2*gated_delta, scaled_dot]"), layers("alibi")
    (('gated_delta', 'gated_delta', 'scaled_dot'), ('alibi',))
    """
    if not isinstance(text, str) or not is_pattern(text):
        return (text,)
    stripped = text.strip()
    items = split(stripped[1:-1])
    if not stripped.endswith("]") or not items:
        raise _unreadable(text, "a pattern is a list in brackets, as [3*gated_delta, scaled_dot]")
    found: list[str] = []
    for item in items:
        parts: Any = _TIMES.fullmatch(item)
        if "*" in parts["text"].partition("(")[0]:
            raise _unreadable(text, "a count is a whole number before one attention, as 3*alibi")
        count = int(parts["count"] or 1)
        if not 1 <= count <= MOST_LAYERS - len(found):
            raise _unreadable(text, f"a count must be from 1, for {MOST_LAYERS} layers in all")
        parse(parts["text"])
        found += [parts["text"].strip()] * count
    return tuple(found)


def split(text: str) -> list[str]:
    """The items of a list in a flag: at commas outside brackets, without empty ones.

    >>> split('alibi, axial(width=4, along="row"), mine.py:f(p=(1, 2))')
    ['alibi', 'axial(width=4, along="row")', 'mine.py:f(p=(1, 2))']
    """
    items, depth, quote, start = [], 0, "", 0
    for at, letter in enumerate(text):
        if quote:
            quote = "" if letter == quote else quote
        elif depth and letter in "'\"":
            quote = letter
        elif letter in "([{":
            depth += 1
        elif letter in ")]}":
            depth = max(depth - 1, 0)
        elif letter == "," and not depth:
            items.append(text[start:at])
            start = at + 1
    items.append(text[start:])
    return [item.strip() for item in items if item.strip()]


def slug(text: str) -> str:
    """A name for files and folders, the same for texts that mean the same.

    Raises:
      ValueError: the text could not be read.

    >>> slug("sliding_window(size=64)"), slug("mine.py:manhattan(p=2)"), slug("alibi")
    ('sliding_window-size_64', 'mine-manhattan-p_2', 'alibi')
    >>> slug("[3*gated_delta, scaled_dot]")
    '3x_gated_delta+scaled_dot'
    """
    if is_pattern(text):
        runs = [(one, len(list(same))) for one, same in itertools.groupby(layers(text))]
        return "+".join(f"{n}x_{slug(x)}" if n > 1 else slug(x) for x, n in runs)
    spec = parse(text)
    stem = PurePath(spec.source).stem if spec.is_file else spec.source
    parts = [stem] if spec.function == stem else [stem, spec.function]
    parts += [f"{name}_{value}" for name, value in sorted(spec.options.items())]
    return "-".join(re.sub(r"_*[^\w.+-]+", "_", part).strip("_") for part in parts)
