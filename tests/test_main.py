"""`python -m attention_jax`: what it prints, what it writes, how it refuses."""

import re
import subprocess
import sys

import pytest

from attention_jax import variants
from attention_jax.__main__ import main
from tests.support.paths import ROOT


@pytest.fixture
def two(monkeypatch):
    """The command as where there are two variants."""
    monkeypatch.setattr(variants, "names", lambda: ("alibi", "linear"))


def test_all_variants_are_listed_a_line_each(two, capsys):
    main([])
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split()[:3] == ["bidirectional", "causal", "cross"]
    cells = [line.split() for line in lines[:2]]
    assert cells[0][:8] == ["alibi", "yes", "yes", "-", "pairs", "-", "-", "yes"]
    assert cells[1][:8] == ["linear", "yes", "yes", "yes", "keys", "yes", "-", "yes"]
    # Cost and claim stand below their titles.
    for column in ("causal", "masks", "cost", "claim"):
        assert all(line[header.index(column) - 1] == " " for line in lines[:2])
        assert all(line[header.index(column)] != " " for line in lines[:2])
    assert "t s (d + e + 1)" in lines[0] and "Attention with linear biases" in lines[0]


def test_one_variant_is_explained(capsys):
    main(["sliding_window"])
    shown = capsys.readouterr().out
    for part in (
        "visible[i, j] = |i - j| < size",
        "sliding_window(*, size=257)",
        "size: keys nearer than this",
        "Reference: Beltagy et al. 2020",
        "Supports: bidirectional, causal, any mask, linear memory.",
    ):
        assert part in shown


def test_one_variant_is_drawn(tmp_path, capsys):
    path = tmp_path / "window.png"
    main(["sliding_window", "--option=size=8", f"--picture={path}"])
    assert path.read_bytes().startswith(b"\x89PNG")
    assert "sliding_window, 48 positions, with size=8" in capsys.readouterr().out


def test_the_gallery_is_one_file(two, tmp_path, capsys):
    main([f"--gallery={tmp_path / 'gallery.html'}"])
    text = (tmp_path / "gallery.html").read_text(encoding="utf-8")
    assert text.count("<article") == 2 and text.count("<img") == 4
    assert str(tmp_path / "gallery.html") in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["albi"], r"there is no variant 'albi'. Did you mean alibi\? There are: "),
        (["zzzz"], "there is no variant 'zzzz'. There are: "),
        (["--picture=a.png"], "--picture goes with the name of a variant"),
        (["--option=a=1"], "--option goes with the name of a variant"),
        (["alibi", "--gallery=a.html"], "leave the name out"),
        (["alibi", "--option=size=8"], "options of variant alibi are: none"),
        (["sliding_window", "--option=size=0"], "size"),
        (["differential", "--picture=a.png"], "not a weighted sum"),
        (["alibi", "--picture=/nowhere/a.png"], "/nowhere"),
    ],
)
def test_wrong_arguments_end_in_one_line(arguments, message, capsys):
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and error.startswith("python -m attention_jax: ")
    assert re.search(message, error)


def test_it_starts_without_what_it_does_not_need():
    code = "import attention_jax.__main__, sys; print({'matplotlib', 'flax'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr
