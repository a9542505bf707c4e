"""Each script as a user runs it: in a process of its own, from the command line."""

import json
import re
from functools import partial

import pytest

from attention_jax.data.tokenizer import Tokenizer
from attention_jax.data.types import Example, Task
from attention_jax.decoding.batched import Hypothesis
from attention_jax.nn import recurrent, transformer
from experiments.common import config as groups
from experiments.common import flags, run_folder
from experiments.translation import EXPERIMENT, predict
from experiments.translation import config as translation
from experiments.translation.config import MEASURES
from tests.support.scripts import script as run
from tests.support.scripts import validated

TINY = (
    "--task=copy --task_option=train_size=60 --task_option=test_size=8 --width=8 --heads=2 "
    "--layers=1 --feed_forward=8 --steps=2 --max_length=32 --tokens_per_batch=256 "
    "--evaluate_every=2 --evaluate_sentences=2 --checkpoint_every=1"
).split()
VARIANT = """
import jax.numpy as jnp
from attention_jax import from_score

def gaussian():
    return from_score(lambda params: lambda q, k: -jnp.sum((q - k) ** 2))
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "copy"
    file = folder.parent / "gaussian.py"
    file.write_text(VARIANT)
    done = run("translation", *TINY, f"--run={folder}", f"--attention_file={file}", "--samples=2")
    assert done.returncode == 0, done.stderr
    return folder, done


@pytest.mark.slow
def test_samples_are_the_first_of_validation(trained):
    """Two of them, at the one validation of two steps, with sources and references in order."""
    lines = [re.split(" +", line, maxsplit=1) for line in trained[1].stderr.splitlines()]
    shown = [line for line in lines if line[0] in ("source", "reference", "model")]
    assert [name for name, *_ in shown] == ["source", "reference", "model"] * 2
    config = flags.parse(EXPERIMENT.config, TINY)[0]
    wanted = [x for e in EXPERIMENT.load(config).validation[:2] for x in (e.source, *e.references)]
    given = [text for name, text in (line for line in shown if line[0] != "model")]
    assert given == wanted


def test_samples_are_among_the_sentences_that_are_translated():
    config = flags.replace(EXPERIMENT.config, samples=3, evaluate_sentences=2)
    with pytest.raises(ValueError, match="`--samples` must be at most --evaluate_sentences=2"):
        EXPERIMENT.validate(config, None, None, None)


def test_a_run_leaves_its_folder(trained):
    folder, done = trained
    assert "exact match" in done.stdout and "experiments.predict" in done.stdout
    for name in (
        "run.flags",
        "run.json",
        "environment.json",
        "metrics.jsonl",
        "vocabulary.json",
        "samples.txt",
        "gaussian.py",
        "curves.png",
        "attention_1.png",
    ):
        assert (folder / name).stat().st_size > 0, name
    assert validated(folder) == set(MEASURES)
    result = json.loads((folder / "result.json").read_text())
    assert result["steps"] == 2 and set(result["tests"]) == {"test", "longer"}


def test_a_run_in_use_is_kept(trained):
    folder, _ = trained
    before = (folder / "result.json").read_bytes()
    done = run("translation", *TINY, f"--run={folder}")
    assert done.returncode == 1 and "is in use" in done.stderr and "--resume" in done.stderr
    assert (folder / "result.json").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--attention_file=OWN", "--width=24"],
            "has --width=8, and this call --width=24. Give --flagfile=",
        ),
        (["--attention_file=OWN", "--kv_heads=1"], "has no such flag, and this call --kv_heads=1"),
        (["--width=8"], "has --attention=.*gaussian.py, and this call no such flag"),
        (["--attention_file=OTHER"], "must be as it was when the run began; .* differs from"),
    ],
)
def test_a_run_goes_on_with_its_own_flags_only(trained, tmp_path, arguments, message):
    folder, _ = trained
    other = tmp_path / "gaussian.py"
    other.write_text((folder / "gaussian.py").read_text() + "# changed\n")
    before = {path: path.read_bytes() for path in folder.glob("*.*") if path.is_file()}
    kept = str(folder / "gaussian.py")
    own = [x.replace("OTHER", str(other)).replace("OWN", kept) for x in arguments]
    done = run("translation", *TINY, f"--run={folder}", "--resume", *own)
    assert done.returncode == 1 and re.search(message, done.stderr), done.stderr
    assert {path: path.read_bytes() for path in folder.glob("*.*") if path.is_file()} == before


@pytest.mark.slow
def test_predict_gives_the_same_by_text_file_and_standard_input(trained, tmp_path):
    folder, _ = trained
    sentences = ["3 4 5", "", "7 8"]
    path = tmp_path / "sentences.txt"
    path.write_text("\n".join(sentences) + "\n")
    options = (f"--run={folder}", "--nbest=2", "--scores")
    by_file = run("predict", *options, f"--file={path}")
    assert by_file.returncode == 0, by_file.stderr
    by_input = run("predict", *options, stdin="\n".join(sentences) + "\n")
    rows = [line.split("\t") for line in by_file.stdout.splitlines()]
    assert by_input.stdout == by_file.stdout
    assert [row[0] for row in rows] == ["1", "2"] * 3  # the rank, of an empty sentence too
    assert rows[2] == ["1", "", "", ""] and rows[3] == ["2", "", "", ""]
    for rank, score, log_probability, text in rows[:2]:
        is_cut = f"line 1, translation {rank}: cut at" in by_file.stderr
        tokens = len(text.split()) + (not is_cut)
        assert float(score) == pytest.approx(float(log_probability) * 6 / (5 + tokens), abs=2e-4)
    path.write_text("7 8\n")
    by_text = run("predict", *options, "--text=7 8", f"--output={tmp_path / 'answers.txt'}")
    assert by_text.stdout == "" and by_text.returncode == 0
    answers = (tmp_path / "answers.txt").read_text().splitlines()
    assert answers == by_file.stdout.splitlines()[4:]


@pytest.mark.slow
def test_a_drawn_translation_depends_on_seed_and_sentence_alone(trained):
    folder, _ = trained
    options = (f"--run={folder}", "--sample", "--temperature=2", "--top_p=0.9", "--scores")
    together = run("predict", *options, stdin="7 8\n3 4 5\n").stdout.splitlines()
    assert run("predict", *options, "--text=3 4 5").stdout.splitlines() == together[1:]
    assert run("predict", *options, "--text=3 4 5", "--seed=1").stdout.splitlines() != together[1:]


@pytest.mark.slow
def test_options_hold_for_every_translation_and_its_token_scores_make_its_score(trained):
    options = ("--beam=3", "--nbest=2", "--prefix=3 4", "--min_length=4", "--no_repeat_ngram=2")
    shown = ("--repetition_penalty=1.2", "--length_form=power", "--scores", "--token_scores")
    done = run("predict", f"--run={trained[0]}", *options, *shown, stdin="7 8\n3 4 5\n")
    assert done.returncode == 0, done.stderr
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert [row[0] for row in rows] == ["1", "2", "1", "2"]
    for _, _, log_probability, text, each in rows:
        pairs = [pair.rpartition(":") for pair in each.split(" ")]
        words = [word for word, _, _ in pairs if word != "<eos>"]
        assert words[:2] == ["3", "4"] and len(words) >= 4
        assert len(set(zip(words, words[1:], strict=False))) == len(words) - 1
        assert [word for word in words if word != "<unk>"] == text.split()
        total = sum(float(score) for _, _, score in pairs)
        assert float(log_probability) == pytest.approx(total, abs=1e-4 * len(pairs))
    done = run("predict", f"--run={trained[0]}", "--beam=2", "--words=5 6,9", "--text=7 8")
    assert done.returncode == 0, done.stderr
    assert " 5 6 " in f" {done.stdout.strip()} " and "9" in done.stdout.split()
    covered = ("--beam=3", "--nbest=2", "--coverage_penalty=2", "--scores", "--text=7 8")
    done = run("predict", f"--run={trained[0]}", *covered)
    assert done.returncode == 0, done.stderr
    ranked = [float(line.split("\t")[1]) for line in done.stdout.splitlines()]
    assert len(ranked) == 2 and ranked == sorted(ranked, reverse=True)
    refused = run("predict", f"--run={trained[0]}", "--text=7 8", "--prefix=never")
    assert refused.returncode == 1 and refused.stderr.startswith("error: `--prefix` must be text")


def test_a_checkpoint_of_another_model_is_refused(trained):
    folder, _ = trained
    done = run("predict", f"--run={folder}", "--width=16", "--text=3")
    assert done.returncode == 1 and done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.slow
def test_models_of_pictures_read_no_sentences(trained):
    done = run("predict", f"--run={trained[0]}", "--model=cnn", "--text=3")
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "--model=cnn: value should be one of <transformer|rnn>" in done.stderr


@pytest.mark.slow
def test_a_run_says_where_scaled_dot_stands_in(trained, tmp_path):
    done = run("translation", *TINY, "--attention=retention", f"--run={tmp_path / 'run'}")
    assert done.returncode == 0, done.stderr
    told = "attention: retention in the decoder; scaled_dot in the encoder and between the two\n"
    assert told in done.stdout
    assert "scaled_dot" not in trained[1].stdout


@pytest.mark.parametrize(
    ("named", "line"),
    [
        ({"attention": "dot"}, None),
        ({"attention": "alibi", "cross_attention": "dot"}, None),
        ({"attention": "alibi"}, "alibi in the encoder and in the decoder; scaled_dot between"),
        ({"attention": "coverage"}, "coverage between the two; scaled_dot in the encoder and in"),
        ({"attention": "coverage", "cross_attention": "dot"}, "coverage nowhere; scaled_dot in"),
    ],
)
def test_nothing_stands_in_unsaid(named, line):
    config = transformer.TransformerConfig(vocabulary_size=8, **named)
    told = groups.attention_line(config)
    assert told is None if line is None else told.startswith(f"attention: {line}")
    assert groups.attention_line(recurrent.RNNConfig(vocabulary_size=8)) is None


def test_help_and_list_name_what_there_is():
    shown = run("translation", "--help").stdout
    assert "--task=spanish" in shown and "--[no]resume (off)" in shown
    # Groups have titles, and flags the names that the field calls them by.
    titles = [shown.index(f"\n{title}") for title in ("The model:", "The optimizer")]
    assert titles[0] < shown.index("--width=128") < titles[1]
    assert "Width of the model. Also --d_model, --hidden_size." in shown
    texts = shown.partition("Folder and seed")[2].splitlines()
    assert max(len(line) for line in texts if not line.startswith("  --")) <= 80
    listed = run("translation", "--list").stdout
    assert "spanish" in listed and "additive" in listed and "rnn" in listed


def test_predict_and_visualize_show_their_own_flags_and_those_of_decoding():
    for name, own in (("predict", "--text"), ("visualize", "--other_run")):
        shown = run(name, "--help").stdout
        assert own in shown and "--run" in shown and "--beam" in shown
        assert "--width" not in shown and "--task" not in shown


@pytest.mark.parametrize(
    ("script", "arguments", "message"),
    [
        ("translation", ["--task=cooking"], "should be one of"),
        ("translation", ["--atention=dot"], "Did you mean: attention"),
        ("translation", ["--attention=telepathy"], "must be one of"),
        ("translation", ["--task=parallel", "--task_option=tsv=none.tsv"], "none.tsv"),
        ("translation", ["--preset=multi30k_de_en"], "goes with --task=parallel"),
        ("translation", ["--temperature=2"], "--temperature goes with --sample"),
        ("translation", ["--seed=-1"], "flag --seed=-1: -1 is not an integer in the range"),
        ("translation", ["spanish"], "unexpected argument"),
        ("translation", ["--attention=alibbi"], "alibi"),
        ("translation", ["--attention=sliding_window(size=x)"], "must be a number, text in"),
        ("translation", ["--attention=mine.py:manhattan(p=2)"], "mine.py"),
        ("predict", ["--text=a"], "`--run` or `--pretrained` must name"),
        ("predict", ["--run=nowhere", "--text=a"], "nowhere holds no run.flags"),
    ],
)
def test_what_a_user_can_mend_ends_in_one_clear_line(script, arguments, message, tmp_path):
    if script == "translation":
        arguments = [f"--run={tmp_path / 'run'}", *arguments]
    done = run(script, *arguments)
    assert done.returncode != 0
    assert message in done.stderr + done.stdout
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists(), "a folder was made for what is refused"


@pytest.mark.parametrize(
    ("script", "measure"),
    [
        ("translation", "cer"),
        ("speech", "bleu"),
        ("images", "exact_match"),
        ("language", "chrf"),
        ("memory", "perplexity"),
    ],
)
def test_a_script_selects_by_what_it_validates(script, measure, tmp_path):
    done = run(script, f"--select={measure}", f"--run={tmp_path / 'run'}")
    assert done.returncode == 1 and not (tmp_path / "run").exists()
    assert f"--select={measure}: value should be one of <loss|" in done.stderr + done.stdout


@pytest.mark.parametrize(
    ("target", "message"),
    [("ein Hund\n", "equally many lines"), ("ein Hund\n\n", "empty"), (None, "target.txt")],
)
def test_files_that_do_not_fit_end_in_one_clear_line(target, message, tmp_path):
    (tmp_path / "source.txt").write_text("a dog\na cat\n")
    if target is not None:
        (tmp_path / "target.txt").write_text(target)
    files = [f"--task_option={side}={tmp_path / side}.txt" for side in ("source", "target")]
    done = run("translation", "--task=parallel", *files, f"--run={tmp_path / 'run'}")
    assert done.returncode == 1 and message in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


def test_the_data_are_told_in_numbers():
    train = [Example("the cat sleeps", ("x",)), Example("a dog", ("y",))]
    task = Task(
        "t",
        train,
        [Example("The cat sleeps!", ("x",))],
        {"test": [Example("a owl", ("z",))]},
        "word",
    )
    own = EXPERIMENT.config
    vocabulary = translation.learn(own, task, None)
    lines = list(translation.notes(own, task, vocabulary))
    assert lines[0] == "pairs: 2 of training, 1 of validation, 1 of test"
    assert lines[1].endswith("unknown: 50.00% of validation, 50.00% of test")
    assert lines[2].startswith("1 of 1 sources of validation are in training too, but for case")
    assert len(lines) == 3


def test_runs_without_a_version_leave_text_as_it_is():
    old, new = run_folder.Record(0, "translation"), run_folder.Record(1, "translation")
    assert run_folder.as_begun(EXPERIMENT.config, old).data.unicode == "none"
    assert run_folder.as_begun(EXPERIMENT.config, new).data.unicode == "nfc"


def test_what_was_never_seen_is_named(capsys):
    tokenizer = Tokenizer.learn(["el pez"], kind="word")

    def translate(texts):
        return [[Hypothesis("fish", (5, 6), -1.0, -1.0, True)] for _ in texts]

    show = partial(predict.shown, nbest=1, scores=False, ranked=False)
    found = list(predict.lines(translate, ["el pez", "", "xyz pez xyz"], show, tokenizer.unknown))
    assert found == ["fish", "", "fish"]
    said = capsys.readouterr().err.splitlines()
    assert said == [
        "line 1, translation 1: cut at 2 tokens, before its end",
        "line 3: never seen in training: 'xyz'",
        "line 3, translation 1: cut at 2 tokens, before its end",
    ]


@pytest.mark.slow
def test_a_run_records_what_was_left_out(tmp_path):
    path = tmp_path / "pairs.csv"
    rows = [f'"say ""{i}"", {i}",di {i}\n' for i in range(60)]
    long = f"{'word ' * 40},palabra\n"
    path.write_text("".join(["en,es\n", *rows, rows[3], ",x\n", long]))
    arguments = [x for x in TINY if "--task" not in x]
    done = run(
        "translation",
        *(*arguments, "--task=parallel", f"--pairs={path}", "--fields=en,es", "--tokenizer=word"),
        *("--skip_empty", "--drop_duplicates", f"--run={tmp_path / 'run'}"),
        *("--task_option=held_out_percent=20",),
    )
    assert done.returncode == 0, done.stderr
    assert "left out: duplicates: 1; empty: 1" in done.stdout
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    too_long = {"of training, longer than --max_length": 1}
    assert record["left_out"] == {"duplicates": 1, "empty": 1} | too_long
