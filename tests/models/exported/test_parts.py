"""Programs of models: their ports and weights, and what cannot be traced for any size."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attention_jax import variants
from attention_jax.models import TransformerLM
from attention_jax.models.exported import Sizes, parts, ports
from tests.support.export_cases import config, language, translator

# Symbols stand where most signatures say `int`.
pytestmark = pytest.mark.usefixtures("users_errors")


def test_a_translator_has_three_programs():
    encode, start, step = parts.programs_of(translator("grouped_heads"))
    assert [x.name for x in (encode, start, step)] == ["encode", "start", "step"]
    assert encode.outputs == (ports.Port("memory.states", ("b", "s", 8), "float32"),)
    assert encode.same == {"memory.mask": "source_mask"}
    caches = [x for x in start.outputs if x.name.startswith("state.caches.0")]
    assert [x.shape for x in caches] == [("b", 1, "n", 4)] * 2
    names = {x.name for x in step.outputs}
    assert "next.state.caches.0.keys" in names
    # The source's keys do not change: they are no output.
    assert not any("cross" in name for name in names)
    assert step.same["next.state.cross_caches.0.source.keys"] == "state.cross_caches.0.source.keys"
    assert any("encoder" in x for x in encode.weights)
    assert not any("encoder" in x for x in step.weights)
    assert set(start.weights) < {
        *encode.weights,
        *step.weights,
        *ports.weights_of(translator("rope")),
    }


def test_a_program_is_a_function_of_its_weights():
    model = language("scaled_dot")
    logits, *_ = parts.programs_of(model)
    weights, tokens = ports.weights_of(model), jnp.array([[4, 5, 6]], jnp.int32)
    zeros = [jnp.zeros_like(weights[x]) for x in logits.weights]
    program = jax.export.export(jax.jit(logits.function))(*logits.shapes)
    (got,) = program.call(*(weights[x] for x in logits.weights), tokens)
    np.testing.assert_allclose(got, model.logits(tokens), rtol=1e-5, atol=1e-5)
    assert not np.asarray(program.call(*zeros, tokens)[0]).any()


def test_lengths_that_must_be_known_are_refused_by_name():
    with pytest.raises(ValueError, match="`logits` of this model must be exported for sizes that"):
        parts.programs_of(language("top_k"))
    assert len(parts.programs_of(language("top_k"), Sizes(length=9))) == 3


def test_a_bound_is_enough_for_some():
    model = TransformerLM(config("scaled_dot", attention="synthesizer"), rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="Give `length` and `batch`, or `longest`"):
        parts.programs_of(model)
    assert len(parts.programs_of(model, Sizes(longest=64))) == 3


def test_learned_positions_bound_sizes():
    model = language("scaled_dot", positions="learned", max_length=12)
    assert parts.bound_of(model) == 12 and parts.bound_of(language("scaled_dot")) is None
    assert parts.programs_of(model)[0].inputs[0].shape == ("b", "t")
    for sizes in (Sizes(length=13), Sizes(longest=13)):
        with pytest.raises(ValueError, match="must be at most `max_length`; got"):
            parts.programs_of(model, sizes)


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        (Sizes(batch=0), "`batch` must be"),
        (Sizes(length=True), "`length` must be"),
        (Sizes(longest=-1), "`longest` must be"),
        (Sizes(length=5, longest=4), "`length` must be at most `longest`"),
    ],
)
def test_sizes_are_checked(sizes, said):
    with pytest.raises(ValueError, match=said):
        sizes.check()


def test_other_models_are_refused():
    with pytest.raises(ValueError, match="must be of a kind that is exported: seq2seq.*got Linear"):
        parts.programs_of(nnx.Linear(2, 2, rngs=nnx.Rngs(0)))


# What these do with a length needs its number; docs/guides/exporting.md names them.
OF_A_LENGTH = {"local_monotonic", "log_linear", "top_k"}
OF_A_BATCH_TOO = {"indexed_sparse", "moba", "native_sparse"}
CAUSAL = [x for x in variants.names() if "causal" in variants.get(x).roles]


@pytest.mark.slow
@pytest.mark.parametrize("name", CAUSAL)
def test_every_mechanism_is_traced_for_any_size_or_refused(name):
    model = TransformerLM(config("scaled_dot", attention=name), rngs=nnx.Rngs(0))
    if name in OF_A_LENGTH | OF_A_BATCH_TOO:
        with pytest.raises(ValueError, match="must be exported for sizes"):
            parts.programs_of(model, Sizes(longest=64))
        batch = 2 if name in OF_A_BATCH_TOO else None
        assert len(parts.programs_of(model, Sizes(batch, length=64))) == 3
        return
    programs = parts.programs_of(model, Sizes(longest=64))
    assert [x.name for x in programs] == ["logits", "start", "step"]
    assert programs[0].inputs[0].shape == ("b", "t")
