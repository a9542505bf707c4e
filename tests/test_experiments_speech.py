"""The script of speech as a user runs it, on tones and on files, and the data that it refuses."""

import json
from functools import partial

import numpy as np
import pytest

from attention_jax import wav_files
from tests.scripts import script

TINY = (
    "--width=8 --heads=2 --layers=1 --feed_forward=8 --steps=2 --frames_per_batch=600 --buckets=1 "
    "--evaluate_every=2 --evaluate_sentences=2 --checkpoint_every=1 --platform=cpu "
    "--sound_option=train_size=12 --sound_option=validation_size=2 --sound_option=test_size=2 "
    "--sound_option=most_words=1"
).split()


run = partial(script, "speech", timeout=600)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "tones"
    done = run(*TINY, f"--run={folder}")
    assert done.returncode == 0, done.stderr
    return folder, done


def test_a_run_leaves_its_folder(trained):
    folder, done = trained
    assert "wrong words" in done.stdout
    for name in (
        "run.flags",
        "environment.json",
        "metrics.jsonl",
        "vocabulary.json",
        "samples.txt",
        "transcripts.json",
        "curves.png",
    ):
        assert (folder / name).stat().st_size > 0, name
    assert "--sounds=tones" in (folder / "run.flags").read_text()
    result = json.loads((folder / "result.json").read_text())
    outcomes = json.loads((folder / "outcomes.json").read_text())
    assert set(result["tests"]) == set(outcomes) == {"test", "unseen"}
    for test, measures in outcomes.items():
        for measure, pairs in measures.items():
            top, bottom = np.sum(pairs, axis=0)
            assert result["tests"][test][measure] == pytest.approx(100 * top / bottom)


@pytest.mark.slow
def test_resumed_is_as_undisturbed(trained, tmp_path):
    folder, _ = trained
    stopped = tmp_path / "stopped"
    # The schedule is that of the whole run.
    done = run(*TINY, f"--run={stopped}", "--max_seconds=0.001")
    assert done.returncode == 0, done.stderr
    (stopped / "result.json").unlink()
    done = run(*TINY, f"--run={stopped}", "--resume")
    assert done.returncode == 0 and "resumed" in done.stderr, done.stderr
    result, expected = (
        json.loads((where / "result.json").read_text()) for where in (stopped, folder)
    )
    assert result["steps"] == 2
    for name in ("transcripts.json", "outcomes.json"):
        assert (stopped / name).read_text() == (folder / name).read_text()
    rows = [
        [json.loads(line) for line in (where / "metrics.jsonl").read_text().splitlines()][-1]
        for where in (stopped, folder)
    ]
    assert rows[0]["loss"] == rows[1]["loss"]
    assert result["tests"] == expected["tests"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        ["--model=rnn", "--attention=location_aware"],
        ["--model=rnn", "--loss=ctc", "--halvings=1"],
        ["--loss=ctc", "--beam=3", "--halvings=1"],
        ["--attention=alibi", "--positions=none", "--beam=2"],
    ],
    ids=" ".join,
)
def test_other_models_and_losses_run(options, tmp_path):
    done = run(*TINY, f"--run={tmp_path / 'run'}", *options)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "result.json").exists()


@pytest.fixture
def recordings(tmp_path):
    folder = tmp_path / "sounds"
    folder.mkdir()
    draw = np.random.default_rng(0)
    for i in range(10):
        samples = 0.1 * draw.normal(size=3000)
        (folder / f"{i}.wav").write_bytes(wav_files.write(samples, rate=8000))
        (folder / f"{i}.txt").write_text("ab ba"[: 2 + i % 4].strip())
    return folder


@pytest.mark.slow
def test_recordings_of_ones_own_without_the_bad(recordings, tmp_path):
    (recordings / "3.wav").write_bytes(b"nothing")
    (recordings / "4.txt").write_text(" ")
    short = wav_files.write(np.zeros(150), rate=8000)
    (recordings / "5.wav").write_bytes(short)
    flags = [*TINY[:-4], f"--sounds={recordings}", f"--run={tmp_path / 'run'}"]
    done = run(*flags)
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
    assert "3.wav is not" in done.stderr and "--skip_bad" in done.stderr
    done = run(*flags, "--skip_bad")
    assert done.returncode == 0, done.stderr
    assert "3 recordings are bad, and left out; the first: " in done.stdout
    assert json.loads((tmp_path / "run" / "result.json").read_text())["skipped"] == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sounds=nowhere"], "nowhere does not exist"),
        (["--sounds=fsdd", "--data_dir=nowhere"], "fsdd_recordings.zip does not exist"),
        (["--sound_option=color=red"], "with a name among train_size, "),
        (["--sound_option=noise=loud"], "noise must be a number (float); got 'loud'"),
        (["--loss=ctc", "--halvings=6"], "`--loss=ctc` needs "),
        (["--loss=ctc", "--label_smoothing=0.1"], "`label_smoothing` must be 0 with CTC"),
        (["--model=rnn", "--attention=alibi"], "'alibi' does neither"),
        (["--model=rnn", "--pyramid=0", "--layers=2"], "Raise `pyramid`"),
    ],
    ids=lambda x: " ".join(x) if isinstance(x, list) else None,
)
def test_what_a_user_can_mend_ends_in_one_clear_line(arguments, message, tmp_path):
    done = run(*TINY, f"--run={tmp_path / 'run'}", *arguments)
    assert done.returncode != 0 and message in done.stderr, done.stderr
    assert "Traceback" not in done.stderr
