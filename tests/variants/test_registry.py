"""Variants are found by their name, an alias, or a file of a person's own, with checked options."""

import inspect
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import variants
from attention_jax.core.types import Variant
from attention_jax.variants._option_types import checked_options

GOOD = '''
from attention_jax import from_score, scores

def mine(*, temperature=1.0):
    """The cosine."""
    score = scores.cosine(temperature=temperature)
    return from_score(lambda params: score)

def other(temperature: float = 1.0):
    return mine(temperature=temperature)
'''


def write(folder, text, name="mine"):
    path = folder / f"{name}.py"
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


def test_a_variant_is_itself_and_a_text_is_what_it_says():
    own = variants.get("alibi")
    assert variants.resolve(own) is own
    assert variants.resolve("alibi") == own
    assert variants.resolve("sliding_window(size=64)") == variants.get("sliding_window", size=64)
    assert variants.get("sliding_window(size=3)", size=64) == variants.get(
        "sliding_window", size=64
    )


def test_equal_specifications_are_equal_and_hashable(tmp_path):
    file = write(tmp_path, GOOD)
    for text in ("axial(width=4, along='row')", file, f"{file}:other(temperature=2.0)"):
        assert variants.resolve(text) == variants.resolve(text)
        assert hash(variants.resolve(text)) == hash(variants.resolve(text))
    assert variants.resolve("sliding_window(size=3)") != variants.resolve("sliding_window(size=4)")


@pytest.mark.slow
def test_a_variant_first_made_in_a_trace_serves_after_it(tmp_path, qkv):
    """What is kept must not hold values of the trace in which it was made."""
    text = (
        "import jax.numpy as jnp\n"
        "from attention_jax import from_score\n"
        "HALF = jnp.ones(()) / 2\n"
        "def mine():\n"
        "    twice = 4 * HALF\n"
        "    return from_score(lambda params: lambda q, k: (q @ k) * HALF * twice)\n"
    )
    file = write(tmp_path, text)
    inside = jax.jit(lambda *x: variants.get(file).attend({}, *x))(*qkv)
    np.testing.assert_allclose(inside, variants.get(file).attend({}, *qkv), rtol=1e-5)


def test_aliases_mean_one_variant_each():
    found = variants.aliases()
    assert {"mla": "latent", "fox": "forgetting", "cope": "contextual"}.items() <= found.items()
    assert {"isab", "deberta", "qk_norm", "neighbourhood", "gqa", "mqa"} <= set(found)
    assert not set(found) & set(variants.names())
    files = [__import__(f"attention_jax.variants.{n}", fromlist=[n]) for n in variants.names()]
    assert len(found) == sum(len(getattr(file, "ALIASES", ())) for file in files)
    assert variants.resolve("mla(latent_width=8)") == variants.get("latent", latent_width=8)
    assert variants.canonical_name("mla") == variants.canonical_name("latent") == "latent"


def test_a_file_of_ones_own_is_a_variant(tmp_path):
    file = write(tmp_path, GOOD)
    assert isinstance(variants.get(file), Variant)
    assert isinstance(variants.get(file, temperature=0.5), Variant)
    assert isinstance(variants.resolve(f"{file}:other(temperature=2)"), Variant)


def test_a_file_that_was_changed_is_read_again(tmp_path):
    file = write(tmp_path, GOOD)
    before = variants.get(file)
    write(tmp_path, GOOD.replace("mine", "yours"))
    with pytest.raises(ValueError, match="must define a function `mine`"):
        variants.get(file)
    write(tmp_path, GOOD)
    assert variants.get(file) == before


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("slidng_window", r"\. Did you mean sliding_window\?$"),
        ("scaled-dot", r"\. Did you mean scaled_dot\?$"),
        ("GQA", r"\. Did you mean gqa"),
        ("clairvoyance", r"got 'clairvoyance'\.$"),
    ],
)
def test_an_unknown_name_is_guessed(name, meant):
    with pytest.raises(ValueError, match=meant) as caught:
        variants.resolve(name)
    assert len(str(caught.value)) < 200


def test_unknown_options_are_named():
    with pytest.raises(ValueError, match="variant sliding_window are: size; got sise .* mean size"):
        variants.resolve("sliding_window(sise=3)")
    with pytest.raises(ValueError, match=r"Did you mean max_distance\?"):
        variants.get("relative", max_distence=3)
    with pytest.raises(ValueError, match="options of variant dot are: none; got size"):
        variants.get("dot", size=3)


def test_a_missing_option_is_named(tmp_path):
    file = write(tmp_path, GOOD.replace("*, temperature=1.0", "temperature"))
    with pytest.raises(ValueError, match="are: temperature; got none .missing a required argument"):
        variants.get(file)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "sliding_window(size='x')",
            "`size` must be a whole number .*; got 'x'. Its default is 257.",
        ),
        ("sliding_window(size=2.5)", "`size` must be a whole number .*; got 2.5"),
        ("sliding_window(size=True)", "`size` must be a whole number .*; got True"),
        ("sliding_window(size=None)", "`size` must be a whole number .*; got None"),
        ("additive(width='x')", "`width` must be a whole number or None for variant additive; got"),
        ("cosine(temperature='x')", "`temperature` must be a number for variant cosine; got 'x'"),
        ("axial(along=3)", "`along` must be text in quotes for variant axial; got 3"),
        ("relative(values=0)", "`values` must be True or False for variant relative; got 0"),
    ],
)
def test_a_literal_of_another_type_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        variants.resolve(text)


def test_types_of_options():
    def factory(a: int | None = 1, b: Literal["x", "y"] = "x", c=0): ...

    checked_options("f", factory, {"a": None, "b": "y", "c": "any"})
    with pytest.raises(ValueError, match="`b` must be 'x' or 'y' for variant f; got 'z'"):
        checked_options("f", factory, {"b": "z"})

    def of_a_checker(a: "Unknown" = 0): ...  # noqa: F821

    checked_options("f", of_a_checker, {"a": []})
    for value in (jnp.ones(()), np.ones(3), np.float32(1), print):
        with pytest.raises(ValueError, match="`a` must be a whole number or None for variant f"):
            checked_options("f", factory, {"a": value})
    one = checked_options("f", factory, {"a": np.int64(1)})["a"]
    assert type(one) is int

    def of_arrays(a: float | jax.Array): ...

    value = jnp.ones(())  # left to the factory, where an annotation names another type
    assert checked_options("f", of_arrays, {"a": value})["a"] is value
    one = checked_options("f", lambda x: None, {"x": 1})["x"]
    assert type(one) is int

    def wide(x: float | None): ...

    one = checked_options("f", wide, {"x": 1})["x"]
    assert type(one) is float


def test_every_option_of_the_library_has_a_type_that_its_default_fits():
    for name in variants.names():
        module = __import__(f"attention_jax.variants.{name}", fromlist=[name])
        factory = getattr(module, name)
        parameters = inspect.signature(factory).parameters
        assert all(x.annotation is not x.empty for x in parameters.values()), name
        checked_options(name, factory, {x.name: x.default for x in parameters.values()})


def test_a_file_that_does_not_serve_says_why(tmp_path):
    with pytest.raises(ValueError, match="File not found: .*mine.py. Give the path"):
        variants.get(str(tmp_path / "mine.py"))
    with pytest.raises(ValueError, match="For the built-in variant, drop `.py`: alibi"):
        variants.resolve("alibi.py")
    with pytest.raises(ValueError, match="mine.py must define a function `mine`"):
        variants.get(write(tmp_path, "x = 1"))
    with pytest.raises(ValueError, match="must return an attention_jax.Variant; got int"):
        variants.get(write(tmp_path, "def mine():\n    return 1"))
    with pytest.raises(ValueError, match="mine.py could not be read: SyntaxError"):
        variants.get(write(tmp_path, "def mine(:"))


def test_a_file_that_asks_for_itself_is_refused(tmp_path):
    text = "from attention_jax import variants\ndef {0}():\n    return variants.get({1!r})\n"
    first, second = str(tmp_path / "first.py"), str(tmp_path / "second.py")
    write(tmp_path, text.format("first", first), "first")
    with pytest.raises(ValueError, match="must not ask for itself; got .*first.py.* -> .*first.py"):
        variants.get(first)
    write(tmp_path, text.format("first", second), "first")
    write(tmp_path, text.format("second", first), "second")
    with pytest.raises(ValueError, match="ask for itself; got .*first.* -> .*second.* -> .*first"):
        variants.get(first)
    write(tmp_path, f"from attention_jax import variants\nX = variants.get({second!r})", "first")
    write(tmp_path, f"from attention_jax import variants\nX = variants.get({first!r})", "second")
    with pytest.raises(ValueError, match="ask for itself; got .*first.* -> .*second.* -> .*first"):
        variants.get(first)


def test_a_file_may_build_on_another_of_its_functions(tmp_path):
    file = str(tmp_path / "deep.py")
    text = (
        "from attention_jax import variants\n"
        "def deep(depth: int = 2):\n"
        f"    return variants.get({file!r}, depth=depth - 1) if depth else variants.get('dot')\n"
    )
    assert variants.get(write(tmp_path, text, "deep")) == variants.get("dot")
