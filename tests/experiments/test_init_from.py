"""Training that begins with weights that are there: of models of other libraries, and of runs."""

import json
import shutil

import jax
import numpy as np
import pytest
from flax import nnx

from attention_jax import pretrained
from attention_jax.data.text_windows import AllWindows
from attention_jax.training import objectives
from attention_jax.training.evaluate import loss_evaluator
from experiments.common import as_pretrained, first_weights, flags, initial
from experiments.common.experiment import PredictFlags, find
from experiments.common.load_run import load_run
from experiments.common.pretrained_runs import load_pretrained
from experiments.common.train import train
from experiments.language import evaluate
from tests.support import pretrained_folders
from tests.support.checkpoints import gpt2, small

TEXT = "".join(f"{i} and {i + 1} make {2 * i + 1}.\n" for i in range(60))
TINY = "--context=16 --characters=8 --steps=2 --checkpoint_every=1 --evaluate_every=1 --samples=0"
TINY += " --nosample --schedule=constant --warmup_steps=0"
SIZES = ["--width=8", "--heads=2", "--layers=1", "--feed_forward=8"]


def go(name, *arguments):
    """Trains as a command does, and gives the run."""
    experiment = find(name)
    config, _ = flags.parse(experiment.config, arguments)
    return load_run(train(experiment, config))


def refusal(name, *arguments):
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        go(name, *arguments)
    said = str(error.value)
    assert "\n" not in said
    return said


def leaves(params):
    found = jax.tree_util.tree_leaves_with_path(params)
    return {jax.tree_util.keystr(path): np.asarray(x) for path, x in found}


def same(a, b):
    a, b = leaves(a), leaves(b)
    return {name: np.array_equal(a[name], b[name]) for name in a.keys() | b.keys()}


def write(text, run):
    given = PredictFlags(text=text)
    return list(run.experiment.predict(run, given))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a small GPT-2, `model`, and a text to train it on."""
    folder = tmp_path_factory.mktemp("place")
    (folder / "sums.txt").write_text(TEXT)
    small("gpt2", gpt2, [TEXT], folder)
    return folder


@pytest.fixture(scope="module")
def language(place):
    """The arguments of a run that trains on the text."""
    return [*TINY.split(), f"--text_file={place / 'sums.txt'}"]


@pytest.fixture(scope="module")
def tuned(place, language):
    """A run that began with the GPT-2, which is gone when it has ended."""
    shutil.copytree(place / "model", place / "gone")
    own = [f"--init_from={place / 'gone'}", f"--run={place / 'tuned'}", "--freeze=embedding/"]
    run = go("language", *language, *own, "--learning_rate=0.01", "--seed=3")
    shutil.rmtree(place / "gone")
    return run


def test_what_is_frozen_stays_and_the_rest_moves(place, tuned):
    found = same(tuned.params, pretrained.load(place / "model").params)
    assert {name for name, still in found.items() if still} == {
        "['embedding']['learned']['embedding']",
        "['embedding']['table']['embedding']",
    }
    assert len(found) > 10


def test_a_run_is_whole_without_the_place_that_it_began_with(tuned, tmp_path):
    assert not (tuned.folder.parent / "gone").exists()
    moved = shutil.copytree(tuned.folder, tmp_path / "moved")
    run = load_run(moved)
    assert run.config.init.init_from == str(moved / initial.FILE)
    assert all(same(run.params, tuned.params).values())
    assert write("1 and", run) == write("1 and", tuned)
    text = run.tokenizer.decode(run.tokenizer.encode("12 make"))
    assert text == "12 make"


def test_a_run_goes_back_to_the_library_that_it_came_from(tuned, tmp_path):
    said = as_pretrained.write(tuned, tmp_path / "back", None)
    assert "model.safetensors: gpt2" in said
    how = ["--nosample", "--characters=8", "--nostop_at_end"]
    again = load_pretrained(tmp_path / "back", how, member="predict")
    assert all(same(again.params, tuned.params).values())
    assert write("1 and", again) == write("1 and", tuned)
    with pytest.raises(ValueError, match="`--family` must be that with which .* began, gpt2"):
        as_pretrained.write(tuned, tmp_path / "other", "llama")


def test_the_first_loss_is_that_of_the_model(place, language, tmp_path):
    """Of a step that moves nothing; against the model as it is loaded."""
    own = [f"--init_from={place / 'model'}", f"--run={tmp_path / 'run'}"]
    run = go("language", *language, *own, "--learning_rate=0", "--steps=1")
    loaded = pretrained.load(place / "model")
    ids = np.asarray(loaded.tokenizer.encode(TEXT[int(0.9 * len(TEXT)) :]), np.int32)
    windows = AllWindows(ids, rows=evaluate.VALIDATION_ROWS, length=16)
    want = loss_evaluator(loaded.graphdef, objectives.next_token)(loaded.params, windows)
    rows = map(json.loads, (run.folder / "metrics.jsonl").read_text().splitlines())
    (got,) = [row["loss"] for row in rows if row["split"] == "validation"]
    np.testing.assert_allclose(got, want["loss"], rtol=1e-6)
    assert all(same(run.params, loaded.params).values())


def test_no_steps_score_the_weights_as_they_are(place, language, tmp_path):
    """Against the loss of the model as it is loaded; its one row of the log is that of step 0."""
    own = [x for x in language if not x.startswith("--steps")] + ["--steps=0"]
    run = go("language", *own, f"--init_from={place / 'model'}", f"--run={tmp_path / 'run'}")
    loaded = pretrained.load(place / "model")
    assert all(same(run.params, loaded.params).values())
    result = json.loads((run.folder / "result.json").read_text())
    assert result["steps"] == 0 and result["target_tokens"] == 0
    ids = np.asarray(loaded.tokenizer.encode(TEXT[int(0.9 * len(TEXT)) :]), np.int32)
    windows = AllWindows(ids, rows=evaluate.VALIDATION_ROWS, length=16)
    want = loss_evaluator(loaded.graphdef, objectives.next_token)(loaded.params, windows)
    assert result["tests"]["validation"]["loss"] == pytest.approx(want["loss"], rel=1e-6)
    (row,) = map(json.loads, (run.folder / "metrics.jsonl").read_text().splitlines())
    assert (row["step"], row["split"]) == (0, "validation")
    assert row["loss"] == pytest.approx(want["loss"], rel=1e-6)
    got = refusal("language", *own, f"--run={tmp_path / 'new'}")
    assert got.startswith("`--steps` must be at least 1") and "name weights to score" in got
    assert not (tmp_path / "new").exists()


def test_flags_that_the_weights_contradict_are_refused(place, language, tuned, tmp_path):
    model, run = place / "model", tuned.folder
    new = [*language, f"--run={tmp_path / 'new'}"]
    for source in (model, run):
        for flag in ("--width=64", "--layers=3", "--attention=alibi", "--norm_kind=rms"):
            name = flag.partition("=")[0]
            got = refusal("language", *new, f"--init_from={source}", flag)
            assert got.startswith(f"`{name}` is that of --init_from={source}; got {flag}.")
        got = refusal("language", *new, f"--init_from={source}", "--tokenizer_file=x.json")
        assert "`--tokenizer_file` does not go with --init_from" in got and "x.json" in got
    got = refusal("language", *new, f"--init_from={model}", "--context=25")
    assert "`--context` must be at most 24" in got
    got = refusal("language", *new, f"--init_from={tmp_path / 'none'}")
    assert got.startswith("`--init_from` must name the folder of a run, or a model")
    got = refusal("translation", f"--init_from={model}", f"--run={tmp_path / 'new'}")
    assert f"experiments.translation can train; {model} is a gpt2 model" in got
    got = refusal("translation", f"--init_from={run}", f"--run={tmp_path / 'new'}")
    assert f"must be a run of experiments.translation; {run} is of experiments.language" in got
    got = refusal("language", *new, f"--init_from={model}", "--freeze=embeding")
    assert "occurs in none of" in got and "embedding" in got
    assert not (tmp_path / "new").exists()


def test_tokens_that_are_never_written_forbid_smoothing(place, language, tmp_path):
    words = shutil.copytree(place / "model", tmp_path / "model")
    file = words / "tokenizer.json"
    content = file.read_text()
    (padding,) = [x["content"] for x in json.loads(content)["added_tokens"] if x["id"] == 0]
    file.write_text(content.replace(json.dumps(padding), '"not padding"'))
    assert initial.given_outline(str(words)).order.silent
    own = [f"--init_from={words}", f"--run={tmp_path / 'new'}", "--label_smoothing=0.1"]
    assert "`--label_smoothing` must be 0" in refusal("language", *language, *own)


@pytest.fixture(scope="module")
def low_rank_run(place, language):
    own = [f"--init_from={place / 'model'}", "--lora_rank=2", "--lora_alpha=8"]
    return go("language", *language, *own, "--learning_rate=0.05", f"--run={place / 'lora'}")


def test_adapters_move_queries_and_values_by_two_ranks(place, low_rank_run):
    before, after = (
        leaves(params) for params in (pretrained.load(place / "model").params, low_rank_run.params)
    )
    assert before.keys() == after.keys()
    ranks = {
        name: np.linalg.matrix_rank(after[name] - before[name], tol=1e-5)
        for name in before
        if not np.array_equal(before[name], after[name])
    }
    assert len(ranks) == 2 and set(ranks.values()) == {2}
    assert all("['query']['kernel']" in x or "['value']['kernel']" in x for x in ranks)


@pytest.mark.slow
def test_a_run_of_adapters_goes_on_and_is_read_before_its_end(place, language, low_rank_run):
    own = [*language, f"--init_from={place / 'model'}", "--lora_rank=2", "--lora_alpha=8"]
    own += ["--learning_rate=0.05", f"--run={place / 'cut'}"]
    go("language", *own, "--steps=1")
    again = go("language", *own, "--resume")
    assert all(same(again.params, low_rank_run.params).values())
    shutil.rmtree(again.folder / "final")
    unfinished = load_run(again.folder)
    assert all(same(unfinished.params, again.params).values())


def test_flags_of_adapters_go_together(language, tmp_path):
    new = [*language, f"--run={tmp_path / 'new'}"]
    assert refusal("language", *new, "--lora_rank=2").startswith("`--lora_rank` goes with --init")
    assert "`--lora_alpha` goes with --lora_rank" in refusal("language", *new, "--lora_alpha=2")


@pytest.mark.slow
def test_a_run_goes_on_to_the_same_end_without_the_place(place, language, tmp_path):
    model = shutil.copytree(place / "model", tmp_path / "model")
    own = [*language, f"--init_from={model}", "--learning_rate=0.01", "--freeze=bias"]
    whole = go("language", *own, f"--run={tmp_path / 'whole'}")
    go("language", *own, f"--run={tmp_path / 'cut'}", "--steps=1")
    other = f"--init_from={place / 'model'}"
    got = refusal("language", *own, other, f"--run={tmp_path / 'cut'}", "--resume")
    assert "`--init_from` must be as it was when the run began" in got
    shutil.rmtree(model)
    again = go("language", *own, f"--run={tmp_path / 'cut'}", "--resume")
    assert all(same(again.params, whole.params).values())
    without = [x for x in own if not x.startswith("--init_from")]
    got = refusal("language", *without, f"--run={again.folder}", "--resume")
    assert "`--init_from` must be as it was" in got and "this call has none" in got


@pytest.mark.slow
def test_a_run_that_was_killed_early_reads_the_same_weights_again(place, language, tmp_path):
    model = shutil.copytree(place / "model", tmp_path / "model")
    own = [*language, f"--init_from={model}", "--learning_rate=0.01"]
    whole = go("language", *own, f"--run={tmp_path / 'whole'}")
    for name in ("early", "other"):
        cut = shutil.copytree(whole.folder, tmp_path / name)
        for lost in ("checkpoints", "final"):
            shutil.rmtree(cut / lost)
        (cut / "metrics.jsonl").unlink()
    flagfile = f"--flagfile={tmp_path / 'early' / 'run.flags'}"
    again = go("language", flagfile, f"--run={tmp_path / 'early'}", "--resume")
    assert all(same(again.params, whole.params).values())
    loaded = pretrained.load(model)
    shutil.rmtree(model)
    changed = jax.tree.map(lambda x: x + 1, loaded.params)
    pretrained.save(loaded._replace(params=changed), model)
    got = refusal("language", *own, f"--run={tmp_path / 'other'}", "--resume")
    assert "the contents of init_from have changed" in got


@pytest.mark.slow
def test_runs_go_on_from_runs_with_their_sizes_and_tokens(place, language, tmp_path):
    """The second in line is of the first's model, whose text and context the third has too."""
    own = [x for x in language if not x.startswith("--context")]
    first = go("language", *own, *SIZES, "--context=12", f"--run={tmp_path / 'first'}")
    assert first.config.data.context == 12
    (tmp_path / "other.txt").write_text(TEXT.replace("make", "mark"))
    still = [*own, f"--text_file={tmp_path / 'other.txt'}", "--learning_rate=0"]
    second = go("language", *still, f"--init_from={first.folder}", f"--run={tmp_path / 'second'}")
    assert second.config.data.context == 12 and second.config.model.width == 8
    assert all(same(second.params, first.params).values())
    third = go("language", *still, f"--init_from={second.folder}", f"--run={tmp_path / 'third'}")
    shutil.rmtree(first.folder)
    assert all(same(load_run(third.folder).params, second.params).values())
    assert third.tokenizer.to_text() == first.tokenizer.to_text()


@pytest.mark.slow
def test_a_translation_model_is_trained_on(tmp_path):
    pretrained_folders.marian(tmp_path)
    task = "--task=reverse --task_option=vocabulary=8 --task_option=train_size=60 --task_option="
    task += "validation_size=4 --task_option=test_size=4 --task_option=max_length=6 --steps=2 "
    task += "--max_length=16 --tokens_per_batch=128 --evaluate_sentences=2 --freeze=^encoder/"
    own = [*task.split(), f"--init_from={tmp_path / 'model'}", "--learning_rate=0.01"]
    run = go("translation", *own, f"--run={tmp_path / 'run'}")
    loaded = pretrained.load(tmp_path / "model")
    shutil.rmtree(tmp_path / "model")
    again = load_run(run.folder, ["--beam=2"])
    found = same(again.params, loaded.params)
    assert all(still == ("['encoder']" in name[:11]) for name, still in found.items()), found
    assert len(list(again.experiment.predict(again, PredictFlags(text="a b c")))) == 1
    config, _ = flags.parse(again.experiment.config, own[:-2])
    config = first_weights.resolved(
        again.experiment, flags.replace(config, init_from=str(run.folder))
    )
    build = again.experiment.build(config, again.tokenizer)
    assert nnx.graphdef(nnx.eval_shape(lambda: build(jax.random.key(0)))) == again.graphdef
