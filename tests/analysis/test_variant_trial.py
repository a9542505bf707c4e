"""The trial of a variant: each promise has a verdict, and the cost is that of the program."""

import jax.numpy as jnp
import pytest

from attention_jax import variants
from attention_jax.analysis import variant_trial
from attention_jax.core.types import Variant, no_parameters
from attention_jax.variants._conformance import PROMISES, Promise


@pytest.fixture
def few(monkeypatch):
    """Promises that are checked at once."""
    quick = ("roles_are_known", "parameters_learn", "log_sum_exp_or_refusal")
    kept = tuple(p for p in PROMISES if p.name in quick)
    monkeypatch.setattr(variant_trial, "PROMISES", kept)


def test_promises_are_kept_or_not_made(few):
    found = list(variant_trial.verdicts(variants.get("scaled_dot")))
    assert [verdict.mark for verdict in found] == ["kept", "n/a", "kept"]
    lines = [variant_trial.line(verdict) for verdict in found]
    assert lines[1] == "n/a     Every parameter gets a gradient.\n        it has no parameters"
    assert all(len(part) <= 80 for line in lines for part in line.splitlines())


def test_broken_promises_say_why(few):
    def attend(params, q, k, v, options):
        raise TypeError("no such thing\nat all")

    found = list(variant_trial.verdicts(Variant(no_parameters, attend, roles=("sideways",))))
    assert [verdict.mark for verdict in found] == ["broken", "n/a", "broken"]
    assert "\n        `roles` must be some" in variant_trial.line(found[0])
    assert found[2].why == "TypeError: no such thing"


def test_every_promise_is_tried():
    assert variant_trial.PROMISES == PROMISES and all(isinstance(p, Promise) for p in PROMISES)


@pytest.mark.slow
def test_the_cost_is_that_of_the_program():
    def attend(params, q, k, v, options):
        """Holds all weights."""
        weights = jnp.einsum("bthd,bshd->bhts", q, k)
        return jnp.einsum("bhts,bshe->bthe", jnp.sort(weights), v)

    found = variant_trial.cost(Variant(no_parameters, attend), 64)
    assert found.seconds > 0
    assert found.temporary_bytes >= variant_trial.HEADS * 64 * 64 * 4


@pytest.mark.slow
def test_a_length_that_is_refused_says_why(monkeypatch):
    def attend(params, q, k, v, options):
        if q.shape[1] > 32:
            raise ValueError("too long\nby far")
        return q

    monkeypatch.setattr(variant_trial, "LENGTHS", (16, 64))
    head, short, long = variant_trial.cost_lines(Variant(no_parameters, attend))
    assert "scaled_dot in parentheses" in head and " ms (" in short and "MiB" in short
    assert long == "     64 positions: too long"
