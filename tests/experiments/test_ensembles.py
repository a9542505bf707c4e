"""Several runs that translate as one."""

import math
import tarfile
from pathlib import Path

import pytest
from flax import nnx

from attention_jax.decoding import Ensemble
from experiments.common import ensembles
from experiments.common.experiment import PredictFlags
from experiments.common.load_run import load_run
from tests.experiments.test_predict_options import EXPERIMENT, LANGUAGE, run_of

OLD = Path(__file__).parent / "version_0"


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """Folders of runs that have a vocabulary and no model."""
    kinds = {"a": EXPERIMENT, "b": EXPERIMENT, "other": EXPERIMENT, "text": LANGUAGE}
    for name in kinds:
        (tmp_path / name).mkdir()
        (tmp_path / name / "vocabulary.json").write_text("other" if name == "other" else "same")

    def load(folder, arguments, *, beside):
        assert arguments == ["--beam=3", f"--run={folder}"]
        return run_of(kinds[folder.name])._replace(folder=folder)

    monkeypatch.setattr(ensembles, "load_run", load)
    monkeypatch.setattr(ensembles, "run_folder_of", lambda name, member: Path(name))
    return tmp_path


def test_one_run_is_itself_even_where_its_name_has_a_comma(folders):
    run = ensembles.load_runs(str(folders / "a"), ["--beam=3"])
    assert run.folder == folders / "a" and not run.params
    (folders / "x,y").mkdir()
    assert ensembles._names(str(folders / "x,y")) == [str(folders / "x,y")]
    assert ensembles._names("x, y") == ["x", "y"]


@pytest.mark.parametrize(
    "second, message",
    [
        ("other", "`--run` must name runs of one vocabulary; those of .*a and .*other differ. Tr"),
        ("text", "`--run` may name several runs of experiments.translation alone; .*text is of"),
    ],
)
def test_runs_that_do_not_go_together_are_refused(folders, second, message):
    with pytest.raises(ValueError, match=message) as caught:
        ensembles.load_runs(f"{folders / 'a'},{folders / second}", ["--beam=3"])
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_two_architectures_translate_as_one(tmp_path):
    """Each token of a prefix has the mean of the probabilities that the two give it."""
    for name in ("translation_rnn", "translation_transformer"):
        with tarfile.open(OLD / f"{name}.tar.xz") as archive:
            archive.extractall(tmp_path, filter="data")
    names = [str(tmp_path / name) for name in ("translation_rnn", "translation_transformer")]
    run = ensembles.load_runs(",".join(names), ["--beam=3", f"--run={','.join(names)}"])
    assert isinstance(nnx.merge(run.graphdef, run.params), Ensemble)
    given = PredictFlags(text="5 7", prefix="6 3 4", scores=True, token_scores=True)

    def shares(own) -> list[float]:
        (line,) = own.experiment.predict(own, given)
        pairs = [pair.rpartition(":") for pair in line.split("\t")[-1].split(" ")]
        assert [label for label, _, _ in pairs[:3]] == ["6", "3", "4"]
        return [math.exp(float(score)) for _, _, score in pairs[:3]]

    first, second = (shares(load_run(name, ["--beam=3"])) for name in names)
    for ours, one, other in zip(shares(run), first, second, strict=True):
        assert ours == pytest.approx((one + other) / 2, abs=1e-3)


def test_a_name_that_no_file_system_takes_is_refused():
    with pytest.raises(ValueError, match="`--run` must be the folder of a run; a+ holds no run"):
        ensembles.load_runs(300 * "a", [])
