"""RNNs over pictures equal their cells, stepped by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attention_jax.models.image_rnn import ImageRNN
from attention_jax.nn.patches import ImageConfig, patches
from attention_jax.nn.recurrent import RNNConfig

IMAGE = ImageConfig(6, 4, 3, patch=2)


def build(reads="rows", **changes):
    sizes = {"vocabulary_size": 5, "width": 8, "layers": 1, "attention": "none"}
    return ImageRNN(IMAGE, RNNConfig(**(sizes | changes)), reads=reads, rngs=nnx.Rngs(0))


@pytest.fixture
def images():
    return jnp.asarray(np.random.default_rng(0).random((3, 6, 4, 3), np.float32))


def stepped(cell, x):
    """The outputs of a cell, one after another."""
    nothing = jnp.zeros((len(x), cell.hidden_features))
    carry = (nothing, nothing) if isinstance(cell, nnx.OptimizedLSTMCell) else nothing
    found = []
    for i in range(x.shape[1]):
        carry, out = cell(carry, x[:, i])
        found.append(out)
    return jnp.stack(found, axis=1)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("reads", ["rows", "patches"])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_it_reads_as_its_cell_steps(images, reads, cell):
    @nnx.jit
    def both(model, images):
        x = 2 * images - 1
        x = x.reshape(3, 6, 12) if reads == "rows" else patches(x, IMAGE)
        for (cell,) in model.cells:
            x = stepped(cell, x)
        return model.states(images), x, model.classify(images), model.head(x[:, -1])

    model = build(reads, cell=cell, bidirectional=False, layers=2)
    states, x, classified, wanted = both(model, images)
    np.testing.assert_allclose(states, x, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(classified, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_both_ways_end_at_their_own_end(images):
    @nnx.jit
    def both(model, images):
        rows = (2 * images - 1).reshape(3, 6, 12)
        ((down, up),) = model.cells
        last = stepped(down, rows)[:, -1], stepped(up, rows[:, ::-1])[:, -1]
        return model.classify(images), model.head(jnp.concatenate(last, axis=-1))

    got, wanted = both(build(bidirectional=True), images)
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("attention", ["additive", "scaled_dot", "coverage", "pooling"])
def test_attention_pools_its_states(images, attention):
    @nnx.jit
    def both(model, images):
        return model.classify(images), model.head(model.pool(model.states(images)))

    got, wanted = both(build("patches", attention=attention), images)
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_dropout_is_drawn_in_training_only(images):
    model = build(attention="additive", layers=2, dropout_rate=0.5)

    @nnx.jit
    def classify(model, images, seed=None):
        rngs = None if seed is None else nnx.Rngs(dropout=jax.random.key(seed))
        return model.classify(images, rngs=rngs)

    assert not np.allclose(classify(model, images, 1), classify(model, images))
    np.testing.assert_array_equal(classify(model, images), classify(model, images))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"attention": "alibi"}, "'alibi' does not. Use .*additive.* or none for the last state"),
        ({"reads": "columns"}, "`reads` must be one of 'rows', 'patches'"),
        ({"cell": "tree"}, "`cell` must be one of"),
        ({"width": 7}, "`directions` must divide `width`"),
    ],
)
def test_what_cannot_be_built_is_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        build(**wrong)
