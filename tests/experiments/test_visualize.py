"""The script that writes the page, as a user runs it."""

import json
import re
import shutil

import jax
import pytest
from flax import nnx

from attention_jax.data.tokenizer import Tokenizer
from experiments.common import flags
from experiments.common.experiment import LivePage, PageFlags, Run
from experiments.translation import EXPERIMENT, live
from tests.experiments.test_translation import TINY
from tests.support import sealed_runs
from tests.support.scripts import script as run


def train(folder, *options):
    done = run("translation", *TINY, f"--run={folder}", *options)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    rnn = train(folder / "rnn", "--model=rnn", "--attention=additive", "--cross_attention=dot")
    # What the second run does not set must not come from the first.
    return rnn, train(folder / "transformer", "--kv_heads=1")


def data_of(path):
    text = path.read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    return json.loads(found[1])


@pytest.mark.slow
def test_a_page_of_one_run_lies_in_its_folder(runs):
    rnn, _ = runs
    done = run("visualize", f"--run={rnn}", "--text=3 4 5", "--text=7", "--alternatives=2")
    assert done.returncode == 0, done.stderr
    assert f"{rnn / 'explorer.html'}: 2 sentences" in done.stdout
    data = data_of(rnn / "explorer.html")
    assert [one["name"] for one in data["runs"]] == ["rnn"]
    (reading,) = data["sentences"][0]["readings"]
    assert reading["source"][-1] == "<eos>" and len(reading["alternatives"]) == 2
    assert reading["maps"]["cross"]["shape"][:2] == [1, 1] and set(reading["maps"]) == {"cross"}


@pytest.mark.slow
def test_two_runs_read_the_same_file(runs, tmp_path):
    rnn, transformer = runs
    (tmp_path / "sentences.txt").write_text("3 4 5\n\n7 8\n")
    output = tmp_path / "new" / "both.html"
    done = run(
        "visualize",
        f"--run={rnn}",
        f"--other_run={transformer}",
        f"--file={tmp_path / 'sentences.txt'}",
        f"--output={output}",
    )
    assert done.returncode == 0, done.stderr
    data = data_of(output)
    assert [one["about"] for one in data["runs"]] == [
        "rnn, attention additive",
        "transformer, attention scaled_dot",
    ]
    assert [sentence["text"] for sentence in data["sentences"]] == ["3 4 5", "7 8"]
    for sentence in data["sentences"]:
        first, second = sentence["readings"]
        assert first["source"] == second["source"]
        assert set(second["maps"]) == {"encoder", "decoder", "cross"}
        assert second["maps"]["encoder"]["shape"][:2] == [1, 2]
        assert all(all(row) for one in second["maps"].values() for row in one["exact"])


@pytest.mark.slow
def test_a_live_page_holds_the_models_and_their_checkpoints(runs, tmp_path):
    rnn, transformer = runs
    output = tmp_path / "live.html"
    own = f"--run={transformer}", f"--other_run={rnn}", "--text=3 4 5", f"--output={output}"
    done = run("visualize", "--live", *own)
    assert done.returncode == 0, done.stderr
    data = data_of(output)
    assert data["name"] == "transformer" and data["examples"] == ["3 4 5"]
    assert data["model"]["decoder"]["kind"] == "transformer" and data["reasons"] == []
    assert [one["about"] for one in data["others"]] == ["rnn, attention additive"]
    assert data["others"][0]["model"]["decoder"]["kind"] == "rnn" and data["checkpoints"] == []
    done = run("visualize", "--live", "--replay", *own)
    kept = len(list((transformer / "checkpoints").glob("step_*")))
    if kept < 2:
        assert f"needs at least two checkpoints; {transformer} has kept {kept}" in done.stderr
    else:
        steps = [one["step"] for one in data_of(output)["checkpoints"]]
        assert len(steps) == kept and steps == sorted(steps)


@pytest.mark.slow
def test_a_model_that_the_page_cannot_compute_has_recorded_maps(tmp_path):
    config = flags.replace(EXPERIMENT.config, attention="linformer", width=8, heads=2, layers=1)
    known = Tokenizer.learn(["3 4 5"], kind="word")
    build = EXPERIMENT.build(config, known)
    graph, params = nnx.split(build(jax.random.key(0)))
    own = Run(EXPERIMENT, config, tmp_path, known, graph, nnx.as_pure(params))
    page = EXPERIMENT.page.live(LivePage(own, PageFlags(text=("3 4 5",), alternatives=1)))
    (tmp_path / "live.html").write_text(page)
    data = data_of(tmp_path / "live.html")
    assert data["model"] is None and ["attention", "linformer"] in data["reasons"]
    (one,) = data["recorded"]
    assert one["text"] == "3 4 5" and one["reading"]["source"][-1] == "<eos>"
    assert one["reading"]["maps"]["cross"]
    with pytest.raises(ValueError, match="must have a model that the page can compute"):
        live.beside(own)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--replay", "--run=x"], "`--replay` goes with --live"),
        (["--run=x", "--other_run=y", "--other_run=z"], "may be repeated with --live alone; got 2"),
        (["--live", "--pretrained=x"], "`--live` needs a run that was trained here"),
        ([], "`--run` or `--pretrained` must name"),
        (["--run=nowhere", "--text=a"], "nowhere holds no run.flags"),
    ],
)
def test_what_is_no_run_ends_in_one_clear_line(arguments, message):
    done = run("visualize", *arguments)
    assert done.returncode == 1 and done.stderr.startswith("error: ")
    assert message in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--run=RUN"], "`--text` or `--file` must hold a sentence"),
        (["--run=RUN", "--text= "], "`--text` must hold at least one token; got ' '"),
        (["--run=RUN", "--file=none.txt"], "`--file` must name a file; none.txt does not exist"),
        (["--run=RUN", "--other_run=nowhere", "--text=3"], "nowhere holds no run.flags"),
        (["--run=RUN", "--text=3", "--nbest=2"], "`--nbest` does not go with this page"),
        (["--run=RUN", "--other_run=TASK", "--text=3"], "must be of the task of `--run`"),
        (["--run=RUN", "--other_run=WORDS", "--text=3"], "must have the vocabulary of `--run`"),
    ],
)
def test_what_a_user_can_mend_ends_in_one_clear_line(runs, arguments, message, tmp_path):
    # Copies of a run with another task and another vocabulary.
    other = {"RUN": runs[0], "TASK": tmp_path / "task", "WORDS": tmp_path / "words"}
    for name, change in (
        ("TASK", ("run.flags", "--task=copy", "--task=reverse")),
        ("WORDS", ("vocabulary.json", '"id"', '"id" ')),
    ):
        if any(name in argument for argument in arguments):
            copy_changed(runs[0], other[name], *change)
    for name, folder in other.items():
        arguments = [argument.replace(name, str(folder)) for argument in arguments]
    done = run("visualize", *arguments)
    assert done.returncode == 1 and done.stderr.startswith("error: ")
    assert message in done.stderr and done.stderr.count("\n") == 1


def copy_changed(folder, copy, name, before, after):
    shutil.copytree(folder, copy)
    text = (copy / name).read_text()
    assert before in text
    (copy / name).write_text(text.replace(before, after))
    sealed_runs.write_flags(copy, (copy / "run.flags").read_text())
    sealed_runs.write_record(copy)
