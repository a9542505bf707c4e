"""Wrong arguments of analyses, plots and pages: each is refused in one line.

The line names the argument; a row is as in `test_wrong_settings.py`.
"""

from pathlib import Path

import numpy as np
import pytest
from flax import nnx

from attention_jax import data, explain, variants
from attention_jax.analysis import (
    attention_entropy,
    attention_maps,
    coverage,
    image_attribution,
    pages,
    speech_alignment,
    variant_info,
    variant_list,
    variant_trial,
)
from attention_jax.analysis.pages import explorer, variant_gallery
from attention_jax.analysis.plots import (
    direct_labels,
    image_overlays,
    run_plots,
    steps,
    style,
    variant_patterns,
)
from attention_jax.analysis.plots import speech_alignment as speech_plots
from tests.repo.wrong_values import Row, assert_each_is_named, assert_one_too_many_is_named, wrong

TOKENIZER = data.Tokenizer.learn(["a b"], kind="word")
PATH = {"path": ("x", None)}
TEXT = {"text": ("x",)}


class Attends(nnx.Module):
    """A model that attends to nothing."""

    def attention_calls(self, batch):
        return []


MODULE = Attends()
MODEL = nnx.graphdef(nnx.Rngs(0))
WEIGHTS = np.ones((2, 2, 3), np.float32)
EXPLAINED = explain(*[np.ones((1, 2, 1, 2), np.float32)] * 3)
FIGURE, AXES = style.figure(1, 1)[0], style.figure(1, 1)[1][0, 0]
PICTURE = np.zeros((4, 4, 3), np.uint8)
PATTERNS = variant_patterns.Patterns({"causal": np.ones((2, 4, 8, 8))}, 8, {})
PLOTS = {
    "attention_heatmap": Row(
        run_plots.attention_heatmap,
        {
            "weights": WEIGHTS,
            "source_tokens": ["a", "b", "c"],
            "target_tokens": ["a", "b"],
            "path": Path("/none/a.png"),
            "title": "a",
        },
        {"path": ("x", None), "title": ("x",)},
    ),
    "curves": Row(
        run_plots.curves,
        {"metrics_jsonl_path": "none", "path": "none", "title": "a"},
        {"metrics_jsonl_path": ("x",), "path": ("x", None), "title": ("x",)},
    ),
    "explanation": Row(
        steps.explanation, {"value": EXPLAINED, "b": 0, "h": 0}, dict.fromkeys("bh", (0, -1))
    ),
    "style.figure": Row(
        style.figure,
        {
            "rows": 2,
            "columns": 2,
            "size": (3.0, 3.0),
            "share_x": True,
            "share_y": True,
            "heights": [1.0, 2.0],
            "widths": [1.0, 2.0],
            "theme": style.LIGHT,
        },
        dict.fromkeys(("size", "heights", "widths"), (None,)),
    ),
    "style.panel": Row(
        style.panel, {"axes": AXES, "title": "a", "theme": style.LIGHT}, {"title": ("x",)}
    ),
    "style.length_axis": Row(style.length_axis, {"axes": AXES, "lengths": [2, 4]}),
    "style.log_axis": Row(style.log_axis, {"axes": AXES, "base": 10}),
    "style.legend": Row(style.legend, {"axes": AXES, "theme": style.LIGHT}),
    "style.headline": Row(style.headline, {"figure": FIGURE, "text": "a"}, TEXT),
    "style.save": Row(
        style.save, {"figure": FIGURE, "path": Path("/none/a.png")}, {"path": ("x",)}
    ),
    "style.saved": Row(style.saved, {"figure": FIGURE, "path": Path("/none/a.png")}, PATH),
    "style.note": Row(style.note, {"figure": FIGURE, "text": "a", "theme": style.LIGHT}, TEXT),
    "style.wrapped": Row(style.wrapped, {"text": "a", "letters": 8}, TEXT),
    "name_lines": Row(
        direct_labels.name_lines,
        {
            "axes": AXES,
            "ends": {"a": (0.1, 0.2)},
            "colors": {"a": "#000000"},
            "theme": style.LIGHT,
            "points": 8.0,
        },
        {"points": (2.5,)},
    ),
    "name_points": Row(
        direct_labels.name_points,
        {
            "axes": AXES,
            "at": {"a": (0.1, 0.2)},
            "colors": {"a": "#000000"},
            "theme": style.LIGHT,
            "points": 8.0,
        },
        {"points": (2.5,)},
    ),
    "spread": Row(direct_labels.spread, {"heights": [0.1, 0.2], "step": 0.1}, {"step": (2.5,)}),
    "style.png": Row(style.png, {"figure": FIGURE}),
    "style.image_png": Row(
        style.image_png, {"pixels": PICTURE, "cmap": "magma", "origin": "upper"}, {"cmap": (None,)}
    ),
    "overview": Row(
        image_overlays.overview,
        {
            "images": PICTURE[None],
            "titles": ["a"],
            "weights": {"a": np.ones((1, 2, 2))},
            "lost": np.ones((1, 2, 2)),
            "path": Path("/none/a.png"),
        },
        PATH,
    ),
    "overlays of heads": Row(
        image_overlays.heads,
        {
            "image": PICTURE,
            "weights": np.ones((1, 1, 2, 2)),
            "path": Path("/none/a.png"),
            "names": ["a"],
            "title": "a",
        },
        PATH | {"title": ("x",)},
    ),
    "enlarged": Row(image_overlays.enlarged, {"image": PICTURE, "side": 8}),
    "alignment": Row(
        speech_plots.alignment,
        {
            "frames": np.ones((8, 4)),
            "weights": np.ones((1, 1, 2, 4)),
            "tokens": ["a", "b"],
            "path": Path("/none/a.png"),
            "frames_per_position": 2,
            "seconds_per_frame": 0.01,
            "title": "a",
        },
        PATH | {"title": ("x",), "seconds_per_frame": (2.5,)},
    ),
    "spectrogram": Row(
        speech_plots.spectrogram, {"frames": np.ones((8, 4)), "width": 8, "height": 8}
    ),
    "patterns": Row(
        variant_patterns.patterns, {"name": "dot", "heads": 2}, names={"name": "attention"}
    ),
    "draw": Row(
        variant_patterns.draw,
        {"found": PATTERNS, "path": Path("/none/a.png"), "title": "a"},
        PATH | {"title": ("x",)},
    ),
    "caption": Row(variant_patterns.caption, {"found": PATTERNS}),
    "thumbnail": Row(
        variant_patterns.thumbnail, {"pattern": np.ones((2, 4, 8, 8)), "heads": (0, -1)}
    ),
}
MAP = attention_maps.Map(np.ones((1, 1, 2, 2)), *np.zeros((2, 1, 1)), np.ones((1, 1), bool))
READING = explorer.Reading(["a", "b"], ["a", "b"], [("a", 1.0)], {"cross": MAP})
PAGES = {
    "render": Row(pages.render, {"template": Path("/none/a.html")}, {"template": ("x",)}),
    "data_uri": Row(pages.data_uri, {"png": b"a"}),
    "code": Row(pages.code, {"text": "a"}, TEXT),
    "links": Row(pages.links, {"text": "a"}, TEXT),
    "explorer.page": Row(
        explorer.page,
        {"runs": [explorer.Run("a")], "sentences": [("a", [READING])], "of": "sentence"},
    ),
    "quantize": Row(explorer.quantize, {"weights": WEIGHTS}),
    "explorer.entropy": Row(explorer.entropy, {"weights": WEIGHTS}),
    "explorer.information": Row(explorer.information, {"weights": WEIGHTS}),
    "explorer.distance": Row(explorer.distance, {"weights": WEIGHTS}),
    "strips": Row(explorer.strips, {"parts": 3, "across": 1.5}, {"across": (2.5, None)}),
    "tiles": Row(explorer.tiles, {"rows": 2, "columns": 2}),
    "gallery": Row(variant_gallery.page, {"entries": [], "patterns": {}, "costs": {}}),
}
ANALYSIS = {
    "effective_tokens": Row(
        attention_entropy.effective_tokens,
        {"graphdef": MODEL, "params": {}, "pairs": []},
        {"params": (0, None, "x")},
    ),
    "entropy.alignment": Row(
        attention_entropy.alignment,
        {"graphdef": MODEL, "params": {}, "tokenizer": TOKENIZER, "source": "a", "target": [5]},
        {"params": (0, None, "x"), "source": ("x",)},
    ),
    "attention_maps": Row(
        lambda **given: attention_maps.attention_maps(batch=None, **given),
        {
            "model": MODULE,
            "row": 2,
            "source_length": 2,
            "target_length": 2,
            "kind": "cross",
        },
        {
            "row": (0,),
            "source_length": (None,),
            "target_length": (None,),
            "kind": (None,),
        },
    ),
    "sentence": Row(attention_maps.sentence, {"model": MODULE, "source": [5], "target": [5]}),
    "coverage_penalty": Row(coverage.coverage_penalty, {"weights": WEIGHTS[0]}),
    "rerank": Row(
        coverage.rerank,
        {"graphdef": MODEL, "params": {}, "source": [5], "found": [], "strength": 0.2},
        {"params": (0, None, "x"), "strength": (2.5, -1)},
    ),
    "of_image": Row(
        image_attribution.of_image,
        {"graphdef": MODEL, "params": {}, "image": PICTURE / 255},
        {"params": (0, None, "x")},
    ),
    "moves": Row(speech_alignment.moves, {"weights": WEIGHTS[0]}),
    "order": Row(speech_alignment.order, {"weights": WEIGHTS[0]}),
    "describe": Row(variant_info.describe, {"name": "dot"}, names={"name": "attention"}),
    "rows": Row(variant_list.rows, {"names": ["dot"]}),
    "verdicts": Row(variant_trial.verdicts, {"variant": 3.5}),
    "cost": Row(variant_trial.cost, {"variant": variants.get("dot"), "length": 8}),
}
ROWS = PLOTS | PAGES | ANALYSIS
OPEN = ("describe", "patterns", "render")  # take any word


@pytest.mark.parametrize("name", ROWS)
def test_one_line_names_the_argument(name, users_errors):
    assert_each_is_named(ROWS[name])


@pytest.mark.parametrize("name", [name for name in ROWS if "of" not in name.split()])
def test_an_argument_that_there_is_not_is_named(name, users_errors):
    if name not in OPEN:
        assert_one_too_many_is_named(ROWS[name])


def test_places_that_are_not_there_are_named(tmp_path, users_errors):
    missing = tmp_path / "none"
    with pytest.raises(FileNotFoundError, match="`metrics_jsonl_path` must name a file"):
        run_plots.curves(missing, tmp_path / "a.png")
    with pytest.raises(FileNotFoundError, match="`path` must be in a folder that is there"):
        style.save(FIGURE, missing / "a.png")
    with pytest.raises(ValueError, match="`path` must end in a format.*png"):
        style.save(FIGURE, tmp_path / "a.docx")
    with pytest.raises(FileNotFoundError, match="`template` must name a file"):
        pages.render(missing)


def test_there_are_many():
    assert sum(1 for row in ROWS.values() for _ in wrong(row)) >= 450
