"""A module of a lazy package is there once it is asked for."""

import subprocess
import sys

import pytest

from attention_jax import analysis


def test_modules_are_imported_at_first_use():
    code = (
        "import sys; from attention_jax import analysis; "
        "assert 'matplotlib' not in sys.modules and 'jinja2' not in sys.modules; "
        "assert analysis.plots.run_plots.curves and analysis.pages.render; "
        "assert 'matplotlib' in sys.modules and 'jinja2' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_folder_says_what_there_is():
    assert {"attention_maps", "image_attribution", "plots", "pages"} <= set(dir(analysis))
    assert analysis.attention_maps.attention_maps
    assert {"style", "run_plots"} <= set(dir(analysis.plots))
    assert {"explorer", "render"} <= set(dir(analysis.pages))


def test_an_unknown_module_is_named():
    with pytest.raises(
        AttributeError, match="'attention_jax.analysis' has no attribute 'atention'"
    ):
        analysis.atention  # noqa: B018
