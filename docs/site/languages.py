"""Two languages: the switch in the header of each page, and the count of what is translated."""

from pathlib import Path
from typing import NamedTuple

from sphinx.application import Sphinx

from docs.site import catalogs
from docs.site.names import ROOT

LANGUAGES = {"en": "English", "es": "Español"}
# Pages that have catalogs; all else stays English.
TRANSLATED = ("index", "quickstart", "lessons/")
# Of these nothing may be left in English; of lessons neither, once they have catalogs.
WHOLE = ("index", "quickstart")
CATALOGS = ROOT / "docs" / "locales" / "es" / "LC_MESSAGES"


class Count(NamedTuple):
    """Messages of a page, and how many of them are translated."""

    page: str
    done: int
    all: int

    def __str__(self) -> str:
        return f"{self.page} {100 * self.done // max(self.all, 1)} %"

    @property
    def is_demanded(self) -> bool:
        """True where the page must be translated in whole."""
        return self.page in WHOLE or (CATALOGS / f"{self.page}.po").is_file()


def is_translated(page: str) -> bool:
    """True for the pages that have catalogs."""
    return any(page.startswith(x) if x.endswith("/") else page == x for x in TRANSLATED)


def templates(folder: Path) -> dict[str, Path]:
    """The templates of translated pages, of what Sphinx extracted from all, by page."""
    found = {x.relative_to(folder).with_suffix("").as_posix(): x for x in folder.rglob("*.pot")}
    return {page: found[page] for page in sorted(found) if is_translated(page)}


def counts(folder: Path) -> list[Count]:
    """How much of each page is translated.

    Args:
      folder: of the templates.
    """
    found = []
    for page, template in templates(folder).items():
        wanted, done = catalogs.messages(template), catalogs.messages(CATALOGS / f"{page}.po")
        found.append(Count(page, sum(bool(done.get(x)) for x in wanted), len(wanted)))
    return found


def update(folder: Path) -> None:
    """Brings the catalogs of all translated pages up to date with their templates."""
    for page, template in templates(folder).items():
        catalogs.update(template, CATALOGS / f"{page}.po")


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
