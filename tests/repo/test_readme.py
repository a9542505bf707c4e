"""README and docs: their Python runs, their commands and flags exist, their links resolve."""

import ast
import importlib
import re
import shlex
from itertools import starmap
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from attention_jax import variants
from experiments.common import experiment, flags, pretrained_runs
from tests.support.paths import ROOT

PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
TEXTS = {str(page.relative_to(ROOT)): page.read_text(encoding="utf-8") for page in PAGES}
NEEDS_A_RUN = "# needs a trained run"  # first line of a block that is compiled only


def blocks(language: str) -> list[tuple[str, str]]:
    """Pages and code of all blocks in a language."""
    pattern = rf"^```{language}\n(.*?)^```$"
    return [
        (page, code)
        for page, text in TEXTS.items()
        for code in re.findall(pattern, text, re.DOTALL | re.MULTILINE)
    ]


def commands() -> list[list[str]]:
    """The command lines of all pages, as the shell splits them."""
    lines = "\n".join(code for _, code in blocks("bash")).replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def example_of(page: str, code: str):
    """A block as an example of `test_python_runs`; those that train or draw are slow."""
    slow = "training.fit" in code or "style.save" in code
    marks = [pytest.mark.slow] if slow else []
    return pytest.param(page, code, marks=marks, id=f"{page}:{code.splitlines()[0]}")


@pytest.mark.parametrize(("page", "code"), [*starmap(example_of, blocks("python"))])
def test_python_runs(page, code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    program = compile(code, page, "exec")
    if code.startswith(NEEDS_A_RUN):
        return
    # As users run it, without the strictness of the other tests.
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        exec(program, {"__name__": "page"})


def test_the_variant_of_your_own_joins_by_its_file(tmp_path):
    (code,) = (code for _, code in blocks("python") if code.startswith("# manhattan.py"))
    (tmp_path / "manhattan.py").write_text(code, encoding="utf-8")
    q, k, v = jax.random.normal(jax.random.key(0), (3, 1, 3, 2, 4))
    got = variants.get(str(tmp_path / "manhattan.py")).attend({}, q, k, v)
    distance = jnp.abs(q[:, :, None] - k[:, None]).sum(-1)
    weights = jax.nn.softmax(-distance, axis=2)
    want = jnp.einsum("btsh,bshd->bthd", weights, v)
    assert jnp.allclose(got, want, atol=1e-6)


@pytest.mark.parametrize("script", sorted(set(re.findall(r"scripts/\w+", str(TEXTS)))))
def test_scripts_exist(script):
    assert (ROOT / script).is_file()


@pytest.mark.parametrize("name", sorted({w[1] for w in commands() if w[0] == "attention-jax"}))
def test_subcommands_exist(name):
    sources = (ROOT / "attention_jax").glob("*.py")
    assert any(f'"{name}"' in path.read_text(encoding="utf-8") for path in sources)


def source_of(module: str) -> Path:
    """The file that `python -m module` runs."""
    path = ROOT / module.replace(".", "/")
    return path.with_suffix(".py") if path.with_suffix(".py").is_file() else path / "__main__.py"


def groups_of(module: str) -> list[tuple]:
    """The configurations whose fields are a command's flags."""
    uses = sorted({*experiment.names(), *pretrained_runs.USES.values()})
    everything = [experiment.use(name).config for name in uses]
    name = module.removeprefix("experiments.")
    if name in experiment.names():
        return [experiment.find(name).config]
    source = source_of(module)
    program = ".".join(source.relative_to(ROOT).with_suffix("").parts)
    known = vars(importlib.import_module(program))
    (launch,) = (
        node
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "flags.launch"
    )
    return [eval(ast.unparse(group), known) for group in launch.args[1:]] + everything


def programs() -> list[tuple[str, ...]]:
    """Modules that the pages run, each with its arguments."""
    called = [words[2:] for words in commands() if words[:2] == ["python", "-m"]]
    called += [
        ["experiments.benchmark", *words[1:]] for words in commands() if words[0] == "scripts/bench"
    ]
    return list(dict.fromkeys(map(tuple, called)))


@pytest.mark.parametrize("program", programs(), ids=" ".join)
def test_commands_parse(program, monkeypatch):
    """Every flag exists, and its value is one that it takes."""
    monkeypatch.chdir(ROOT)
    module, *arguments = program
    first, *others = groups_of(module)
    flags.parse(first, arguments, beside=others)


def test_flagfiles_exist():
    named = {word.partition("=")[2] for words in commands() for word in words if "presets/" in word}
    assert named
    assert all((ROOT / name).is_file() for name in named)


def anchors(text: str) -> set[str]:
    """The anchors that a page's headings have, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", TEXTS)
def test_links_and_images_resolve(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", TEXTS[page]):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        found = (ROOT / page).parent / path if path else ROOT / page
        assert found.exists(), target
        if anchor:
            assert anchor in anchors(found.read_text(encoding="utf-8")), target


@pytest.mark.parametrize("page", sorted(str(p.relative_to(ROOT / "docs")) for p in PAGES[3:]))
def test_every_page_is_reached_from_the_index(page):
    if page == "index.md":
        return
    indices = {
        name: TEXTS[f"docs/{name}"] for name in ("index.md", "results/index.md", "lessons/index.md")
    }
    linked = {
        (Path(name).parent / target).as_posix()
        for name, text in indices.items()
        for target in re.findall(r"\]\(([^)#\s]+\.md)\)", text)
    }
    assert page in linked


def test_the_readme_is_a_page():
    assert len(TEXTS["README.md"].splitlines()) <= 150


def test_the_readme_opens_with_the_two_commands():
    first = next(code for page, code in blocks("bash") if page == "README.md")
    assert [words[0] for line in first.splitlines() if (words := line.split())] == [
        "scripts/demo",
        "scripts/test",
    ]


def test_continuous_integration_calls_the_test_command_of_the_readme():
    assert (ROOT / ".ci" / "run").read_text(encoding="utf-8").rstrip().endswith("exec scripts/test")


def test_the_readme_names_every_room():
    rooms = {path.parent.name for path in (ROOT / "attention_jax").glob("[a-z]*/__init__.py")}
    assert rooms == set(re.findall(r"^\| `(\w+)` \|", TEXTS["README.md"], re.MULTILINE))


NEW_NAMES = {
    name
    for row in re.findall(r"^\| (.*) \|$", TEXTS["CHANGELOG.md"], re.MULTILINE)
    for cell in row.split(" | ")[1:]
    for name in re.findall(r"`([\w.]+\.\w+)`", cell)
    if name != "scipy.stats.t"
}


@pytest.mark.parametrize("name", sorted(NEW_NAMES))
def test_new_names_of_the_changelog_exist(name):
    """A name below `attention_jax` or `experiments` is a module, or stands in one."""
    root = ROOT if name.startswith("experiments.") else ROOT / "attention_jax"
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        path = root.joinpath(*parts[:count])
        files = [path.with_suffix(".py"), path / "__init__.py"]
        found = [file.read_text(encoding="utf-8") for file in files if file.is_file()]
        if found:
            assert all(re.search(rf"\b{part}\b", found[0]) for part in parts[count:])
            return
    raise AssertionError(f"There is no module of {name}.")
