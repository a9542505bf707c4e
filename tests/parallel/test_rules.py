"""One table says how parameters are divided, and what mirrors them follows."""

import jax
import optax
import pytest
from flax import nnx
from jax.sharding import PartitionSpec as P

from attention_jax.models import language, seq2seq_rnn, seq2seq_transformer
from attention_jax.nn.linear_cells import CELLS
from attention_jax.nn.recurrence import Recurrence
from attention_jax.nn.recurrent import RNNConfig
from attention_jax.nn.transformer import TransformerConfig
from attention_jax.parallel import heads_of, rules
from attention_jax.parallel.mesh import MeshShape
from attention_jax.training import optimizers

ALL = MeshShape(data=2, fsdp=2, tensor=2)
SMALL = 2_000  # numbers below which a parameter may be whole everywhere


def transformer(**options):
    config = TransformerConfig(vocabulary_size=48, width=64, heads=4, layers=2, **options)
    return lambda key: seq2seq_transformer.Seq2SeqTransformer(config, rngs=nnx.Rngs(key))


def lm(**options):
    config = TransformerConfig(vocabulary_size=48, width=64, heads=4, layers=2, **options)
    return lambda key: language.build(config, rngs=nnx.Rngs(key))


def rnn(**options):
    config = RNNConfig(vocabulary_size=48, width=64, layers=2, **options)
    return lambda key: seq2seq_rnn.Seq2SeqRNN(config, rngs=nnx.Rngs(key))


BUILDS = {
    "transformer": transformer(),
    "scanned": transformer(scan=True, tied=False),
    "language": lm(positions="learned"),
    "gated": lm(activation="swiglu", scan=True),
    "gru": rnn(),
    "lstm": rnn(cell="lstm", tied=False),
    "heads": rnn(decoder_heads=4),
    **{name: transformer(recurrence=Recurrence(name)) for name in CELLS},
}


def shapes(build):
    model = nnx.eval_shape(lambda: build(jax.random.key(0)))
    return nnx.as_pure(nnx.split(model)[1]), model


@pytest.mark.parametrize("name", BUILDS)
def test_no_large_parameter_is_whole_everywhere(name):
    params, _ = shapes(BUILDS[name])
    placed = rules.place_all(params, ALL)
    for path, x in jax.tree_util.tree_leaves_with_path(params):
        own = rules.path_name(path)
        assert x.size < SMALL or "fsdp" in placed[own].spec or "/learned/" in f"/{own}", own


def test_maps_in_a_row_are_divided_so_that_one_sum_follows_both():
    placed = rules.place_all(shapes(BUILDS["transformer"])[0], ALL)
    layer = "decoder/layers/1"
    for name in ("attention", "cross_attention"):
        assert placed[f"{layer}/{name}/query/kernel"].spec == P("fsdp", "tensor")
        assert placed[f"{layer}/{name}/query/bias"].spec == P("tensor")
        assert placed[f"{layer}/{name}/out/kernel"].spec == P("tensor", "fsdp")
        assert placed[f"{layer}/{name}/out/bias"].spec == P()
    assert placed[f"{layer}/feed_forward/up/kernel"].spec == P("fsdp", "tensor")
    assert placed[f"{layer}/feed_forward/down/kernel"].spec == P("tensor", "fsdp")
    assert placed["embedding/table/embedding"].spec == P("tensor", "fsdp")


def test_both_maps_into_hidden_units_are_divided_alike():
    placed = rules.place_all(shapes(BUILDS["gated"])[0], ALL)
    for name in ("up", "gate"):
        own = f"stack/layers/feed_forward/{name}"
        assert placed[f"{own}/kernel"].spec == P(None, "fsdp", "tensor")
        assert placed[f"{own}/bias"].spec == P(None, "tensor")


def test_layers_of_a_stack_are_whole():
    placed = rules.place_all(shapes(BUILDS["scanned"])[0], ALL)
    assert placed["encoder/layers/attention/key/kernel"].spec == P(None, "fsdp", "tensor")
    assert placed["encoder/layers/attention/key/bias"].spec == P(None, "tensor")


def test_what_is_learned_for_each_head_is_divided_as_heads_are():
    for scan, spec in ((False, P("tensor")), (True, P())):
        params, model = shapes(lm(attention="softmax_with_sink", scan=scan))
        placed = rules.place_all(params, ALL, heads_of(model))
        (found,) = {x.spec for name, x in placed.items() if "/learned/" in name}
        assert found == (P(None, "tensor") if scan else spec)


def test_what_heads_share_is_whole():
    params, model = shapes(lm(attention="additive"))
    placed = rules.place_all(params, ALL, heads_of(model))
    assert {x.spec for name, x in placed.items() if "/learned/" in name} == {P()}


def test_a_dimension_that_an_axis_does_not_divide_is_whole_and_named():
    found = rules.place("output/kernel", (64, 31), MeshShape(fsdp=4, tensor=2))
    assert found.spec == P("fsdp") and found.why_not == "tensor=2 does not divide 31"
    found = rules.place("output/kernel", (63, 31), MeshShape(fsdp=4, tensor=2))
    assert found.spec == P() and found.why_not.count("does not divide") == 2


@pytest.mark.parametrize("name", optimizers.optimizer_names())
def test_the_state_of_an_optimizer_is_divided_as_what_it_mirrors(name):
    params, _ = shapes(BUILDS["transformer"])
    placed = rules.place_all(params, ALL)
    transform = optimizers.optimizer(name, learning_rate=1e-3)
    state = jax.eval_shape(transform.init, params)
    specs = rules.mirrored(state, params, placed)
    moments = optax.tree.get_all_with_path(specs, "mu")
    assert moments and all(x is not None for _, x in moments)
    seen = 0
    for path, spec in jax.tree_util.tree_leaves_with_path(specs):
        own = next((n for n in placed if rules.path_name(path).endswith(n)), None)
        if own is not None:
            seen += 1
            assert spec == placed[own].spec
        else:
            assert spec == P()
    assert seen >= len(placed)
