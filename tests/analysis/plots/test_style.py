"""Figures of one look: panels in a grid, colors that differ, files that hold what is drawn."""

import io
import itertools
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from attention_jax.analysis.plots import style


def luminance(color):
    """Relative luminance of WCAG 2, from 0 of black to 1 of white."""
    linear = [x / 12.92 if x <= 0.03928 else ((x + 0.055) / 1.055) ** 2.4 for x in to_rgb(color)]
    return np.dot(linear, (0.2126, 0.7152, 0.0722))


def contrast(one, other):
    low, high = sorted(map(luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [style.LIGHT, style.DARK])
def test_series_differ_from_each_other_and_from_the_ground(theme):
    assert contrast(theme.ink, theme.ground) > 7  # level AAA of WCAG 2
    for one, other in itertools.combinations((*theme.colors, theme.ground), 2):
        assert np.abs(np.subtract(to_rgb(one), to_rgb(other))).sum() > 0.25, (one, other)


@pytest.mark.slow
def test_a_figure_is_a_grid_of_the_size_asked_for():
    figure, panels = style.figure(2, 3, size=(7.0, 5.0), heights=[1.0, 2.0])
    assert panels.shape == (2, 3)
    assert tuple(figure.get_size_inches()) == (7.0, 5.0)
    figure.draw_without_rendering()
    upper, lower = (x.get_position().height for x in panels[:, 0])
    assert lower == pytest.approx(2 * upper, rel=0.02)
    alone, panels = style.figure()
    assert panels.shape == (1, 1) and len(alone.axes) == 1


def test_a_panel_has_a_title_on_the_left_and_two_axes():
    _, panels = style.figure(theme=style.DARK)
    axes = panels[0, 0]
    axes.plot([1, 2], [3, 4], label="a")
    style.panel(axes, "$loss", theme=style.DARK)
    style.legend(axes, theme=style.DARK)
    assert axes.get_title(loc="left") == "$loss"
    shown = {name for name, spine in axes.spines.items() if spine.get_visible()}
    assert shown == {"left", "bottom"}
    assert [x.get_text() for x in axes.get_legend().get_texts()] == ["a"]
    assert to_rgb(axes.get_facecolor()) == to_rgb(style.DARK.ground)


def test_no_label_no_legend():
    _, panels = style.figure()
    style.legend(panels[0, 0])
    assert panels[0, 0].get_legend() is None


def test_lengths_stand_at_their_ticks():
    figure, panels = style.figure()
    axes = panels[0, 0]
    axes.plot([4096, 512], [0.2, 30.0])
    style.length_axis(axes, [4096, 512])
    style.log_axis(axes)
    figure.draw_without_rendering()
    assert [x.get_text() for x in axes.get_xticklabels()] == ["512", "4,096"]
    assert {"1", "10"} <= {x.get_text() for x in axes.get_yticklabels()}


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ((3.8, 6.9), {"4", "5", "6", "7"}),
        ((14, 70), {"20", "30", "40", "50", "60", "70"}),
        ((1.5, 60), {"2", "5", "10", "20", "50"}),
    ],
)
def test_a_logarithmic_axis_has_names_within_one_power_of_ten_too(values, names):
    figure, panels = style.figure()
    panels[0, 0].plot([1, 2], values)
    style.panel(panels[0, 0])
    style.log_axis(panels[0, 0])
    low, high = panels[0, 0].get_ylim()
    axis = panels[0, 0].yaxis
    ticks = [x for minor in (False, True) for x in axis.get_ticklabels(minor=minor)]
    shown = {x.get_text() for x in ticks if low <= x.get_position()[1] <= high} - {""}
    assert shown == names


@pytest.mark.parametrize("theme", [style.LIGHT, style.DARK])
def test_a_file_has_the_ground_of_its_theme(theme, tmp_path):
    figure, panels = style.figure(theme=theme)
    style.panel(panels[0, 0], theme=theme)
    style.headline(figure, r"$\frac{$ is no formula, and a long line is wrapped " * 4)
    style.save(figure, tmp_path / "a.png")
    for image in (imread(tmp_path / "a.png"), imread(io.BytesIO(style.png(figure)))):
        np.testing.assert_allclose(image[0, 0, :3], to_rgb(theme.ground), atol=1 / 255)
    assert "\n" in figure.get_suptitle()


def test_an_array_becomes_its_pixels():
    pixels = np.random.default_rng(0).integers(0, 256, (3, 5, 3), np.uint8)
    found = imread(io.BytesIO(style.image_png(pixels)))[..., :3]
    np.testing.assert_array_equal(np.rint(255 * found), pixels)


@pytest.mark.slow
def test_a_figure_needs_no_window_and_leaves_pyplot_alone():
    code = (
        "import sys; from attention_jax.analysis.plots import style; style.png(style.figure()[0]); "
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_lines_are_told_apart_as_long_as_there_are_looks():
    looks = {tuple(style.line(number).values()) for number in range(64)}
    assert len(looks) == 64
