"""Catalogs of messages: compiled for the command line, brought up to date for the pages."""

import datetime
import io
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

from docs.site.names import LIBRARY, ROOT

COMMAND_LINE = ROOT / LIBRARY / "core" / "locales" / "es" / "LC_MESSAGES" / "attention_jax.po"

_NEVER = datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC)  # a file of the same texts is the same
# Without dates, so that a catalog changes only where its messages do.
_HEADER = """msgid ""
msgstr ""
"Project-Id-Version: attention_jax\\n"
"Language: es\\n"
"MIME-Version: 1.0\\n"
"Content-Type: text/plain; charset=utf-8\\n"
"Content-Transfer-Encoding: 8bit\\n"

"""


def read(path: Path) -> Catalog:
    """The catalog of a file; an empty one where there is none."""
    if not path.is_file():
        return Catalog(locale="es")
    with path.open("rb") as file:
        return read_po(file, locale="es", abort_invalid=True)


def compiled(path: Path) -> bytes:
    """A catalog in the form that `gettext` reads."""
    buffer, catalog = io.BytesIO(), read(path)
    catalog.creation_date = catalog.revision_date = _NEVER
    write_mo(buffer, catalog)
    return buffer.getvalue()


def compile_command_line() -> None:
    """Writes the compiled catalog of the command line beside it."""
    COMMAND_LINE.with_suffix(".mo").write_bytes(compiled(COMMAND_LINE))


def update(template: Path, path: Path) -> None:
    """Gives a catalog the messages of a template: new ones empty, those that are gone removed.

    A translation of a text that changed a little is kept and marked as fuzzy, until it is checked.
    """
    catalog = read(path)
    catalog.update(read(template), update_header_comment=False)
    catalog.obsolete.clear()
    write(catalog, path)


def write(catalog: Catalog, path: Path) -> None:
    """Writes a catalog, without the places of its messages and without dates."""
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    write_po(buffer, catalog, width=100, no_location=True, omit_header=True)
    path.write_bytes(_HEADER.encode() + buffer.getvalue())


def messages(path: Path) -> dict[str, str]:
    """Messages of a catalog and their translations; one that is marked as fuzzy has none."""
    return {x.id: "" if x.fuzzy else x.string for x in read(path) if x.id}
