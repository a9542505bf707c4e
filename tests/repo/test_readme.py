"""The README: its Python runs, its commands exist, its tree is the repository's."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from attention_jax import variants
from tests.support.paths import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    return [text for name, text in found if name == language]


def tree() -> list[Path]:
    """The paths that the README's tree names."""
    (listing,) = (text for text in blocks("") if text.startswith("attention_jax/"))
    paths, folder = [], ROOT
    for line in listing.splitlines():
        name = line.split()[0]
        folder = folder if line.startswith(" ") else ROOT / name
        paths.append(folder / name if line.startswith(" ") else folder)
    return paths


@pytest.mark.parametrize("code", blocks("python"), ids=lambda code: code.splitlines()[0])
def test_python_runs(code):
    # As users run it, without the strictness of the other tests.
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        exec(compile(code, "README.md", "exec"), {"__name__": "readme"})


def test_the_attention_of_your_own_joins_by_its_file(tmp_path):
    (code,) = (code for code in blocks("python") if code.startswith("# manhattan.py"))
    (tmp_path / "manhattan.py").write_text(code, encoding="utf-8")
    x = jnp.ones((1, 3, 2, 4))
    out = variants.get(str(tmp_path / "manhattan.py")).attend({}, x, x, x)
    assert out.shape == x.shape


@pytest.mark.parametrize("script", sorted(set(re.findall(r"scripts/\w+", README))))
def test_scripts_exist(script):
    assert (ROOT / script).is_file()


@pytest.mark.parametrize("module", sorted(set(re.findall(r"python -m ([\w.]+)", README))))
def test_modules_exist(module):
    path = ROOT / module.replace(".", "/")
    assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file()


FLAGS = set(re.findall(r" --(\w+)=", "".join(blocks("bash")))) - {"flagfile"}  # that is absl's own


@pytest.mark.parametrize("flag", sorted(FLAGS))
def test_flags_exist(flag):
    files = [*(ROOT / "experiments").rglob("*.py"), ROOT / "attention_jax" / "__main__.py"]
    # A field of a group of flags, or the name of another flag.
    defined = rf'((DEFINE_\w+|add_argument)\(\s*"(--)?{flag}"|^    {flag}: |alias="{flag}")'
    texts = [path.read_text(encoding="utf-8") for path in files]
    assert any(re.search(defined, text, re.MULTILINE) for text in texts)


@pytest.mark.parametrize("path", tree(), ids=lambda path: str(path.relative_to(ROOT)))
def test_the_tree_names_what_exists(path):
    assert path.exists()


@pytest.mark.parametrize("folder", ["attention_jax", "experiments"])
def test_the_tree_leaves_nothing_out(folder):
    files = {path for path in (ROOT / folder).glob("*.py") if not path.name.startswith("__")}
    folders = {path.parent for path in (ROOT / folder).glob("*/*.*")}
    assert (files | folders) - {ROOT / folder / "__pycache__"} <= set(tree())
