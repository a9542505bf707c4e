"""Variants as text: parsed, split and made into names of folders."""

import pytest

from attention_jax.variants import _text, slug, split


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("alibi", ("alibi", "alibi", {})),
        (" alibi() ", ("alibi", "alibi", {})),
        ("sliding_window(size=64)", ("sliding_window", "sliding_window", {"size": 64})),
        ("f(a=-1.5, b='x, (y', c=None)", ("f", "f", {"a": -1.5, "b": "x, (y", "c": None})),
        ("mine.py", ("mine.py", "mine", {})),
        ("a.py.d/mine.py(p=(1, 2))", ("a.py.d/mine.py", "mine", {"p": (1, 2)})),
        ("/in (brackets)/mine.py:far", ("/in (brackets)/mine.py", "far", {})),
        ("mine.py:far(p=True)", ("mine.py", "far", {"p": True})),
    ],
)
def test_a_text_has_a_source_a_function_and_options(text, expected):
    assert tuple(_text.parse(text)) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'' could not be read: brackets must open after a name"),
        ("sliding_window(size=64", "brackets must open after a name and close at the end"),
        ("sliding_window)", "brackets must open after a name and close at the end"),
        ("sliding_window(size=64)(size=3)", "more follows the options"),
        ("sliding_window(64)", "an option has no name. Write .*sliding_window.size=64"),
        ("sliding_window(**{})", "an option has no name"),
        ("sliding_window(size=64, size=3)", "an option is given twice"),
        ("sliding_window(size=)", "could not be read"),
        ("sliding_window(size=1\0)", "could not be read"),
        ("f(" + 9999 * "(", "could not be read"),
        ("f(p=" + 9999 * "(" + 9999 * ")" + ")", "could not be read"),
        (
            "axial(along=row)",
            '`along` must be .* text in quotes, .*; got row. Quote text: along="row"',
        ),
        ("f(p=__import__('os').getcwd())", "`p` must be a number, .*; got __import__"),
        ("f(p={[]: 1})", "`p` must be a number"),
        ("mine.py:", "'' is not the name of a function"),
        ("mine.py:a b", "'a b' is not the name of a function"),
        ("my-own.py", "'my-own' is not the name of a function"),
        (5, "must be an attention_jax.Variant or the text of one; got int"),
        (None, "must be an attention_jax.Variant or the text of one; got NoneType"),
    ],
)
def test_a_text_that_cannot_be_read_says_why_in_one_short_line(text, message, users_errors):
    with pytest.raises(ValueError, match=message) as caught:
        _text.parse(text)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("", []),
        ("alibi", ["alibi"]),
        ("alibi, rope,", ["alibi", "rope"]),
        ("f(a=1,b=(2,3)),g(c=[4,5],d={6,7})", ["f(a=1,b=(2,3))", "g(c=[4,5],d={6,7})"]),
        ("f(a='),('),g", ["f(a='),(')", "g"]),
        ("it's.py,that's.py", ["it's.py", "that's.py"]),
        ("rnn:f(a=1,b=2),transformer:g", ["rnn:f(a=1,b=2)", "transformer:g"]),
        ("f),g", ["f)", "g"]),
    ],
)
def test_lists_are_split_at_commas_outside_brackets(text, items):
    assert split(text) == items


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("sliding_window", "sliding_window"),
        ("none", "none"),
        ("sliding_window(size=64)", "sliding_window-size_64"),
        ("axial(width=4,along='row')", "axial-along_row-width_4"),
        ("axial(along='row', width=4)", "axial-along_row-width_4"),
        ("monotonic(bias=-1.0)", "monotonic-bias_-1.0"),
        ("f(p=(1, 2))", "f-p_1_2"),
        ("f(p='a/b c')", "f-p_a_b_c"),
        ("folder/mine.py", "mine"),
        ("folder/mine.py:mine(p=2)", "mine-p_2"),
        ("folder/mine.py:far(p=2)", "mine-far-p_2"),
    ],
)
def test_names_of_folders_are_the_same_for_the_same_variant(text, name):
    assert slug(text) == name
