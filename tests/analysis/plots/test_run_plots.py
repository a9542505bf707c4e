"""Pictures are written, whole and legible; what cannot be drawn is refused."""

import json
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from attention_jax.analysis.plots import run_plots

SOURCE = ["▁the", "▁cat", "▁sleep", "s", "</s>"]
TARGET = ["▁die", "▁Katze", "▁schläft", "</s>"]


@pytest.fixture
def figures(monkeypatch):
    """The figures that are written, drawn, in order."""
    written, save = [], Figure.savefig

    def remember(figure, *args, **options):
        save(figure, *args, **options)
        written.append(figure)

    monkeypatch.setattr(Figure, "savefig", remember)
    return written


def attention(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).dirichlet(np.ones(shape[-1]), shape[:-1]).astype(np.float32)


def is_inside(box, frame) -> bool:
    return frame.x0 <= box.x0 and frame.y0 <= box.y0 and box.x1 <= frame.x1 and box.y1 <= frame.y1


@pytest.mark.slow
def test_rows_are_layers_and_columns_are_heads(figures, tmp_path):
    weights = attention(2, 3, 4, 5)
    run_plots.attention_heatmap(weights, SOURCE, TARGET, tmp_path / "a.png", title="the cat")
    figure = figures[0]
    panels, bar = figure.axes[:6], figure.axes[6]
    titles = [panel.get_title() for panel in panels]
    assert titles == [f"layer {i}, head {j}" for i in (1, 2) for j in (1, 2, 3)]
    drawn = np.stack([np.asarray(panel.images[0].get_array()) for panel in panels])
    np.testing.assert_array_equal(drawn.reshape(weights.shape), weights)
    assert {panel.images[0].get_clim() for panel in panels} == {(0.0, 1.0)}
    assert bar.lines[-1].get_ydata()[0] == pytest.approx(1 / 5), "equal weights are marked"
    assert bar.get_ylabel() == "attention weight"
    assert figure.get_suptitle() == "the cat"


def test_tokens_are_named_without_their_marks(figures, tmp_path):
    run_plots.attention_heatmap(
        attention(1, 2, 3), ["▁a", "▁", "Ġb"], ["x▁y", " "], tmp_path / "a.png"
    )
    panel = figures[0].axes[0]
    assert panel.get_title() == "head 1"
    assert [x.get_text() for x in panel.get_xticklabels()] == ["a", "␣", "b"]
    assert [x.get_text() for x in panel.get_yticklabels()] == ["x y", "␣"]


@pytest.mark.slow
def test_thirty_tokens_stay_apart_and_inside_the_picture(figures, tmp_path):
    tokens = [f"▁token{i}" for i in range(30)]
    run_plots.attention_heatmap(attention(2, 2, 30, 30), tokens, tokens, tmp_path / "a.png")
    figure = figures[0]
    corner, right = figure.axes[2], figure.axes[3]
    assert all(
        x.get_rotation() == 90 for x in [*corner.get_xticklabels(), *right.get_xticklabels()]
    )
    across = [x.get_window_extent() for x in corner.get_xticklabels()]
    down = [x.get_window_extent() for x in corner.get_yticklabels()]
    assert all(a.x1 <= b.x0 for a, b in zip(across, across[1:], strict=False))
    assert all(a.y0 >= b.y1 for a, b in zip(down, down[1:], strict=False))
    assert all(is_inside(box, figure.bbox) for box in (*across, *down))


def test_dollar_signs_are_no_formula(tmp_path):
    tokens = [r"$\frac{$", "$", "$$"]
    path = tmp_path / "a.png"
    run_plots.attention_heatmap(attention(1, 3, 3), tokens, tokens, path, title=r"$\frac{$")
    assert imread(path).ndim == 3


def test_no_attention_at_all_can_be_drawn(tmp_path):
    run_plots.attention_heatmap(np.zeros((2, 1, 1)), ["a"], ["b"], tmp_path / "a.png")


def test_a_picture_needs_no_window_and_leaves_pyplot_alone(tmp_path):
    path = str(tmp_path / "a.png")
    code = (
        "import sys, numpy as np; from attention_jax.analysis.plots import run_plots; "
        f"run_plots.attention_heatmap(np.ones((1, 1, 1)), ['a'], ['b'], {path!r}); "
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    "shape, message",
    [
        ((2, 5, 4), r"t=4 target tokens and s=5 source tokens; got \(2, 5, 4\)"),
        ((5, 4), r"shape \[t s\], \[h t s\] or \[l h t s\] .* got \(5, 4\)"),
        ((1, 1, 2, 4, 5), r"got \(1, 1, 2, 4, 5\)"),
        ((0, 4, 5), r"`weights` must not be empty; got shape \(0, 4, 5\)"),
    ],
)
def test_weights_must_fit_the_tokens(shape, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        run_plots.attention_heatmap(np.ones(shape), SOURCE, TARGET, tmp_path / "a.png")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_must_be_finite(bad, tmp_path):
    weights = attention(2, 4, 5)
    weights[1, 2, 3] = bad
    with pytest.raises(ValueError, match=rf"finite; got {bad} at \[1, 2, 3\], 1 such"):
        run_plots.attention_heatmap(weights, SOURCE, TARGET, tmp_path / "a.png")


def write_rows(path, *rows, tail=""):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + tail)
    return path


@pytest.mark.slow
def test_curves_show_what_the_rows_hold(figures, tmp_path):
    path = write_rows(
        tmp_path / "metrics.jsonl",
        {"step": 10, "split": "train", "loss": 3.0, "accuracy": 0.1, "learning_rate": 0.1},
        {"step": 20, "split": "train", "loss": None, "accuracy": 0.2, "learning_rate": 0.2},
        {"step": 20, "split": "validation", "loss": 2.5, "bleu": 7.0},
        {"step": 30, "split": "train", "loss": 2.0, "accuracy": 0.3},
        tail='{"step": 40, "spl',  # still being written
    )
    run_plots.curves(path, tmp_path / "curves.png")
    panels = {x.get_title(loc="left"): x for x in figures[0].axes if x.get_visible()}
    assert list(panels) == ["loss (nats)", "accuracy (%)", "BLEU", "learning rate"]
    drawn = {
        (title, line.get_label()): line.get_xydata().tolist()
        for title, panel in panels.items()
        for line in panel.lines
        if not line.get_label().startswith("_")
    }
    best = {line.get_xdata()[0] for panel in panels.values() for line in panel.lines[-1:]}
    assert best == {20} and "step 20" in figures[0].get_supxlabel()
    assert drawn == {
        ("loss (nats)", "training"): [[10, 3.0], [30, 2.0]],
        ("loss (nats)", "validation"): [[20, 2.5]],
        ("learning rate", "training"): [[10, 0.1], [20, 0.2]],
        ("accuracy (%)", "training"): [[10, 10.0], [20, 20.0], [30, 30.0]],
        ("BLEU", "validation"): [[20, 7.0]],
    }
    assert imread(tmp_path / "curves.png").ndim == 3


def test_curves_refuse_a_file_without_measures(tmp_path):
    path = write_rows(tmp_path / "metrics.jsonl", {"step": 1, "split": "train", "seconds": 1.0})
    with pytest.raises(ValueError, match="`metrics_jsonl_path` must hold rows with one of loss"):
        run_plots.curves(path, tmp_path / "curves.png")


@pytest.mark.parametrize("line", ["not json", "[1]", '{"step": 1}'])
def test_curves_refuse_lines_that_are_no_rows(line, tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "split": "train", "loss": 1.0}\n' + line + "\n")
    with pytest.raises(ValueError, match="must be a JSON object with step and split; .* in line 2"):
        run_plots.curves(path, tmp_path / "curves.png")


def test_without_a_path_the_figure_draws_itself_in_a_notebook(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    weights = attention(4, 5)
    figure = run_plots.attention_heatmap(weights, SOURCE, TARGET)
    np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), weights)
    assert figure.axes[0].get_title() == ""
    assert figure._repr_png_()[1:4] == b"PNG"
    assert not list(tmp_path.iterdir())
