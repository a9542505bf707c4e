"""Spanish: of the command line and of the pages that must have it."""

import ast
import gettext
import re
import string

import pytest

from attention_jax.core import messages
from attention_jax.training import time_shares
from tests.support.paths import ROOT

catalogs = pytest.importorskip("docs.site.catalogs", reason="needs the extra `docs`")
languages = pytest.importorskip("docs.site.languages", reason="needs the extra `docs`")

COMMAND_LINE = catalogs.messages(catalogs.COMMAND_LINE)
SAYS = ("said", "messages.said")
# What is said of a name that stands in a variable.
WORDS = [
    *time_shares.PARTS,
    time_shares.REST,
    *("train", "training", "validation", "test", "loss", "accuracy", "tokens/s", "step"),
    *("compiling", "validating", "saving", "source", "reference", "model", "text", "goes on"),
    *("length", "accuracy by distance", "right", "wrong characters", "wrong words"),
]


def spoken():
    """The literals that `said` is called with, or that a name passed on to it holds."""
    for folder in ("attention_jax", "experiments"):
        for path in (ROOT / folder).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            if "said(" not in text or path.name == "messages.py":
                continue
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.Call) and ast.unparse(node.func) in SAYS:
                    yield from (x.value for x in node.args if isinstance(x, ast.Constant))


def fields(text):
    return sorted(f"{name}:{form}" for _, name, form, _ in string.Formatter().parse(text) if name)


@pytest.mark.parametrize("message", sorted({*spoken(), *WORDS}))
def test_every_message_of_the_command_line_is_translated(message):
    assert COMMAND_LINE.get(message)


@pytest.mark.parametrize("message", sorted(COMMAND_LINE))
def test_a_translation_has_the_same_fields(message):
    assert fields(COMMAND_LINE[message]) == fields(message)


def test_the_compiled_catalog_is_that_of_the_text():
    with catalogs.COMMAND_LINE.with_suffix(".mo").open("rb") as file:
        compiled = gettext.GNUTranslations(file)
    assert {message: compiled.gettext(message) for message in COMMAND_LINE} == COMMAND_LINE


@pytest.fixture
def environment(monkeypatch):
    for name in messages.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.mark.parametrize(
    ("variables", "wanted"),
    [
        ({}, "training"),
        ({"LANG": "C.UTF-8"}, "training"),
        ({"LANG": "es_ES.UTF-8"}, "entrenamiento"),
        ({"LANG": "es"}, "entrenamiento"),
        ({"LANG": "fr_FR.UTF-8"}, "training"),
        ({"LANG": "es_MX.UTF-8", "LC_ALL": "C"}, "training"),
        ({"LANG": "es_MX.UTF-8", "ATTENTION_JAX_LANGUAGE": "en"}, "training"),
        ({"ATTENTION_JAX_LANGUAGE": "es"}, "entrenamiento"),
    ],
)
def test_the_environment_chooses(environment, variables, wanted):
    for name, value in variables.items():
        environment.setenv(name, value)
    assert messages.said("training") == wanted


def test_progress_in_spanish(environment):
    environment.setenv("ATTENTION_JAX_LANGUAGE", "es")
    shares = {"updates": 0.9, "compilation": 0.1}
    assert time_shares.in_one_line(shares) == "tiempo: actualizaciones 90.0 %, compilación 10.0 %"


def passages(page):
    """The paragraphs, headings, items and cells of a page, in one line each."""
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    text = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    for block in re.split(r"\n\s*\n|\n(?=- )|\n(?=#)", text):
        if block.startswith("|"):
            rows = [line for line in block.splitlines() if not set(line) <= set("|- ")]
            yield from (cell.strip() for row in rows for cell in row.strip("|").split(" | "))
        else:
            yield re.sub(r"^(#+|-) ", "", " ".join(block.split()))


def plain(text):
    """The text without the targets of links, which lead elsewhere in the site."""
    return re.sub(r"\]\([^)]*\)", "]()", text)


@pytest.mark.parametrize("page", languages.WHOLE)
def test_pages_are_translated_in_whole(page):
    catalog = catalogs.messages(languages.CATALOGS / f"{page}.po")
    done = {plain(message) for message, translation in catalog.items() if translation}
    missing = [x for x in passages(page) if x and plain(x) not in done]
    assert not missing and all(catalog.values())


@pytest.mark.parametrize("page", languages.WHOLE)
def test_a_translation_has_the_same_links_and_code(page):
    for message, translation in catalogs.messages(languages.CATALOGS / f"{page}.po").items():
        for pattern in (r"\]\(([^)]*)\)", r"`([^`]+)`"):
            assert sorted(re.findall(pattern, translation)) == sorted(re.findall(pattern, message))


def test_a_page_that_is_not_whole_is_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(languages, "CATALOGS", tmp_path)
    (tmp_path / "quickstart.pot").write_text('msgid "one"\nmsgstr ""\n\nmsgid "two"\nmsgstr ""\n')
    (tmp_path / "quickstart.po").write_text('msgid "one"\nmsgstr "uno"\n')
    (count,) = languages.counts(tmp_path)
    assert count == ("quickstart", 1, 2) and str(count) == "quickstart 50 %"
    assert count.is_demanded
