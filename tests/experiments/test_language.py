"""The scripts of language models and of memory, as a user runs them."""

import ast
import json
import re
import shutil

import pytest

from experiments.common import flags
from experiments.common.config import LOSSES
from experiments.language import EXPERIMENT
from tests.support.scripts import ROOT, validated
from tests.support.scripts import script as run
from tests.support.sealed_runs import write_flags, write_record

TINY = (
    "--width=8 --heads=2 --layers=1 --feed_forward=8 --steps=2 --evaluate_every=2 "
    "--checkpoint_every=1"
).split()
TEXT = "".join(f"{i} and {i + 1} make {2 * i + 1}.\n" for i in range(60))


@pytest.fixture(scope="module")
def text_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("texts") / "sums.txt"
    path.write_text(TEXT)
    return path


@pytest.fixture(scope="module")
def trained(text_file):
    folder = text_file.parent / "run"
    done = run(
        "language",
        *TINY,
        f"--text_file={text_file}",
        f"--run={folder}",
        "--context=16",
        "--characters=30",
        "--temperature=0.8",
        "--top_k=9",
        "--samples=2",
    )
    assert done.returncode == 0, done.stderr
    return folder, done


def test_a_language_run_leaves_its_folder(trained):
    folder, done = trained
    assert "nats a character" in done.stdout and "experiments.predict" in done.stdout
    for name in ("environment.json", "metrics.jsonl", "vocabulary.json", "curves.png"):
        assert (folder / name).stat().st_size > 0, name
    assert (folder / "run.flags").read_text().startswith("# python -m experiments.language\n")
    assert len((folder / "samples.txt").read_text()) == 32  # a character, 30 more, a line's end
    assert validated(folder) == {*LOSSES, "bits_per_character"}
    result = json.loads((folder / "result.json").read_text())
    assert result["task"] == "sums" and result["steps"] == 2
    rows = json.loads((folder / "outcomes.json").read_text())["validation"]["accuracy"]
    right, count = (sum(column) for column in zip(*rows, strict=True))
    assert count == len(TEXT) - int(0.9 * len(TEXT)) - 1
    assert right / count == pytest.approx(result["tests"]["validation"]["accuracy"])


def test_samples_are_places_of_the_text_and_what_the_model_writes(trained):
    """Two of them, at the one validation of two steps."""
    lines = [
        line for line in trained[1].stderr.splitlines() if re.match(r"(text|goes on|model) ", line)
    ]
    held_out = TEXT[int(0.9 * len(TEXT)) :]
    assert len(lines) == 2 * 3
    samples = [[ast.literal_eval(line[9:]) for line in lines[i : i + 3]] for i in range(0, 6, 3)]
    starts = [number * (len(held_out) - 16) // 2 for number in range(2)]
    for (given, wanted, found), start in zip(samples, starts, strict=True):
        assert given == held_out[start : start + 8] and wanted == held_out[start + 8 : start + 16]
        assert len(found) == 8 and set(found) <= set(TEXT)
    assert not (trained[0] / "samples.jsonl").exists()


@pytest.mark.slow
def test_predict_goes_on_with_a_text(trained):
    options = ("predict", f"--run={trained[0]}", "--characters=20")
    one = run(*options, "--text=7 and")
    assert one.returncode == 0, one.stderr
    assert one.stdout.startswith("7 and") and len(one.stdout) >= 26
    assert run(*options, stdin="7 and").stdout == one.stdout
    assert run(*options, "--text=7 and", "--seed=1").stdout != one.stdout
    assert run(*options, "--text=7 and", "--nosample").stdout != one.stdout


def test_what_a_run_sampled_by_is_no_matter_without_sampling(trained):
    options = ("predict", f"--run={trained[0]}", "--characters=5", "--text=7 and", "--nosample")
    done = run(*options)
    assert done.returncode == 0 and len(done.stdout) >= 11, done.stderr
    given = run(*options, "--top_k=9")
    assert given.returncode == 1 and "--top_k goes with --sample" in given.stderr


@pytest.mark.slow
def test_an_interrupted_language_run_goes_on(trained, text_file, tmp_path):
    options = [*TINY, f"--text_file={text_file}", f"--run={tmp_path / 'run'}", "--context=16"]
    assert run("language", *options, "--characters=30", "--steps=1").returncode == 0
    done = run("language", *options, "--characters=30", "--resume")
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["steps"] == 2


@pytest.mark.parametrize(
    ("recorded", "change", "message"),
    [
        (True, lambda text: text + "é" * 9, "the contents of training, validation have changed"),
        (False, lambda text: text + "é" * 9, "these data have"),
        (False, lambda text: 20 * text, "`batches` must be those that the run began with"),
    ],
    ids=["contents", "vocabulary", "length"],
)
def test_a_refused_resume_changes_nothing(trained, tmp_path, recorded, change, message):
    """Also of runs from before the contents of their data were recorded."""
    folder, text_file = tmp_path / "run", tmp_path / "sums.txt"
    shutil.copytree(trained[0], folder)
    flags = folder / "run.flags"
    write_flags(folder, flags.read_text().replace(str(trained[0].parent), str(tmp_path)))
    record = json.loads((folder / "run.json").read_text())
    assert set(record["data"]) == {"training", "validation"}
    if not recorded:
        write_record(folder, data={})
    text_file.write_text(change(TEXT))
    before = contents(folder)
    done = run("language", f"--flagfile={flags}", f"--run={folder}", "--resume", "--characters=9")
    assert done.returncode == 1 and message in done.stderr, done.stderr
    assert contents(folder) == before


@pytest.mark.parametrize("name", ["sums.csv", "sums.jsonl"])
def test_a_column_is_the_same_text(text_file, tmp_path, name):
    rows = TEXT.splitlines()
    if name == "sums.csv":
        (tmp_path / name).write_text("\n".join(["id,text", *(f"7,{row}" for row in rows)]))
    else:
        (tmp_path / name).write_text("\n".join(json.dumps({"text": row}) for row in rows))
    plain = flags.replace(EXPERIMENT.config, text_file=str(text_file))
    column = flags.replace(plain, text_file=str(tmp_path / name), fields="text")
    hashes = [EXPERIMENT.hashes(EXPERIMENT.load(config)) for config in (plain, column)]
    assert hashes[0] == hashes[1]


def contents(folder):
    """Every file under a folder, whole."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("script", "arguments", "message"),
    [
        ("language", [], "`--text_file` or `--preset` must name a text; got"),
        ("language", ["--text_file=none.txt"], "none.txt does not exist"),
        ("language", ["--preset=moby"], "`--preset` must be among tiny_shakespeare"),
        ("language", ["--preset=tiny_shakespeare", "--data_dir=/x"], "tinyshakespeare/input.txt"),
        ("language", ["--text_file=TEXT", "--format=csv"], "`--format` goes with --fields"),
        ("language", ["--text_file=TEXT", "--fields=x"], "Say it by `format`, one of csv, jsonl"),
        ("language", ["--text_file=TEXT", "--context=900"], "more than --context=900 characters"),
        ("language", ["--text_file=TEXT", "--attention=coverage"], "'coverage' does not"),
        ("predict", ["--run=RUN", "--text=é"], "`prompt` must be text of the characters"),
        ("predict", ["--run=RUN", "--file=TEXT"], "go with translations"),
        ("memory", ["--pairs=9", "--length=32"], "at most a quarter of the length"),
        ("memory", ["--test_lengths=x"], "`--test_lengths` must be lengths above 1; got x"),
        ("memory", ["--shorter_lengths=64"], "`--shorter_lengths` must be below --length=64"),
        ("memory", ["--cost_lengths=1"], "`--cost_lengths` must be lengths above 1; got 1"),
        ("memory.draw", ["--runs=RUN"], "must name finished runs of experiments.memory"),
    ],
)
def test_what_a_user_can_mend_ends_in_one_line(script, arguments, message, trained, text_file):
    places = {"RUN": str(trained[0]), "TEXT": str(text_file)}
    for old, new in places.items():
        arguments = [argument.replace(old, new) for argument in arguments]
    before = set(ROOT.glob("runs/*"))
    done = run(script, *arguments)
    assert done.returncode == 1 and message in done.stderr
    assert "Traceback" not in done.stderr and done.stderr.count("\n") == 1
    assert set(ROOT.glob("runs/*")) == before, "a folder was made for what is refused"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("problem", "options"),
    [
        (
            "associative",
            ["--vocabulary=16", "--pairs=2", "--shorter_lengths=8", "--cost_lengths=8,16"],
        ),
        pytest.param(
            "copying",
            ["--symbols=3", "--model=rnn", "--attention=none", "--cost_lengths=16"],
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "induction",
            ["--vocabulary=8", "--model=rnn", "--attention=additive"],
            marks=pytest.mark.slow,
        ),
        ("adding", ["--positions=learned", "--cost_lengths=8"]),
    ],
)
def test_memory_is_measured_at_lengths_and_distances(problem, options, tmp_path):
    folder = tmp_path / problem
    done = run(
        "memory",
        *TINY,
        f"--problem={problem}",
        "--length=16",
        "--rows=8",
        "--test_rows=20",
        "--test_lengths=32",
        f"--run={folder}",
        *options,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads((folder / "result.json").read_text())
    assert (
        result["lengths"]
        == {"test": 16, "length_32": 32}
        == {test: result["lengths"][test] for test in result["tests"]}
    )
    rows = json.loads((folder / "outcomes.json").read_text())
    for test, distances in result["distances"].items():
        right, count = (sum(column) for column in zip(*rows[test]["accuracy"], strict=True))
        assert sum(row[2] for row in distances) == right and sum(r[3] for r in distances) == count
        assert len(rows[test]["accuracy"]) == 24  # three batches of eight
        assert right / count == pytest.approx(result["tests"][test]["accuracy"], abs=1e-6)
    for row in result["costs"]:
        assert row["training_seconds"] > 0 and row["temporary_bytes"] > 0
    assert (folder / "memory.png").stat().st_size > 0
    done = run("memory.draw", f"--runs={folder},{folder}", f"--output={tmp_path / 'all.png'}")
    assert done.returncode == 0 and (tmp_path / "all.png").stat().st_size > 0, done.stderr
