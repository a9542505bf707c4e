"""experiments.images as a user runs it: in a process of its own, from the command line."""

import json
import shutil

import numpy as np
import pytest
from flax import nnx
from PIL import Image

from attention_jax.analysis import image_attribution
from attention_jax.data.images import datasets
from attention_jax.decoding import classify
from attention_jax.models.image_transformer import VisionTransformer
from attention_jax.nn.patches import ImageConfig
from attention_jax.nn.transformer import TransformerConfig
from experiments.common import flags
from experiments.common.config import LOSSES
from experiments.common.load_run import load_params
from experiments.images import EXPERIMENT, page
from experiments.images.config import some_of_each, stand_ins
from experiments.images.evaluate import title
from tests.analysis.pages.test_explorer import READY, SAID, data_of, middle, weights_of
from tests.support.browser import PROGRAM, Browser
from tests.support.mnist_files import IMAGES, LABELS, write
from tests.support.scripts import script as run
from tests.support.scripts import validated
from tests.support.sealed_runs import write_record

TINY = (
    "--width=8 --heads=2 --layers=1 --feed_forward=8 --steps=2 --evaluate_every=2 "
    "--checkpoint_every=1 --images_per_batch=16 --shift=1 --flip"
).split()

POOLED = [*TINY, "--attention=additive", "--pooling=attention"]


def test_a_title_tells_the_answer_from_its_probability():
    assert title("3", "3", 0.875) == "3: 88%"
    assert title("0", "9", 0.14) == "9: 14% (is 0)"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "digits"
    done = run("images", *POOLED, f"--run={folder}")
    assert done.returncode == 0, done.stderr
    return folder, done


def test_a_run_leaves_its_folder(trained):
    folder, done = trained
    assert "nats an image" in done.stdout and "1302 images to learn from" in done.stdout
    assert "\nclass     right\n0 " in done.stdout
    for name in (
        "run.flags",
        "environment.json",
        "metrics.jsonl",
        "curves.png",
        "attention.png",
        "heads_1.png",
        "heads_3.png",
    ):
        assert (folder / name).stat().st_size > 0, name
    assert validated(folder) == set(LOSSES)
    result = json.loads((folder / "result.json").read_text())
    assert result["steps"] == 2 and result["target_tokens"] == 32 and not result["skipped"]
    assert set(result["of_classes"]["test"]) == set("0123456789")
    outcomes = json.loads((folder / "outcomes.json").read_text())["test"]["accuracy"]
    right, count = np.sum(outcomes, axis=0)
    assert count == 355 and right / count == pytest.approx(result["tests"]["test"]["accuracy"])


def test_classes_and_sizes_are_those_of_the_run_whatever_became_of_its_data(trained, tmp_path):
    folder, picture = tmp_path / "run", tmp_path / "picture.png"
    shutil.copytree(trained[0], folder)
    Image.fromarray(datasets.load("digits").test.images[0][..., 0]).save(picture)
    own = json.loads((folder / "pictures.json").read_text())
    assert own["image"] == {"height": 8, "width": 8, "channels": 1, "patch": 2}
    # As if the data had other names today, and then were gone.
    own["classes"] = [f"once {name}" for name in own["classes"]]
    (folder / "pictures.json").write_text(json.dumps(own))
    write_record(folder)
    asked = f"--run={folder}", f"--file={picture}"
    done = run("predict", *asked, "--data=gone")
    assert done.returncode == 0 and done.stdout.startswith("once "), done.stderr
    for script, arguments in (("visualize", []), ("images", [*POOLED, "--resume"])):
        done = run(script, f"--run={folder}", *arguments)
        assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
        assert "`--data` must have the classes that" in done.stderr and "once 0" in done.stderr
    # Runs of the first versions do not say what they know.
    (folder / "pictures.json").unlink()
    known = run("predict", *asked)
    assert known.stdout.strip() in set("0123456789") and not known.stderr


@pytest.mark.slow
@pytest.mark.parametrize("model", ["rnn", "cnn"])
def test_every_model_trains_and_a_run_goes_on_where_it_stopped(tmp_path, model):
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    own = [f"--model={model}", *TINY]
    done = run("images", *own, f"--run={whole}")
    assert done.returncode == 0, done.stderr
    # It stops after its first step, as if it were killed there.
    done = run("images", *own, f"--run={parted}", "--max_seconds=0.001")
    assert done.returncode == 0, done.stderr
    assert json.loads((parted / "result.json").read_text())["steps"] == 1
    done = run("images", *own, f"--run={parted}", "--resume")
    assert done.returncode == 0, done.stderr
    results = [json.loads((f / "result.json").read_text()) for f in (whole, parted)]
    assert results[0]["steps"] == results[1]["steps"] == 2
    assert results[0]["tests"] == results[1]["tests"]
    done = run("visualize", f"--run={whole}", "--examples=1")
    if model == "cnn":
        assert done.returncode == 1 and "must be of a model with attention" in done.stderr
    else:
        data = data_of((whole / "explorer.html").read_text(encoding="utf-8"))
        (reading,) = data["sentences"][0]["readings"]
        assert set(reading["maps"]) == {"cross"} and len(reading["source"]) == 8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data=cats"], "`data` must be digits or a folder"),
        (["--patch=3"], "`--patch` must divide both sides of the pictures, 8 x 8; got 3"),
        (["--shift=8"], "`shift` must be at least 0 and below 8"),
        (["--model=rnn", "--attention=alibi"], "or none for the last state"),
        (["--model=diffusion"], "should be one of"),
    ],
)
def test_what_a_user_can_mend_ends_in_one_clear_line(tmp_path, arguments, message):
    done = run("images", *TINY, f"--run={tmp_path / 'run'}", *arguments)
    assert done.returncode != 0 and message in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


def test_bad_pictures_are_left_out_where_it_is_asked_for(tmp_path):
    write(tmp_path / "small", IMAGES, LABELS[:-1] + b"\x09", split="train")
    write(tmp_path / "small", IMAGES, LABELS, split="t10k")
    own = [*TINY, f"--data={tmp_path / 'small'}", "--classes=2", f"--run={tmp_path / 'run'}"]
    done = run("images", *own, "--shift=0", "--patch=1")
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "that of image 2" in done.stderr and "--skip_bad" in done.stderr


def test_help_names_what_there_is():
    shown = run("images", "--help").stdout
    for flag in (
        "--data=digits\n",
        "--patch=\n",
        "--pooling=token\n",
        "--reads=rows\n",
        "--[no]skip_bad (off)\n",
        "--[no]resume (off)\n",
    ):
        assert flag in shown, flag


@pytest.mark.parametrize(
    ("pooling", "attention", "line"),
    [
        ("attention", "relative", "attention: relative in the encoder; scaled_dot in the pooling"),
        ("attention", "dot", None),
        ("mean", "relative", None),
        ("token", "coverage", "attention: coverage nowhere; scaled_dot in the encoder"),
    ],
)
def test_nothing_stands_in_unsaid(pooling, attention, line):
    config = flags.replace(EXPERIMENT.config, attention=attention, pooling=pooling)
    assert stand_ins(config) == line


def test_pictures_are_drawn_of_all_classes():
    labels = np.array([2, 2, 0, 1, 0, 2])
    assert some_of_each(labels, 4).tolist() == [2, 3, 0, 4]
    assert some_of_each(labels, 9).tolist() == [2, 3, 0, 4, 1, 5]


@pytest.fixture(scope="module")
def read_back(trained):
    """The structure of the trained model and its parameters, without the script."""
    config = TransformerConfig(10, width=8, layers=1, heads=2, feed_forward=8, attention="additive")

    def build(key):
        image = ImageConfig(8, 8, patch=2)
        return VisionTransformer(image, config, pooling="attention", rngs=nnx.Rngs(key))

    return nnx.graphdef(nnx.eval_shape(lambda: build(0))), load_params(trained[0], build)


@pytest.mark.slow
def test_predict_says_what_the_recogniser_says(trained, read_back, tmp_path):
    test = datasets.load("digits").test
    for number, image in enumerate(test.images[:3]):
        Image.fromarray(image[..., 0]).save(tmp_path / f"{number}.png")
    Image.fromarray(test.images[0][..., 0]).resize((30, 20)).convert("RGB").save(tmp_path / "3.jpg")
    done = run("predict", f"--run={trained[0]}", f"--file={tmp_path}", "--scores")
    assert done.returncode == 0, done.stderr
    assert done.stderr == "resized to 8 x 8 pixels: 3.jpg, of 30 x 20\n"
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert [row[0] for row in rows] == [f"{n}.png" for n in range(3) for _ in range(3)] + [
        "3.jpg"
    ] * 3
    logs = classify.classifier(read_back[0])(read_back[1], test.images[:3])
    for number, row in enumerate(np.exp(logs)):
        shown = rows[3 * number : 3 * number + 3]
        best = row.argsort()[::-1][:3]
        assert [name for *_, name in shown] == [str(label) for label in best]
        np.testing.assert_allclose([float(p) for _, p, _ in shown], row[best], atol=1e-4)
    done = run("predict", f"--run={trained[0]}", f"--file={tmp_path / '1.png'}")
    assert done.stdout == f"{logs[1].argmax()}\n" and not done.stderr


@pytest.mark.slow
def test_the_page_holds_the_weights_of_test_pictures(trained, read_back, tmp_path):
    output = tmp_path / "page.html"
    done = run(
        "visualize",
        f"--run={trained[0]}",
        f"--output={output}",
        "--examples=2",
        f"--other_run={trained[0]}",
    )
    assert done.returncode == 0, done.stderr
    assert f"{output}: 2 pictures" in done.stdout
    data, test = data_of(output.read_text(encoding="utf-8")), datasets.load("digits").test
    chosen = some_of_each(test.labels, 2)
    images = test.images[chosen]
    found = image_attribution.attention(*read_back, images.astype(np.float32) / np.float32(255))
    logs = classify.classifier(read_back[0])(read_back[1], images)
    for number, shown in enumerate(data["sentences"]):
        first, second = shown["readings"]
        assert first == second and shown["text"].endswith(f"class {test.labels[chosen[number]]}")
        assert first["target"] == [str(logs[number].argmax())]
        np.testing.assert_allclose(first["alternatives"][0][1], logs[number].max(), atol=1e-4)
        assert first["source"] == page.names((4, 4), 0)
        for place, wanted in (
            ("encoder", found.layers[number]),
            ("cross", found.pooling[number][None, :, None]),
        ):
            got = weights_of(first["maps"][place])
            np.testing.assert_allclose(got, wanted, atol=wanted.max() / 255)


@pytest.mark.slow
@pytest.mark.skipif(PROGRAM is None, reason="no Chromium or Chrome is installed")
def test_the_picture_answers_to_the_mouse(trained, tmp_path):
    output = tmp_path / "page.html"
    done = run("visualize", f"--run={trained[0]}", f"--output={output}", "--examples=1")
    assert done.returncode == 0, done.stderr
    browser = Browser(tmp_path / "profile")
    browser.open(output.as_uri())
    browser.wait(READY + " && document.querySelector('.picture canvas').width == 280")
    x, y = middle(browser, ".picture canvas")
    # A little up and left of the middle.
    browser.mouse("mouseMoved", x - 5, y - 5)
    assert browser.evaluate(SAID)[0].startswith("“row 2, column 2” gives 0.")
    assert not browser.errors
    browser.close()


@pytest.mark.slow
def test_what_its_runs_cannot_serve_is_said(trained, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"nothing")
    own = f"--run={trained[0]}"
    for script, arguments, message in (
        ("predict", [own], "`--file` must name an image, or a folder of such; got none"),
        ("predict", [own, f"--file={tmp_path}"], "bad.png is damaged or no image"),
        ("predict", [own, "--text=a"], "`--text` does not go with a run of experiments.images"),
        ("predict", [own, "--beam=2"], "`--beam` does not go with a run of experiments.images"),
        ("visualize", [own, "--text=a"], "`--text` does not go with a run of experiments.images"),
        ("visualize", [own, f"--file={tmp_path}"], "bad.png is damaged or no image"),
    ):
        done = run(script, *arguments)
        assert done.returncode == 1 and message in done.stderr, done.stderr
        assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


def test_places_of_a_picture_have_names():
    assert page.names((2, 2), 1) == [
        "[class]",
        "row 1, column 1",
        "row 1, column 2",
        "row 2, column 1",
        "row 2, column 2",
    ]
    assert page.names((2, 1), 0) == ["row 1", "row 2"]
