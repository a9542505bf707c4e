"""A tokenizer that is given as a file: the run's own copy serves, and must be what it was."""

import json
import shutil

import pytest
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from attention_jax.core.files import content_hash
from attention_jax.data.types import Example, Task
from experiments.common import experiment, flags, run_folder
from experiments.common.load_run import load_run
from experiments.common.vocabularies import VOCABULARY
from tests.support.scripts import script as run

TRANSLATION, LANGUAGE = map(experiment.find, ("translation", "language"))
TEXT = "".join(f"{i} and {i + 1} make {2 * i + 1}.\n" for i in range(60))
TASK = Task("own", [Example("1 and 2", ("make 3.",))], [], {}, "bpe")


def made(path, *, size=300, special=("[MASK]", "<s>", "</s>", "<pad>", "<unk>")):
    """A byte-level tokenizer, as Hugging Face's library writes it."""
    own = tokenizers.Tokenizer(models.BPE())
    own.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    own.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    how = {"vocab_size": size, "initial_alphabet": alphabet, "special_tokens": list(special)}
    own.train_from_iterator(TEXT.splitlines(), trainers.BpeTrainer(**how))
    own.save(str(path))
    return own


def begun(folder, **changes):
    """The folder of a translation that was accepted, with its configuration."""
    config = flags.replace(TRANSLATION.config, run=str(folder), **changes)
    run_folder.accept(TRANSLATION, config, TRANSLATION.learn(config, TASK, None), folder)
    return flags.replace(config, resume=True)


def test_a_run_has_a_copy_that_outlives_the_file_and_moves_with_it(tmp_path):
    peer = made(tmp_path / "own.json")
    config = begun(tmp_path / "run", tokenizer_file=str(tmp_path / "own.json"))
    shutil.move(tmp_path / "run", tmp_path / "elsewhere")
    (tmp_path / "own.json").unlink()
    folder = tmp_path / "elsewhere"
    known = TRANSLATION.recall(config, folder)
    assert [known.tokens([i])[0] for i in known.encode("7 and 8")] == peer.encode("7 and 8").tokens
    assert known.decode(known.encode("7 and 8")) == "7 and 8"
    assert TRANSLATION.learn(config, TASK, folder).to_text() == known.to_text()
    with pytest.raises(FileNotFoundError, match=r"`tokenizer_file` must name .*own\.json does not"):
        TRANSLATION.learn(config, TASK, None)


def test_the_copy_is_sealed(tmp_path):
    made(tmp_path / "own.json")
    folder = tmp_path / "run"
    begun(folder, tokenizer_file=str(tmp_path / "own.json"))
    kept = folder / VOCABULARY
    known = json.loads((folder / "run.json").read_text())["known"]
    assert known == {VOCABULARY: content_hash(kept.read_bytes())}
    kept.write_text(kept.read_text().replace('"lowercase": false', '"lowercase": true'))
    with pytest.raises(ValueError, match=rf"{VOCABULARY} was changed since \(its checksum differs"):
        load_run(folder)


def test_a_changed_file_is_refused_by_name(tmp_path):
    file, folder = tmp_path / "own.json", tmp_path / "run"
    made(file)
    config = begun(folder, tokenizer_file=str(file))
    moved = flags.replace(config, tokenizer_file=str(file.rename(tmp_path / "moved.json")))
    assert TRANSLATION.learn(moved, TASK, folder).is_given
    made(file, size=280)
    with pytest.raises(ValueError) as error:
        TRANSLATION.learn(config, TASK, folder)
    said = f"`--tokenizer_file` must be as it was when the run began; {file} differs from {folder}"
    assert str(error.value).startswith(said)
    without = flags.replace(config, tokenizer_file=None)
    with pytest.raises(ValueError, match=rf"Add --tokenizer_file={folder}/{VOCABULARY}\."):
        TRANSLATION.learn(without, TASK, folder)
    own = flags.replace(config, tokenizer_file=str(folder / VOCABULARY))
    assert TRANSLATION.learn(own, TASK, folder).is_given
    learned = tmp_path / "learned"
    begun(learned)
    with pytest.raises(ValueError, match="must be as it was when the run began"):
        TRANSLATION.learn(config, TASK, learned)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tokenizer": "bpe"}, "--tokenizer=bpe beside --tokenizer_file=.* Leave one of the two"),
        ({"vocabulary_size": 9}, "`--vocabulary_size` is of a vocabulary that is learned"),
        ({"tokenizer_file": None, "special_tokens": ("a",)}, "goes with --tokenizer_file; got a"),
        ({"special_tokens": ("a", "b")}, "`special_tokens` must be four names"),
        ({"tokenizer_file": "none.json"}, "`tokenizer_file` must name a tokenizer; none.json does"),
    ],
)
def test_flags_that_contradict_each_other_are_refused(tmp_path, changes, message):
    made(tmp_path / "own.json")
    own = {"tokenizer_file": str(tmp_path / "own.json"), "task": "reverse"} | changes
    own["task_option"] = ("train_size=60", "test_size=4", "validation_size=4")
    config = flags.replace(TRANSLATION.config, **own)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        TRANSLATION.learn(config, TRANSLATION.load(config), None)


def test_a_text_is_cut_into_its_tokens(tmp_path):
    peer = made(tmp_path / "own.json", special=("<pad>", "<s>", "</s>", "<unk>"))
    (tmp_path / "text.txt").write_text(TEXT)
    given = {"tokenizer_file": str(tmp_path / "own.json"), "text_file": str(tmp_path / "text.txt")}
    config = flags.replace(LANGUAGE.config, context=8, **given)
    found = LANGUAGE.load(config)
    cut = int(0.9 * len(TEXT))
    # Its special tokens stand where they must, so that the ids are the same.
    assert found.training.tolist() == peer.encode(TEXT[:cut]).ids
    assert found.validation.tolist() == peer.encode(TEXT[cut:]).ids
    with pytest.raises(ValueError, match=r"more than --context=900 tokens in each .* in all"):
        LANGUAGE.load(flags.replace(config, context=900))
    folder = tmp_path / "run"
    run_folder.accept(LANGUAGE, config, LANGUAGE.learn(config, found, None), folder)
    made(tmp_path / "own.json", size=280)
    with pytest.raises(ValueError, match=r"`--tokenizer_file` must be as it was"):
        LANGUAGE.load(flags.replace(config, run=str(folder), resume=True))
    (tmp_path / "own.json").unlink()
    again = LANGUAGE.load(flags.replace(config, run=str(folder), resume=True))
    assert LANGUAGE.hashes(again) == LANGUAGE.hashes(found)


TINY = (
    "--width=8 --heads=2 --layers=1 --feed_forward=8 --steps=1 --evaluate_every=2 "
    "--checkpoint_every=1"
).split()
REVERSE = (
    "--task=reverse --task_option=vocabulary=8 --task_option=train_size=60 "
    "--task_option=validation_size=4 --task_option=test_size=4 --task_option=max_length=4 "
    "--task_option=longer_length=5 --max_length=16 --tokens_per_batch=128 --evaluate_sentences=2"
).split()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["translation", "language"])
def test_a_run_trains_predicts_and_goes_on_without_the_file(tmp_path, kind):
    file, folder, moved = tmp_path / "own.json", tmp_path / "run", tmp_path / "moved"
    made(file)
    (tmp_path / "text.txt").write_text(TEXT)
    own = {
        "translation": REVERSE,
        "language": [f"--text_file={tmp_path / 'text.txt'}", "--context=8", "--characters=9"],
    }[kind]
    done = run(kind, *own, *TINY, f"--tokenizer_file={file}", f"--run={folder}")
    assert done.returncode == 0, done.stderr
    assert "made elsewhere" in done.stdout or "nats a token" in done.stdout
    first = run("predict", f"--run={folder}", "--text=3 4")
    assert first.returncode == 0, first.stderr
    file.unlink()
    folder.rename(moved)
    assert run("predict", f"--run={moved}", "--text=3 4").stdout == first.stdout
    if kind == "translation":
        page = run("visualize", f"--run={moved}", "--text=3 4", f"--output={tmp_path / 'x.html'}")
        assert page.returncode == 0, page.stderr
    again = (f"--flagfile={moved / 'run.flags'}", f"--run={moved}", "--resume", "--steps=2")
    made(file, size=280)
    refused = run(kind, *again)
    assert refused.returncode == 1 and "`--tokenizer_file` must be as it was" in refused.stderr
    assert refused.stderr.count("\n") == 1
    file.unlink()
    done = run(kind, *again)
    assert done.returncode == 0, done.stderr
    assert json.loads((moved / "result.json").read_text())["steps"] == 2
