"""Equations of docstrings as LaTeX and MathML."""

import pytest

from attention_jax import variants
from attention_jax.analysis import variant_info
from docs.site import equations

mathml = pytest.importorskip("docs.site.mathml", reason="needs the extra `docs`")


def row(text):
    """The only row of an equation's LaTeX."""
    first, row, last = equations.latex(text).split("\n")
    assert (first, last) == (r"\begin{align*}", r"\end{align*}")
    return row


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("score = q . k / sqrt(d)", r"\mathrm{score} &=\frac{q\cdot k}{\sqrt{d}}"),
        ("y = a . b / c + d", r"y &=\frac{a\cdot b}{c}+d"),
        ("y = a + b / c", r"y &=a+\frac{b}{c}"),
        ("y = (a + b) / c", r"y &=\frac{a+b}{c}"),
        ("y = a / b c", r"y &=\frac{a}{b}c"),
        ("y = a / (b c)", r"y &=\frac{a}{bc}"),
        ("y = f(a / b)", r"y &=\mathrm{f}(\frac{a}{b})".replace(r"\mathrm{f}", "f")),
        ("y = x^(a / b)", r"y &=x^{a/b}"),
        ("w[i, j] = |i - j| <= n", r"w_{i,j} &=\vert i-j\vert \le n"),
        ("S_j = S_(j-1)^T q_j", r"S_{j} &=S_{j-1}^{\top}q_{j}"),
        ("y = sum_(j <= t) w_j v_j", r"y &=\sum_{j\le t}w_{j}v_{j}"),
        ("y = q1_i . k_max_i", r"y &=q_{1,i}\cdot \mathrm{k\_max}_{i}"),
        ("y = a * b", r"y &=a\odot b"),
        ("y = x over all j", r"y &=x\ \mathrm{over}\ \mathrm{all}\ j"),
        ("y = a    z = b", r"y &=a\qquad z=b"),
        ("y = 2e-5", r"y &=2\cdot 10^{-5}"),
    ],
)
def test_hand_checked(text, latex):
    assert row(text) == latex


@pytest.mark.parametrize("text", ["y = a ? b", "y = sqrt(a", "y = ^2"])
def test_what_the_notation_lacks_is_refused(text):
    with pytest.raises(ValueError, match="an equation has no|open|belongs to"):
        equations.latex(text)


@pytest.mark.parametrize("name", variants.names())
def test_the_equation_of_every_variant_is_typeset(name):
    text = variant_info.describe(name).equation
    assert text
    latex = equations.latex(text)
    assert latex.count("&") == len(text.splitlines())  # one row a line
    assert latex.count("{") == latex.count("}")
    assert "<math " in mathml.mathml(latex, display=True)


def test_an_unknown_command_is_refused():
    with pytest.raises(ValueError, match="nosuchcommand"):
        mathml.mathml(r"\nosuchcommand x", display=False)


def test_fractions_and_roots_are_those_of_mathml():
    found = mathml.mathml(r"\frac{a}{\sqrt{d}}", display=False)
    assert "<mfrac><mrow><mi>a</mi></mrow><mrow><msqrt>" in found.replace("\n", "")
