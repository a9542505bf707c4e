"""Sphinx's settings. `scripts/docs` builds the site, from a folder that `docs.site` fills."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from attention_jax import __version__  # noqa: E402

project, release = "attention_jax", __version__
copyright = "the authors of attention_jax"
extensions = ["myst_nb", "docs.site.mathml", "docs.site.languages", "docs.site.coverage"]

# Pages
exclude_patterns = ["files/**/*.ipynb"]
myst_enable_extensions = ["amsmath", "dollarmath", "colon_fence", "attrs_block", "attrs_inline"]
myst_heading_anchors = 4
# Modules may have types of the same name; a signature then links to one of them.
suppress_warnings = ["ref.python"]
# Lessons train; they are run where that is asked for, and then only what has changed.
nb_execution_mode = os.environ.get("DOCS_EXECUTION", "off")
nb_execution_cache_path = str(ROOT / "build" / "site" / "lessons")
nb_execution_timeout = 600
nb_execution_raise_on_error = True
nb_ipywidgets_js = {}

# API
add_module_names = False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
toc_object_entries_show_parents = "hide"

# Languages
locale_dirs = [str(ROOT / "docs" / "locales")]
gettext_compact = False
gettext_uuid = False
gettext_location = False

# Look
html_theme = "sphinx_book_theme"
html_title = "attention_jax"
html_math_renderer = "mathml"
html_static_path = [str(ROOT / "docs" / "static")]
html_css_files = ["site.css"]
html_js_files = ["site.js"]
templates_path = [str(ROOT / "docs" / "templates")]
html_copy_source = False
html_show_sourcelink = False
html_context = {"default_mode": "auto"}  # light or dark as the reader's system has it
html_theme_options = {
    "use_download_button": False,
    # A page holds the navigation around it; all of it on each of 400 pages is slow to make.
    "show_navbar_depth": 1,
    "max_navbar_depth": 3,
    "collapse_navbar": True,
    "navbar_persistent": [],  # the search is in the sidebar
    "article_header_end": ["language.html", "article-header-buttons.html"],
    "logo": {"text": "attention_jax"},
}
