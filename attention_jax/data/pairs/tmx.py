"""Pairs of a translation memory (TMX 1.1 to 1.4b).

Reference: Translation Memory eXchange 1.4b, https://www.gala-global.org/tmx-14b.
"""

import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn
from xml.etree import ElementTree
from xml.parsers import expat

from attention_jax.core.plain_types import typed_calls
from attention_jax.data.pairs.types import FIELDS, Found, Reading, named, one_line, two_names
from attention_jax.data.text_files import read_lines

_LANGUAGE = "{http://www.w3.org/XML/1998/namespace}lang"
# Elements of a sentence that hold text; the others hold codes of the program that made them.
_TEXT = ("hi", "mrk")
_DEEPEST = 100
_Sides = dict[str, list[str]]  # sentences of a unit by language


@typed_calls
def read_tmx(path: str | Path, reading: Reading, *, argument: str) -> Found:
    """Pairs of two languages of each unit.

    A language stands for its regions: "en" for "en-US" too, in small or capital letters. Units
    that lack one of the two are counted, and several variants of a language are each paired. Codes
    inside sentences are left out, and text that they enclose stays.

    A document may name the standard's document type, which is never fetched, and must declare no
    entities: those could make a small file fill the memory, or read other files.

    Raises:
      ValueError: not well-formed XML, entities, no unit, or a language that no unit has.
    """
    # Lines are decoded as those of all text files, so that the XML's own claim does not count.
    data = "\n".join(read_lines(path, argument=argument)).encode()
    lines = _checked_lines(data, path, argument=argument)
    units = list(_units(data))
    known = sorted({language for unit in units for language in unit})
    names = two_names(reading.fields, path=path, kind="languages", found=known)
    for name in names:
        if not any(_of(unit, name) for unit in units):
            raise ValueError(
                f"`{FIELDS}` must be languages of the units in {path}; got {name}{named(known)}."
            )
    rows = [(_of(unit, names[0]), _of(unit, names[1])) for unit in units]
    found = [
        (line, (source, target))
        for line, (sources, targets) in zip(lines, rows, strict=True)
        for source in sources
        for target in targets
    ]
    incomplete = sum(not (sources and targets) for sources, targets in rows)
    places = [line for line, _ in found]
    return Found([pair for _, pair in found], places, str(path), incomplete=incomplete)


def _checked_lines(data: bytes, path: str | Path, *, argument: str) -> list[int]:
    """The first line of each unit of a document that is safe and well-formed."""
    parser = expat.ParserCreate("utf-8")

    def refuse(found: str) -> NoReturn:
        raise ValueError(
            f"`{argument}` must be a plain TMX document; line {parser.CurrentLineNumber} of {path} "
            f"has {found}. Export it anew, or take them out."
        )

    lines = _watch(parser, refuse)
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise ValueError(
            f"`{argument}` must be well-formed XML; line {error.lineno} of {path} is not "
            f"({expat.ErrorString(error.code)}). Correct it, or fetch the file again if it is cut."
        ) from None
    if not lines:
        raise ValueError(
            f"`{argument}` must hold translation units, elements <tu>; {path} has none. Is it TMX?"
        )
    return lines


def _watch(parser: expat.XMLParserType, refuse: Callable[[str], NoReturn]) -> list[int]:
    """The lines of units, which grow as the parser reads on; what is unsafe goes to `refuse`."""
    lines: list[int] = []
    open_elements: list[str] = []

    def start(name: str, attributes: object) -> None:
        open_elements.append(name)
        if len(open_elements) > _DEEPEST:
            refuse(f"over {_DEEPEST} elements in one another")
        if name == "tu":
            lines.append(parser.CurrentLineNumber)

    def document_type(name: str, system: str | None, public: str | None, inner: object) -> None:
        if inner:
            refuse("declarations of its own (<!DOCTYPE ... [...]>)")

    parser.StartElementHandler = start
    parser.EndElementHandler = lambda name: open_elements.pop()
    parser.StartDoctypeDeclHandler = document_type
    parser.SkippedEntityHandler = lambda name, _: refuse(f"an entity of its own, &{name};")
    return lines


def _units(data: bytes) -> Iterator[_Sides]:
    """Sentences of each unit by language, in small letters."""
    # The text is UTF-8 by now, whatever encoding the document says that it has.
    body = re.sub(rb"\A<\?xml.*?\?>", b"", data, flags=re.DOTALL)
    for _, element in ElementTree.iterparse(io.BytesIO(body)):
        if element.tag != "tu":
            continue
        sides: _Sides = {}
        for variant in element.iter("tuv"):
            language = variant.get(_LANGUAGE) or variant.get("lang") or ""
            segment = variant.find("seg")
            text = "" if segment is None else one_line(_text(segment))
            sides.setdefault(language.lower(), []).append(text)
        element.clear()  # so that the memory holds one unit at a time
        yield sides


def _text(element: ElementTree.Element) -> str:
    """The text of a sentence, without codes."""
    inner = ((_text(x) if x.tag in _TEXT else "", x.tail or "") for x in element)
    return "".join([element.text or "", *(text for both in inner for text in both)])


def _of(unit: _Sides, name: str) -> list[str]:
    """Sentences of a language, and of its regions."""
    name = name.lower()
    own = [texts for language, texts in unit.items() if f"{language}-".startswith(f"{name}-")]
    return [text for texts in own for text in texts]
