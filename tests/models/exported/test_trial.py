"""The trial finds programs that compute something else, and goes through all of them."""

from functools import partial

import jax
import numpy as np
import pytest

from attention_jax.models.exported import Sizes, manifest, parts, ports, trial
from attention_jax.models.exported.manifest import Manifest
from tests.support.export_cases import language, translator


def tried(model, change=lambda name, call: call):
    sizes, weights = Sizes(2, 3), ports.weights_of(model)
    programs = parts.programs_of(model, sizes)
    entries = {x.name: manifest.entry(x, "", weights=False) for x in programs}
    own = Manifest("onnx", parts.kind_of(model).name, entries, sizes, {}, {})
    calls = {
        x.name: partial(jax.jit(x.function), *(weights[y] for y in x.weights)) for x in programs
    }
    return trial.differences(own, calls, {name: change(name, x) for name, x in calls.items()})


@pytest.mark.sampled(1)
@pytest.mark.parametrize(
    ("kind", "case"), [(language, "scaled_dot"), (translator, "gru, additive")]
)
def test_the_same_programs_differ_nowhere(kind, case):
    assert tried(kind(case)) == []


def test_each_program_that_differs_is_named():
    def off(name, call):
        return (lambda *x: [y + 1 for y in call(*x)]) if name == "step" else call

    (said,) = tried(language("scaled_dot"), off)
    assert said == "`step` differs from JAX by 1"


def test_a_program_that_fails_or_has_another_shape_is_named():
    def broken(name, call):
        if name == "encode":
            return lambda *x: 1 / 0
        return lambda *x: [np.asarray(y)[..., None] for y in call(*x)]

    said = tried(translator("gru, none"), broken)
    assert said[0] == "`encode` fails (division by zero)"
    assert said[1].startswith("`start` gives shape ") and said[2].startswith("`step` gives shape ")
