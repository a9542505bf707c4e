"""Configurations as flags: whatever stands in one can be given, kept and read again."""

from typing import Annotated, Literal, NamedTuple

import pytest
from absl import flags as absl_flags

from experiments.common import experiment, flags, help_text, run_folder
from experiments.common.flags import Flag, Only
from tests.support.paths import ROOT

PRESETS = ROOT / "experiments" / "presets"


class Inner(NamedTuple):
    """A group.

    Attributes:
      size: of something that takes
        two lines.
      kind: of it.
      names: some; may be repeated.
      lengths: others.
    """

    size: Annotated[int, Flag(low=1)] = 3
    kind: Literal["red", "blue"] = "red"
    names: tuple[str, ...] = ()
    lengths: Annotated[tuple[str, ...] | None, Flag(listed=True)] = None


class Outer(NamedTuple):
    """A configuration.

    Attributes:
      share: a number.
      fast: quickly.
      place: a folder.
    """

    share: Annotated[float, Flag(low=0.0, high=1.0)] = 0.5
    fast: bool = True
    place: Annotated[str | None, Flag(kept=False, alias="folder")] = None
    inner: Inner = Inner(size=4)


class Words(NamedTuple):
    """A group.

    Attributes:
      word: one of some.
    """

    word: Annotated[str, Flag(choices=("a", "b", "c"))] = "a"


class Narrow(NamedTuple):
    """A configuration with fewer choices."""

    words: Annotated[Words, Only(word=("a", "b"))] = Words()


def test_fields_of_groups_are_flags():
    found = flags.fields(Outer())
    assert list(found) == ["share", "fast", "place", "size", "kind", "names", "lengths"]
    assert found["size"].value == 4 and found["size"].help == "Of something that takes two lines."
    assert found["kind"].rules.choices == ("red", "blue")
    assert flags.fields(Narrow())["word"].rules.choices == ("a", "b")


def test_help_shows_the_choices_that_a_configuration_leaves():
    text = help_text.text(flags.titled((Narrow(),)))
    assert text.endswith("A group:\n  --word=a\n      One of some. One of a, b.")


def test_arguments_change_what_they_name():
    asked = "--size=5 --nofast --names=x --names=y --lengths=1,2 --folder=here --kind=blue".split()
    config, given = flags.parse(Outer(), asked)
    assert config == Outer(0.5, False, "here", Inner(5, "blue", ("x", "y"), ("1", "2")))
    assert given == {"size", "fast", "names", "lengths", "folder", "kind"}
    assert flags.parse(config, []) == (config, frozenset())


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--size=0", "--size=0: 0 is not a positive integer"),
        ("--share=2", "--share=2"),
        ("--kind=green", "value should be one of <red|blue>"),
        ("--sise=3", "Unknown command line flag 'sise'. Did you mean: size"),
        ("--nofast=1", "--nofast=1 does not take an argument"),
        ("size", "unexpected argument 'size'"),
    ],
)
def test_what_is_no_flag_or_no_value_is_refused(argument, message):
    with pytest.raises(absl_flags.Error) as caught:
        flags.parse(Outer(), [argument])
    assert message in str(caught.value)
    with pytest.raises(ValueError, match="own.flags must hold flags of this version: ") as caught:
        flags.from_lines(Outer(), [argument], source="own.flags")
    assert message in str(caught.value)


def test_lines_hold_what_decides_the_result():
    config = flags.replace(Outer(), size=5, names=("x", "y"), place="here")
    lines = flags.lines(config)
    assert lines == {
        "share": "--share=0.5",
        "fast": "--fast",
        "size": "--size=5",
        "kind": "--kind=red",
        "names": "--names=x\n--names=y",
    }
    assert flags.lines(config, all_flags=True)["place"] == "--place=here"
    with pytest.raises(ValueError, match="`sise` is no flag of Outer"):
        flags.replace(config, sise=1)


def test_a_flagfile_that_is_not_there_is_named():
    with pytest.raises(absl_flags.Error, match="`--flagfile` must name a file that can be read"):
        flags.parse(Outer(), ["--flagfile=nowhere/x.flags"])


def test_a_flagfile_that_cannot_be_read_is_named(monkeypatch):
    def fail(*_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("builtins.open", fail)
    with pytest.raises(absl_flags.Error, match="`--flagfile` must name a file that can be read"):
        flags.parse(Outer(), ["--flagfile=x.flags"])


def test_a_flagfile_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "own.flags").write_bytes(b"--size=\xff")
    for path in (tmp_path / "own.flags", tmp_path, tmp_path / "missing"):
        with pytest.raises(absl_flags.Error):
            flags.parse(Outer(), [f"--flagfile={path}"])


@pytest.mark.parametrize("name", experiment.names())
def test_a_configuration_is_its_flags(name):
    own = experiment.find(name)
    assert all(field.help for field in flags.fields(own.config).values())
    attention = 'axial(width=4, along="row")'
    config = flags.replace(own.config, attention=attention, steps=3, tied=False, kv_heads=2)
    kept = run_folder.text(own, config).splitlines()
    assert kept[0] == f"# python -m experiments.{name}" and kept[1:] == sorted(kept[1:])
    assert flags.from_lines(own.config, kept, source="") == config


@pytest.mark.parametrize(
    "preset",
    [path for path in sorted(PRESETS.glob("*.flags")) if not path.name.startswith("compare")],
    ids=lambda path: path.stem,
)
def test_presets_are_of_an_experiment(preset):
    text = preset.read_text()
    named = [name for name in experiment.names() if f"python -m experiments.{name}" in text]
    able = named or experiment.names()
    done = []
    for name in able:
        try:
            done.append(flags.parse(experiment.find(name).config, [f"--flagfile={preset}"]))
        except absl_flags.Error:
            assert not named
    assert done


def test_the_fields_names_for_a_flag_set_it():
    config, given = flags.parse(
        experiment.find("memory").config, ["--num_heads=2", "--d_model=32", "--lr=0.5"]
    )
    assert (config.model.heads, config.model.width) == (2, 32)
    assert config.training.learning_rate == 0.5
    assert given == {"heads", "width", "learning_rate"}
    assert "--heads=2" in flags.lines(config).values() and "num_heads" not in flags.lines(config)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--learning_rate=nan", "learning_rate=nan: it must be a finite number"),
        ("--weight_decay=inf", "weight_decay=inf: it must be a finite number"),
        ("--learning_rate=-1", "learning_rate=-1"),
        ("--feed_forward=0", "feed_forward=0"),
        ("--d_ff=-1", "feed_forward=-1"),
        ("--seed=100000000000000000000", "seed=1"),
        ("--average=-1", "average=-1"),
        ("--rows=2147483648", r"rows=2147483648: it must be below 2\^31"),
        ("--layers=257", "layers=257"),
        ("--evaluate_sentences=0", "evaluate_sentences=0"),
        ("--label_smoothing=1.5", "label_smoothing=1.5"),
    ],
)
def test_numbers_out_of_range_are_named(argument, message):
    with pytest.raises(absl_flags.Error, match=message) as error:
        flags.parse(experiment.find("memory").config, [argument])
    assert "\n" not in str(error.value)
