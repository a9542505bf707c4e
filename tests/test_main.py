"""`attention-jax`: what it prints, what it writes, how it refuses."""

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


def test_all_variants_are_listed_by_family(two, capsys):
    main(["list"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "positions and patterns" and lines[2].startswith("  alibi ")
    assert lines[3] == "sums and states" and lines[4].startswith("  linear ")
    assert lines[-1].endswith("attention-jax show NAME")


def test_some_variants_are_listed(capsys):
    main(["list", "dot"])
    assert [line for line in capsys.readouterr().out.splitlines() if line.startswith("  dot ")]


def test_one_variant_is_explained(capsys):
    main(["show", "sliding_window"])
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
    main(["draw", "sliding_window(size=8)", f"--output={path}"])
    assert path.read_bytes().startswith(b"\x89PNG")
    assert "sliding_window, 48 positions, with size=8" in capsys.readouterr().out


def test_the_gallery_is_one_file(two, tmp_path, capsys):
    main(["gallery", f"--output={tmp_path / 'gallery.html'}"])
    text = (tmp_path / "gallery.html").read_text(encoding="utf-8")
    assert text.count("<article") == 2 and text.count("<img") == 4
    assert str(tmp_path / "gallery.html") in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "alibi(size=8)"], "size"),
        (["draw", "sliding_window(size=0)"], "size"),
        (["draw", "differential"], "not a weighted sum"),
        (["draw", "alibi", "--output=/nowhere/a.png"], "/nowhere"),
        (["try", "nowhere.py"], "nowhere.py"),
    ],
)
def test_wrong_arguments_end_in_one_line(arguments, message, capsys):
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and error.startswith("attention-jax: ")
    assert re.search(message, error)


@pytest.mark.parametrize("arguments", [[], ["paint", "alibi"], ["show"]])
def test_a_call_without_a_verb_shows_how(arguments, capsys):
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert "usage: attention-jax" in capsys.readouterr().err


def test_it_starts_without_what_it_does_not_need():
    code = "import attention_jax.__main__, sys; print({'matplotlib', 'flax'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr


def test_a_reader_that_stops_reading_is_no_error():
    code = "import attention_jax.__main__ as m; m.main(['list'])"
    done = subprocess.run(
        f'{sys.executable} -c "{code}" | head -1',
        shell=True,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""
