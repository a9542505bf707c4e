"""Sinusoids: each layout and rate against its formula in float64, and the default as ever."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax.core import positions
from attention_jax.core.sinusoids import Sinusoids, table

LENGTH, WIDTH = 11, 12


def rate(c, rates):
    exponent = 2 * c / WIDTH if rates == "vaswani" else c / (WIDTH // 2 - 1)
    return 10_000.0**-exponent


def oracle(own):
    """The two formulas, number by number."""
    out = np.zeros((LENGTH, WIDTH))
    for p, c in np.ndindex(LENGTH, WIDTH // 2):
        angle = (p + own.offset) * rate(c, own.rates)
        sine, cosine = (c, c + WIDTH // 2) if own.layout == "halves" else (2 * c, 2 * c + 1)
        out[p, sine], out[p, cosine] = math.sin(angle), math.cos(angle)
    return out


@pytest.mark.parametrize("layout", ["pairs", "halves"])
@pytest.mark.parametrize("rates", ["vaswani", "tensor2tensor"])
@pytest.mark.parametrize("offset", [0, 2])
def test_a_table_is_its_formula(layout, rates, offset):
    own = Sinusoids(layout, rates, offset)
    got = table(jnp.arange(LENGTH), WIDTH, own)
    np.testing.assert_allclose(got, oracle(own), rtol=1e-5, atol=1e-5)


def test_the_default_is_the_position_encoding_of_the_paper():
    got, wanted = table(jnp.arange(LENGTH), WIDTH, Sinusoids()), positions.sinusoidal(LENGTH, WIDTH)
    assert np.array_equal(got, wanted)


@pytest.mark.parametrize(
    ("own", "said"),
    [
        (Sinusoids(layout="both"), "`layout` must be one of 'pairs', 'halves'"),
        (Sinusoids(rates="fast"), "`rates` must be one of 'vaswani', 'tensor2tensor'"),
        (Sinusoids(offset=-1), "`offset` must be a whole number from 0"),
    ],
)
def test_what_is_out_of_range_is_refused(own, said):
    with pytest.raises(ValueError, match=said):
        own.check()


@pytest.mark.parametrize("width", [2, 5])
def test_rates_of_tensor2tensor_need_two_pairs(width):
    with pytest.raises(ValueError, match="must be even and at least 4"):
        table(jnp.arange(3), width, Sinusoids(rates="tensor2tensor"))
