import jax.numpy as jnp
import pytest

from attention_jax.core import checks


@pytest.mark.parametrize("value", [0, -1, 1.5, True, None])
def test_positive_refuses(value):
    with pytest.raises(ValueError, match=r"`size` must be a whole number of at least 1; got"):
        checks.positive("size", value)


@pytest.mark.parametrize("value", [-0.1, 1.0, 1, True, None])
def test_fraction_refuses(value):
    with pytest.raises(ValueError, match=r"`rate` must be a Python number in \[0, 1\); got"):
        checks.fraction("rate", value)


def test_what_is_right_passes():
    checks.positive("size", 1)
    checks.fraction("rate", 0)
    checks.one_of("kind", "a", ("a", "b"))
    checks.shape("x", jnp.ones((2, 3)), "b s")
    checks.floating("x", jnp.ones(2, jnp.bfloat16))
    checks.position("offset", jnp.int32(3))


class Shaped:
    """It has a shape, but is no array."""

    shape = ()


@pytest.mark.parametrize("value", [Shaped(), "1", None])
def test_a_position_is_a_number_or_an_array(value, users_errors):
    with pytest.raises(ValueError, match="`offset` must be one whole number; got .*use `jax.vmap`"):
        checks.position("offset", value)


def test_a_remedy_ends_the_line():
    with pytest.raises(ValueError, match="at least 1; got 0. Take 1.$"):
        checks.positive("size", 0, remedy="Take 1.")


def test_one_of_lists_the_choices():
    with pytest.raises(ValueError, match="`kind` must be one of 'a', 'b'; got 'c'."):
        checks.one_of("kind", "c", ("a", "b"))


def test_shape_names_the_axes():
    with pytest.raises(ValueError, match=r"`x` must have shape \[b s\]; got \(2,\)"):
        checks.shape("x", jnp.ones(2), "b s")


def test_floating_names_the_conversion():
    with pytest.raises(ValueError, match=r"`x` must hold floating-point .* got int32. Convert"):
        checks.floating("x", jnp.ones(2, jnp.int32))
