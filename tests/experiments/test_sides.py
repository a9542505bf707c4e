"""Flags of an encoder and a decoder of different kinds: what they give, and what they refuse."""

import itertools

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from attention_jax.data.types import Seq2SeqBatch
from attention_jax.models.seq2seq import Seq2SeqConfig, build
from attention_jax.nn.recurrence import Recurrence
from attention_jax.nn.recurrent import RNNConfig
from attention_jax.nn.transformer import TransformerConfig
from attention_jax.training.config import TrainConfig
from attention_jax.training.loop import stepper
from experiments.common import flags
from experiments.translation import EXPERIMENT, sides
from experiments.translation.sides import KINDS

TINY = ["--width=8", "--heads=2", "--layers=1", "--feed_forward=8"]
TOKENS = jnp.arange(12).reshape(2, 6) % 7 + 3


def config_of(*arguments):
    return flags.parse(EXPERIMENT.config, [*TINY, *arguments])[0]


def network(*arguments):
    own = config_of(*arguments)
    return sides.network(own.model, own.sides, 11, max_length=16)


def test_without_them_a_model_is_what_it_was():
    for arguments in ([], ["--model=rnn", "--cell=lstm", "--cross_attention=dot"]):
        own = config_of(*arguments)
        assert network(*arguments) == own.model.network(11, max_length=16)
        assert EXPERIMENT.named(own) == (own.model.model, own.model.attention_text)


def test_each_side_has_its_kind():
    found = network("--encoder=transformer", "--decoder=ssru", "--attention=alibi")
    assert isinstance(found, Seq2SeqConfig)
    assert found.encoder.recurrence is None and found.encoder.attention == "alibi"
    assert found.decoder.recurrence == Recurrence("ssru")
    assert found == network("--decoder=ssru", "--attention=alibi")
    found = network("--encoder=transformer", "--decoder=ssru", "--kv_sharing=2")
    assert (found.encoder.kv_sharing, found.decoder.kv_sharing) == (2, 1)
    found = network("--model=rnn", "--cell=lstm", "--decoder=mlstm", "--nobidirectional")
    assert found.encoder.cell == "lstm" and not found.encoder.bidirectional
    assert found.decoder.recurrence == Recurrence("mlstm", bidirectional=False)
    assert network("--encoder=gru", "--decoder=gru") == network("--model=rnn")
    assert isinstance(network("--encoder=rg_lru", "--decoder=rg_lru"), TransformerConfig)


@pytest.mark.parametrize(
    ("arguments", "itself", "between"),
    [
        ([], "scaled_dot", "additive"),
        (["--attention=general"], "scaled_dot", "general"),
        (["--attention=alibi", "--cross_attention=general"], "alibi", "general"),
        (["--cross_attention=none"], "scaled_dot", "none"),
    ],
)
def test_attention_below_cells_is_that_to_the_source(arguments, itself, between):
    found = network("--decoder=gru", *arguments)
    assert (found.encoder.attention, found.decoder.attention) == (itself, between)
    own = config_of("--decoder=gru", *arguments)
    assert EXPERIMENT.named(own) == ("transformer_gru", between)


def test_heads_and_self_attention_are_those_of_cells():
    found = network("--model=rnn", "--decoder_heads=4", "--encoder_attention_layers=2")
    assert isinstance(found, RNNConfig) and found.decoder_heads == 4
    above = found.self_attention
    assert (above.layers, above.heads, above.width, above.attention) == (2, 2, 8, "scaled_dot")
    assert sides.described(found) == (
        "encoder: gru below transformer (scaled_dot); decoder: gru; between the two: "
        "additive, 4 heads"
    )
    assert sides.described(network()) is None and sides.described(network("--model=rnn")) is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--decoder_heads=2"],
            "`--decoder_heads` is of a gru or lstm decoder; got .* transf",
        ),
        (["--encoder_attention_layers=1"], "is of a gru or lstm encoder; got .*=1 above a transfo"),
        (["--encoder=ssru", "--attention=none"], "`--attention=none` does not go with a transf"),
        (
            ["--model=rnn", "--attention=none", "--decoder_heads=2"],
            "`--decoder_heads` needs a decoder that attends; got --decoder_heads=2 without",
        ),
        (
            ["--model=rnn", "--encoder_attention_layers=1", "--cross_attention=none"],
            "`--encoder_attention_layers` needs a decoder that attends",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        network(*arguments)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 16}, "`encoder` and `decoder` must have the same `width`; got 8 and 16"),
        ({"layers": 2}, "must have the same `layers`; got 1 and 2"),
        ({"dtype": "bfloat16"}, "must have the same `dtype`"),
        (
            {"attention": "alibi", "decoder_heads": 2},
            "must serve between two sequences, or be a score",
        ),
        ({"decoder_heads": 3}, "`decoder_heads` must divide `width`"),
    ],
)
def test_sides_that_do_not_fit_are_refused(changes, message):
    cells = RNNConfig(11, width=8)
    with pytest.raises(ValueError, match=message):
        build(Seq2SeqConfig(cells, cells._replace(cell="lstm", **changes)), rngs=nnx.Rngs(0))


def test_self_attention_has_the_width_of_the_cells_below():
    above = TransformerConfig(11, width=16, heads=2)
    with pytest.raises(ValueError, match="must have the `width` of the cells below it; got 16"):
        RNNConfig(11, width=8, self_attention=above).check()
    cells = RNNConfig(11, width=16, attention="none", self_attention=above)
    with pytest.raises(ValueError, match="must be None where the decoder does not attend"):
        build(cells, rngs=nnx.Rngs(0))


def trained(arguments, *, run=True):
    """The losses of three steps; without `run` the update is traced alone."""
    own = network("--dropout=0", *arguments)
    batch = Seq2SeqBatch(TOKENS, TOKENS > 0, TOKENS, TOKENS, jnp.ones(TOKENS.shape))
    settings = TrainConfig(steps=3, warmup_steps=0, learning_rate=1e-2)
    state, step = stepper(lambda key: build(own, rngs=nnx.Rngs(key)), settings)
    if not run:
        return jax.eval_shape(step, state, batch)
    losses = []
    for _ in range(3):
        state, totals = step(state, batch)
        losses.append(float(totals.loss))
    return losses


@pytest.mark.slow
def test_every_pair_of_kinds_makes_a_model():
    for number, pair in enumerate(itertools.product(KINDS, KINDS)):
        between = ["--cross_attention=none"] if number % 2 else []
        trained([f"--encoder={pair[0]}", f"--decoder={pair[1]}", *between], run=False)


# Every kind once on each side.
PAIRS = [(kind, KINDS[(number + 3) % len(KINDS)]) for number, kind in enumerate(KINDS)]


@pytest.mark.slow
@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_every_kind_learns(pair):
    losses = trained([f"--encoder={pair[0]}", f"--decoder={pair[1]}"])
    assert losses[2] < losses[1] < losses[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    "more", [["--scan", "--layers=2"], ["--remat"], ["--dtype=bfloat16"]], ids=lambda more: more[0]
)
def test_a_transformer_with_a_recurrence_trains_like_others(more):
    with jax.numpy_dtype_promotion("standard"):  # Flax's norms promote bfloat16 by it
        losses = trained(["--decoder=ssru", *more])
    assert losses[2] < losses[1] < losses[0]
