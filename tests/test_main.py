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
        "Cache of a layer, 8 heads of width 64 in float32, by tokens:",
        "   1,024:     4,194,304 bytes, of which a token 4,096",
    ):
        assert part in shown


@pytest.mark.slow
def test_one_variant_is_drawn(tmp_path, capsys):
    path = tmp_path / "window.png"
    main(["draw", "sliding_window(size=8)", f"--output={path}"])
    assert path.read_bytes().startswith(b"\x89PNG")
    assert "sliding_window, 48 positions, with size=8" in capsys.readouterr().out


@pytest.mark.slow
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
        (["draw", "differential"], "No figure of differential: .* not a weighted sum"),
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


MINE = '''"""Attention by minus the distance.

    score(q, k) = -|q - k|^p

Cost: t s (d + e) products a head.
"""

from attention_jax import from_score


def mine(*, p: float = 2.0):
    """A variant.

    Args:
      p: power.
    """
    return from_score(lambda params: lambda q, k: -(abs(q - k) ** p).sum())


def leaky():
    """The mask is forgotten."""
    from attention_jax import attention

    own = mine()
    attend = lambda params, q, k, v, options=None: attention(q, k, v)
    return own._replace(attend=attend, score=None)
'''


@pytest.fixture
def own_file(tmp_path, monkeypatch):
    """A person's own file, in the folder that they are in."""
    (tmp_path / "mine.py").write_text(MINE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_an_own_file_is_listed_and_shown(own_file, capsys):
    main(["list", "mine.py", "alibi"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[1:3] == [
        "scores of a pair",
        "  mine.py            bcx pairs -rm Attention by minus the distance.",
    ]
    main(["show", "mine.py:mine(p=1.0)"])
    shown = capsys.readouterr().out
    assert "mine(*, p=2.0)" in shown and "score(q, k) = -|q - k|^p" in shown


@pytest.mark.slow
def test_an_own_file_is_drawn_in_a_file_of_its_name(own_file, capsys):
    main(["draw", "mine.py:mine(p=1.0)"])
    assert (own_file / "mine-p_1.0.png").read_bytes().startswith(b"\x89PNG")
    assert "mine-p_1.0.png: mine.py, 48 positions, with p=1.0" in capsys.readouterr().out


@pytest.fixture
def few_promises(monkeypatch):
    """Promises that are checked at once, and short sequences."""
    from attention_jax.analysis import variant_trial

    quick = ("roles_are_known", "no_leak_from_the_future")
    kept = tuple(p for p in variant_trial.PROMISES if p.name in quick)
    monkeypatch.setattr(variant_trial, "PROMISES", kept)
    monkeypatch.setattr(variant_trial, "LENGTHS", (16,))


def test_an_own_file_is_tried(own_file, few_promises, capsys):
    main(["try", "mine.py(p=1.0)", "--output=mine.png"])
    shown = capsys.readouterr().out
    assert shown.count("kept    ") == 2 and "16 positions:" in shown
    assert "cross, any mask, linear memory, RNN decoders" in shown
    assert (own_file / "mine.png").is_file()


def test_a_broken_promise_ends_with_an_error_code(own_file, few_promises, capsys):
    with pytest.raises(SystemExit) as end:
        main(["try", "mine.py:leaky"])
    assert end.value.code == 1
    assert "broken  Under the causal mask" in capsys.readouterr().out


def test_an_alias_is_shown_and_a_near_miss_is_guessed(capsys):
    main(["show", "mla"])
    shown = capsys.readouterr().out
    assert shown.startswith("latent\n") and "Also called: mla" in shown
    with pytest.raises(SystemExit):
        main(["show", "albi"])
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "Did you mean alibi?" in error


def test_a_file_without_a_docstring_has_that_of_its_function(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    bare = MINE.split('"""', 2)[2].replace("A variant.", "The distance, as a score.")
    (tmp_path / "mine.py").write_text(bare, encoding="utf-8")
    main(["list", "mine.py"])
    assert "mine.py            bcx pairs -rm The distance, as a score." in capsys.readouterr().out
    main(["show", "mine.py"])
    shown = capsys.readouterr().out
    assert shown.startswith("mine.py\n\nmine(*, p=2.0)\n\n    The distance, as a score.\n")
