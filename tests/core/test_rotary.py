"""Rotary positions: rates, layouts, shares, scalings and axes by their equations, in float64."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax.core import positions
from attention_jax.core.rotary import Grid, Rotary, Scaling, rates_of, turned

LONG = 200.0  # a trained length by which turns of 8 pairs are from many to few


def pair(layout, c, width):
    return (2 * c, 2 * c + 1) if layout == "pairs" else (c, c + width // 2)


def by_rotations(x, at, rates, layout, size=1.0):
    """Each pair of channels of `x` [t d] times a rotation matrix; the channels after them stay."""
    out, width = np.array(x, np.float64), 2 * len(rates)
    for t, c in np.ndindex(len(x), len(rates)):
        angle, own = at[t] * rates[c], list(pair(layout, c, width))
        matrix = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
        out[t, own] = size * np.array(matrix) @ x[t, own]
    return out


def plain(width, base=10_000.0):
    return [base ** (-2 * c / width) for c in range(width // 2)]


def test_as_it_is_it_is_rope_bit_for_bit(draw):
    """The operations in the order that `positions.rope` had before there were options."""
    x, at = draw(2, 5, 3, 8), jnp.arange(5)
    rates = 10_000.0 ** (-jnp.arange(0, 8, 2, dtype=jnp.float32) / 8)
    angles = (at.astype(jnp.float32)[:, None] * rates[None])[None, :, None]
    sin, cos = jnp.sin(angles), jnp.cos(angles)
    even, odd = x[..., 0::2], x[..., 1::2]
    wanted = jnp.stack([even * cos - odd * sin, odd * cos + even * sin], -1).reshape(x.shape)
    np.testing.assert_array_equal(turned(x, at, Rotary()), wanted)
    np.testing.assert_array_equal(positions.rope(x, at), wanted)


@pytest.mark.parametrize("layout", ["pairs", "halves"])
@pytest.mark.parametrize("base", [10_000.0, 50.0])
def test_pairs_of_both_layouts_turn_by_the_equation(layout, base, draw):
    """Su et al. 2021, equation 15."""
    x, at = draw(1, 4, 1, 8), np.array([0, 3, 4, 9])
    got = turned(x, jnp.asarray(at), Rotary(base, layout))[0, :, 0]
    wide = np.asarray(x[0, :, 0], np.float64)
    wanted = by_rotations(wide, at, plain(8, base), layout)
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("layout", ["pairs", "halves"])
@pytest.mark.parametrize("rates", ["whole", "share"])
def test_of_a_share_the_others_stay(rates, layout, draw):
    x, at = draw(1, 3, 1, 16), np.arange(3) + 5
    rotary = Rotary(layout=layout, share=0.25, rates=rates)
    wide = np.asarray(x[0, :, 0], np.float64)
    own = [*plain(16)[:2], *[0.0] * 6] if rates == "whole" else plain(4)
    got = turned(x, jnp.asarray(at), rotary)[0, :, 0]
    np.testing.assert_allclose(got, by_rotations(wide, at, own, layout), rtol=1e-5, atol=1e-5)
    moved = {c for k in range(2) for c in pair(layout, k, 2 * len(own))}
    stay = [c for c in range(16) if c not in moved]
    np.testing.assert_array_equal(got[:, stay], x[0, :, 0][:, jnp.array(stay)])


def scaled(kind, rate, c, width, factor, fast, slow, base=10_000.0):
    """A rate by the papers."""
    turns = LONG * rate / (2 * math.pi)
    if kind == "linear":
        return rate / factor
    if kind == "ntk":
        return (base * factor ** (width / (width - 2))) ** (-2 * c / width)
    if kind == "llama3":  # smooth between wavelengths LONG / fast and LONG / slow
        if turns > fast:
            return rate
        if turns < slow:
            return rate / factor
        smooth = (turns - slow) / (fast - slow)
        return (1 - smooth) * rate / factor + smooth * rate
    # The pair of a number of turns, from which the authors' code counts.
    at = [width * math.log(LONG / (n * 2 * math.pi)) / (2 * math.log(base)) for n in (fast, slow)]
    low, high = max(math.floor(at[0]), 0), min(math.ceil(at[1]), width - 1)
    ramp = min(max((c - low) / (high - low), 0.0), 1.0)
    return rate / factor * ramp + rate * (1 - ramp)


@pytest.mark.parametrize("kind", ["linear", "ntk", "yarn", "llama3"])
@pytest.mark.parametrize("own", [{}, {"fast": 8.0, "slow": 2.0}], ids=str)
def test_scalings_are_those_of_the_papers(kind, own):
    rotary = Rotary(scaling=Scaling(kind, 4.0, int(LONG), **own))
    fast = own.get("fast", {"yarn": 32.0, "llama3": 4.0}.get(kind))
    slow = own.get("slow", 1.0)
    wanted = [scaled(kind, r, c, 16, 4.0, fast, slow) for c, r in enumerate(plain(16))]
    np.testing.assert_allclose(rates_of(rotary, 16), wanted, rtol=1e-5)
    if kind != "linear":
        assert wanted[0] == 1 and wanted[-1] == pytest.approx(plain(16)[-1] / 4)


def test_yarn_makes_vectors_longer_and_others_do_not(draw):
    x, at = draw(1, 3, 1, 8), jnp.arange(3)
    before = np.linalg.norm(x, axis=-1)
    size = {"yarn": 0.1 * math.log(4) + 1, "linear": 1.0, "ntk": 1.0, "llama3": 1.0}
    for kind, wanted in size.items():
        for magnitude, by in ((None, wanted), (0.5, 0.5)):
            own = Rotary(scaling=Scaling(kind, 4.0, magnitude=magnitude))
            found = np.linalg.norm(turned(x, at, own), axis=-1)
            np.testing.assert_allclose(found, before * by, rtol=1e-5)


def test_of_two_axes_half_turns_by_the_row_and_half_by_the_column(draw):
    """Heo et al. 2024, section 3.2; a token before the grid of 2 by 3 stays."""
    x = draw(1, 7, 1, 8)
    got = turned(x, jnp.arange(7), Rotary(base=100.0, axes=2, grid=Grid(3, first=1)))[0, :, 0]
    rows, columns = np.array([0, 0, 0, 0, 1, 1, 1]), np.array([0, 0, 1, 2, 0, 1, 2])
    wide, rates = np.asarray(x[0, :, 0], np.float64), plain(4, 100.0)
    halves = zip((wide[:, :4], wide[:, 4:]), (rows, columns), strict=True)
    wanted = np.concatenate([by_rotations(y, at, rates, "pairs") for y, at in halves], axis=1)
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(got[0], x[0, 0, 0])


@pytest.mark.parametrize(
    ("rotary", "said"),
    [
        (Rotary(base=0.0), "`base` must be above 0"),
        (Rotary(layout="thirds"), "`layout` must be one of 'pairs', 'halves'; got 'thirds'"),
        (Rotary(share=1.5), "`share` must be at most 1; got 1.5"),
        (Rotary(share=0.1), "`share` must leave at least one pair of 8 channels; got 0.1"),
        (Rotary(rates="half"), "`rates` must be one of"),
        (Rotary(axes=3), "`axes` must be one of 1, 2; got 3"),
        (Rotary(axes=2), "`axes` of rotary positions must be 1 for sequences"),
        (Rotary(scaling=Scaling("dynamic")), "`kind` must be one of 'linear'"),
        (Rotary(scaling=Scaling("ntk", 0.5)), "`factor` must be at least 1; got 0.5"),
        (Rotary(scaling=Scaling("yarn", 2.0, 0)), "`trained_length` must be"),
        (Rotary(scaling=Scaling("yarn", 2.0, fast=1.0)), "`fast` must be above `slow`; got 1.0"),
        (Rotary(1.0, scaling=Scaling("yarn", 2.0)), "`base` must be above 1 for yarn"),
    ],
    ids=str,
)
def test_a_wrong_value_is_named(rotary, said):
    with pytest.raises(ValueError) as caught:
        rotary.check_width(8)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_widths_go_in_pairs():
    with pytest.raises(ValueError, match="multiple of 2 for rotary.*; got 7. The nearest above is"):
        Rotary().check_width(7)
    with pytest.raises(ValueError, match="multiple of 4 for rotary.*; got 6"):
        Rotary(axes=2, grid=Grid(3)).check_width(6)
