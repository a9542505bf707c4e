"""Flags of the Transformer's layers: defaults change nothing, each reaches the network."""

import pytest

from attention_jax.core.rotary import Rotary, Scaling
from attention_jax.core.sinusoids import Sinusoids
from attention_jax.nn.transformer import TransformerConfig
from experiments.common import flags
from experiments.common.config import ModelFlags


def network(*arguments):
    given = flags.parse(ModelFlags(), arguments)[0]
    return given.network(9, max_length=8)


def test_without_flags_the_network_is_what_it_was():
    assert network() == TransformerConfig(9, layers=2, max_length=8)
    kept = ("--norm=post", "--activation=gelu", "--positions=rope")  # as runs hold them
    wanted = TransformerConfig(9, layers=2, max_length=8, norm="post", activation="gelu")
    assert network(*kept) == wanted._replace(positions="rope")


@pytest.mark.parametrize(
    ("argument", "field", "value"),
    [
        ("--norm=sandwich", "norm", "sandwich"),
        ("--norm_kind=rms", "norm_kind", "rms"),
        ("--rms_norm_eps=1e-5", "norm_epsilon", 1e-5),
        ("--activation=swiglu", "activation", "swiglu"),
        ("--biases=qkv", "biases", "qkv"),
        ("--qk_norm", "qk_norm", True),
        ("--embedding_scale=1", "embedding_scale", 1.0),
        ("--embedding_norm", "embedding_norm", True),
        ("--output_bias", "output_bias", True),
        ("--head_width=5", "head_width", 5),
        ("--value_width=3", "value_width", 3),
        ("--value_residual", "value_residual", True),
        ("--kv_sharing=2", "kv_sharing", 2),
    ],
)
def test_a_flag_is_a_field(argument, field, value):
    assert getattr(network(argument), field) == value


def test_rotary_flags_make_a_rotary():
    found = network(
        "--positions=rope",
        "--rope_theta=500000",
        "--rope_layout=halves",
        "--rope_share=0.5",
        "--rope_rates=share",
        "--rope_scaling=llama3",
        "--rope_factor=8",
        "--rope_trained_length=64",
        "--rope_fast=3",
        "--rope_slow=2",
        "--rope_magnitude=0.5",
        "--rope_axes=2",
    )
    scaling = Scaling("llama3", 8.0, 64, 3.0, 2.0, 0.5)
    assert found.rotary == Rotary(500_000.0, "halves", 0.5, "share", scaling, axes=2)


def test_sinusoid_flags_make_sinusoids():
    given = "--sinusoid_layout=halves", "--sinusoid_rates=tensor2tensor", "--sinusoid_offset=2"
    assert network(*given).sinusoids == Sinusoids("halves", "tensor2tensor", 2)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["--positions=rope", "--sinusoid_offset=2"],
            "--sinusoid go with --positions=sinusoidal; got rope",
        ),
        (["--rope_base=5"], "go with --positions=rope; got sinusoidal"),
        (["--positions=rope", "--rope_factor=2"], "--rope_factor goes with --rope_scaling"),
        (
            ["--positions=rope", "--rope_scaling=yarn", "--rope_fast=0.5"],
            "`fast` must be above `slow`; got 0.5 and 1.0",
        ),
        (["--positions=rope", "--rope_share=0"], "`share` must be above 0"),
    ],
)
def test_what_contradicts_itself_is_refused(arguments, said):
    with pytest.raises(ValueError) as caught:
        network(*arguments)
    assert said in str(caught.value) and "\n" not in str(caught.value)
