import pytest

from attention_jax import variants
from attention_jax.core.types import Variant

GOOD = '''
from attention_jax import from_score, scores

def mine(*, temperature=1.0):
    """The cosine."""
    score = scores.cosine(temperature=temperature)
    return from_score(lambda params: score)
'''


def write(folder, text):
    path = folder / "mine.py"
    path.write_text(text)
    return str(path)


def test_every_file_is_a_variant_with_a_docstring():
    assert "scaled_dot" in variants.names() and list(variants.names()) == sorted(variants.names())
    for name in variants.names():
        assert isinstance(variants.get(name), Variant)
        module = __import__(f"attention_jax.variants.{name}", fromlist=[name])
        for word in ("Reference:", "Cost:"):
            assert word in module.__doc__, f"variants/{name}.py does not say its {word}"
        assert getattr(module, name).__doc__


def test_a_file_of_ones_own_is_a_variant(tmp_path):
    assert isinstance(variants.get(write(tmp_path, GOOD)), Variant)
    assert isinstance(variants.get(write(tmp_path, GOOD), temperature=0.5), Variant)


def test_an_unknown_name_lists_those_that_exist():
    with pytest.raises(ValueError, match="must be one of additive, .*path of a .py file; got 'x'"):
        variants.get("x")


def test_unknown_options_are_named():
    with pytest.raises(ValueError, match="options of variant sliding_window are: size; got"):
        variants.get("sliding_window", width=3)
    with pytest.raises(ValueError, match="options of variant dot are: none; got"):
        variants.get("dot", size=3)


def test_a_file_that_does_not_serve_says_why(tmp_path):
    with pytest.raises(ValueError, match="No variant file at .*mine.py"):
        variants.get(str(tmp_path / "mine.py"))
    with pytest.raises(ValueError, match="mine.py must define a function `mine`"):
        variants.get(write(tmp_path, "x = 1"))
    with pytest.raises(ValueError, match="must return an attention_jax.Variant; got int"):
        variants.get(write(tmp_path, "def mine():\n    return 1"))
    with pytest.raises(ValueError, match="mine.py could not be read: SyntaxError"):
        variants.get(write(tmp_path, "def mine(:"))
