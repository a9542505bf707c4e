"""Two languages: the switch in the header of each page, and the count of what is translated."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from babel.messages.pofile import read_po
from sphinx.application import Sphinx

LANGUAGES = {"en": "English", "es": "Español"}
# Pages that have catalogs; what else there is stays English.
TRANSLATED = ("index", "quickstart", "lessons/")
CATALOGS = Path(__file__).parents[1] / "locales" / "es" / "LC_MESSAGES"


class Count(NamedTuple):
    """Messages of a catalog, and how many of them are translated."""

    page: str
    done: int
    all: int

    def __str__(self) -> str:
        share = 100 * self.done // self.all if self.all else 0
        return f"{self.page} {share} %"


def is_translated(page: str) -> bool:
    """True for the pages that have catalogs."""
    return any(page == x or (x.endswith("/") and page.startswith(x)) for x in TRANSLATED)


def counts(templates: Path) -> list[Count]:
    """How much of each page is translated, of those that `TRANSLATED` names.

    Args:
      templates: the folder of what Sphinx extracted from the pages, *.pot.
    """
    found = []
    for path in sorted(templates.rglob("*.pot")):
        page = path.relative_to(templates).with_suffix("").as_posix()
        if is_translated(page):
            wanted, done = _messages(path), _messages(CATALOGS / f"{page}.po")
            found.append(Count(page, len([x for x in wanted if done.get(x)]), len(wanted)))
    return found


def _messages(path: Path) -> dict[str, str]:
    """Messages and their translations; one that is marked as fuzzy has none."""
    if not path.is_file():
        return {}
    with path.open("rb") as file:
        messages: Iterable = [x for x in read_po(file) if x.id]
    return {x.id: "" if x.fuzzy else x.string for x in messages}


def _switch(app: Sphinx, page: str, template: str, context: dict, doctree: object) -> None:
    """Gives the template the address of the same page in the other language."""
    del template, doctree
    here = app.config.language or "en"
    other = next(x for x in LANGUAGES if x != here)
    up = "../" * (page.count("/") + 1)
    context["other_language"] = other
    context["other_name"] = LANGUAGES[other]
    context["other_address"] = f"{up}{other}/{page}.html"


def setup(app: Sphinx) -> dict[str, bool]:
    """Registers the switch with Sphinx."""
    app.connect("html-page-context", _switch)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
