"""Spanish catalogues of the lessons: whole, of the text as it is, with its code and links."""

import ast
import re

import pytest

from tests.support import lessons

CATALOGS = lessons.FOLDER.parent / "locales" / "es" / "LC_MESSAGES" / "lessons"
PAGES = [*lessons.paths(), lessons.FOLDER / "index.md"]
by_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


def messages(page) -> dict[str, str]:
    """The messages of a page's catalogue and their translations, without its header."""
    text = (CATALOGS / f"{page.stem}.po").read_text(encoding="utf-8")
    quoted = r'((?:"(?:[^"\\]|\\.)*"\n)+)'
    pairs = re.findall(rf"^msgid {quoted}msgstr {quoted}", text + "\n", re.MULTILINE)
    read = [tuple(ast.literal_eval(f"({part})") for part in pair) for pair in pairs]
    return {message: translation for message, translation in read if message}


def in_one_line(text: str) -> str:
    return " ".join(text.split())


def with_places(text: str) -> str:
    """The text of a lesson with links as the site has them, from its root."""
    return re.sub(r"\]\((?=\w+\.md)", "](/lessons/", text.replace("](../", "](/"))


def pieces(text: str) -> list[str]:
    """What a translation leaves as it is: code, and the targets of links."""
    return sorted(re.findall(r"`[^`]+`|\]\([^)]*\)", text))


@by_page
def test_every_message_is_on_the_page(page):
    text = in_one_line(with_places(page.read_text(encoding="utf-8")))
    old = [message for message in messages(page) if in_one_line(message) not in text]
    assert not old, "translate these anew"


@by_page
def test_every_line_of_prose_is_translated(page):
    found = messages(page)
    assert all(found.values())
    known = in_one_line(" ".join(found))
    whole = with_places(page.read_text(encoding="utf-8"))
    text = re.sub(r"\A---.*?^---$|^```.*?^```$", "", whole, flags=re.DOTALL | re.MULTILINE)
    lines = [line for line in text.splitlines() if re.match(r"[A-Za-z*]", line)]
    missing = [line for line in lines if in_one_line(line) not in known]
    assert not missing


@by_page
def test_translations_keep_code_links_and_formulas(page):
    for message, translation in messages(page).items():
        assert pieces(message) == pieces(translation)
        for mark in ("$", "**"):
            assert message.count(mark) == translation.count(mark), message
