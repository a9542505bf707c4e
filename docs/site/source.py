"""The folder that Sphinx reads: the pages of `docs/`, those made of the library, and linked files.

Pages link to files of the repository as they lie on disk. Here such a link leads to the page made
of that file, or to a copy of it.
"""

import os
import re
from collections.abc import Iterable
from pathlib import Path

from docs.site import api, names, variants
from docs.site.names import ROOT

DOCS = ROOT / "docs"
# Files of the repository that are pages of the site as well.
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
WRITTEN_ABOVE = ("CONTRIBUTING.md", "CHANGELOG.md")
_LINK = re.compile(r"(\]\()([^)\s]+)(\))")
_FENCE = re.compile(r"^(`{3,}|~{3,}).*?^\1\s*$", re.DOTALL | re.MULTILINE)
_NOT_PAGES = ("site", "locales", "static", "templates")


def make(folder: Path, kept: Path) -> None:
    """Fills a folder with the sources of the site.

    Args:
      folder: which is emptied of what is no longer made.
      kept: where pictures of variants are kept from one build to the next.
    """
    files: dict[str, str | Path] = {}
    texts = {path: path.relative_to(DOCS).as_posix() for path in _pages()}
    texts |= {ROOT / name: PAGES[name] for name in WRITTEN_ABOVE}
    linked: set[Path] = set()
    for path, name in texts.items():
        files[name] = links_within(path.read_text(encoding="utf-8"), path, linked)
    files["lessons/index.md"] = _with_lessons(files)
    files |= {f"{page}.md": text for page, text in api.pages().items()}
    files |= {f"{page}.md": text for page, text in variants.pages(kept).items()}
    files |= variants.pictures_of(kept)
    files |= {path.relative_to(DOCS).as_posix(): path for path in DOCS.rglob("images/*")}
    files |= _copies(linked)
    _write(files, folder)


def _with_lessons(files: dict[str, str | Path]) -> str:
    """The page of the lessons, with all of them below it in the navigation."""
    text = str(files.get("lessons/index.md", "# Lessons\n"))
    lessons = sorted(f"/{name}" for name in files if re.match(r"lessons/\d", name))
    if "{toctree}" in text or not lessons:
        return text
    tree = "\n".join(lessons)
    return f"{text}\n```{{toctree}}\n:hidden:\n\n{tree}\n```\n"


def links_within(text: str, path: Path, linked: set[Path]) -> str:
    """The text of a page, its links leading to pages and copies; outside fenced blocks.

    Args:
      path: the file that the text is of.
      linked: to which the files are added that the page needs a copy of.
    """

    def moved(match: re.Match[str]) -> str:
        target = match[2]
        if re.match(r"[a-z]+:|#|/", target):
            return match[0]
        to, mark, anchor = target.partition("#")
        found = Path(os.path.normpath(path.parent / to))
        place = _place(found, linked)
        if place is None:
            raise ValueError(f"{path.relative_to(ROOT)} links to {target}, which is no file.")
        return f"{match[1]}/{place}{mark}{anchor}{match[3]}"

    parts, at = [], 0
    for fence in _FENCE.finditer(text):
        parts += [_LINK.sub(moved, text[at : fence.start()]), fence[0]]
        at = fence.end()
    return "".join([*parts, _LINK.sub(moved, text[at:])])


def _pages() -> Iterable[Path]:
    for path in sorted(DOCS.rglob("*.md")):
        if path.relative_to(DOCS).parts[0] not in _NOT_PAGES:
            yield path


def _place(path: Path, linked: set[Path]) -> str | None:
    """The place in the site of a file or folder of the repository; None where there is none."""
    if not path.exists():
        return None
    if path.is_relative_to(DOCS):
        return path.relative_to(DOCS).as_posix()
    name = path.relative_to(ROOT).as_posix()
    if name in PAGES:
        return PAGES[name]
    module = names.modules().get(name.removesuffix(".py").replace("/", "."))
    if module and module.is_public:
        return f"{module.page}.md"
    linked.add(path)
    return f"files/{name}.md" if path.is_dir() else f"files/{name}"


def _copies(linked: set[Path]) -> dict[str, str | Path]:
    """Copies of files that pages link to; of a folder, a page that lists its files as well."""
    found: dict[str, str | Path] = {}
    for path in sorted(linked):
        name = path.relative_to(ROOT).as_posix()
        inside = sorted(x for x in path.iterdir() if x.is_file()) if path.is_dir() else [path]
        found |= {f"files/{x.relative_to(ROOT).as_posix()}": x for x in inside}
        if path.is_dir():
            rows = "\n".join(f"- [{x.name}](/files/{name}/{x.name})" for x in inside)
            found[f"files/{name}.md"] = f"---\norphan: true\n---\n\n# `{name}`\n\n{rows}\n"
    return found


def _write(files: dict[str, str | Path], folder: Path) -> None:
    """Writes what is new, so that Sphinx reads again only what changed."""
    for old in [path for path in folder.rglob("*") if path.is_file()]:
        if old.relative_to(folder).as_posix() not in files:
            old.unlink()
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        new = content.encode() if isinstance(content, str) else content.read_bytes()
        if not path.is_file() or path.read_bytes() != new:
            path.write_bytes(new)
