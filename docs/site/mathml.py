"""Equations as MathML, made when the site is built: no script, no font and no request for them."""

import html
import re

import latex2mathml.converter
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

# The converter knows one of the two names of an environment.
_SAME = {"aligned": "align*", "split": "align*", "gathered": "matrix"}


def mathml(latex: str, *, display: bool) -> str:
    """MathML of LaTeX.

    Raises:
      ValueError: a command that the converter lacks.
    """
    for name, same in _SAME.items():
        latex = re.sub(rf"\\(begin|end){{{name}}}", rf"\\\1{{{same}}}", latex)
    # A row of a Markdown page may end in a comment of LaTeX, which browsers have no use for.
    found = latex2mathml.converter.convert(latex.strip(), display="block" if display else "inline")
    unknown = re.findall(r"<m[io]>(\\\w+)</m[io]>", found)
    if unknown:
        raise ValueError(f"{', '.join(unknown)} is not converted to MathML; got {latex!r}")
    label = html.escape(" ".join(latex.split()), quote=True)
    return found.replace("<math ", f'<math aria-label="{label}" ', 1)


def _inline(self: HTML5Translator, node: nodes.math) -> None:
    self.body.append(mathml(node.astext(), display=False))
    raise nodes.SkipNode


def _block(self: HTML5Translator, node: nodes.math_block) -> None:
    self.body.append(self.starttag(node, "div", CLASS="math-block"))
    self.body.append(mathml(node.astext(), display=True) + "</div>\n")
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Registers the two kinds of equations with Sphinx."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
