"""Implementations are found by their folder, and asked in the order of their rank."""

import ast
import sys
import textwrap
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import attention, engine, plan
from attention_jax.core import jaxprs, masks, normalizers, scores
from attention_jax.engine import blockwise, pallas, prepared, tokamax
from attention_jax.engine.implementation import LSE_NAME, OUTPUT_NAME, implementations
from attention_jax.engine.request import make_request

MINE = """
    from attention_jax.engine import reference
    from attention_jax.engine.implementation import Implementation, Plan

    IMPLEMENTATION = Implementation(
        "negative",
        rank=1,
        refuse=lambda request: "it takes no mask." if request.mask is not None else None,
        prefer=lambda request: "a test asked for it",
        run=lambda request: -reference.run(request),
        plan=lambda request: Plan("negative", temporary_bytes=7),
    )
"""


@pytest.fixture
def negative(tmp_path, monkeypatch):
    """A folder with one more file, and a part of it that must not be imported."""
    (tmp_path / "negative.py").write_text(textwrap.dedent(MINE))
    (tmp_path / "negative_kernels.py").write_text("raise ImportError")
    monkeypatch.setattr(engine, "__path__", [*engine.__path__, str(tmp_path)])
    # A call that was made before keeps its implementation.
    monkeypatch.setattr(prepared, "_CALLS", prepared.Kept(8))
    implementations.cache_clear()
    yield
    implementations.cache_clear()
    sys.modules.pop("attention_jax.engine.negative", None)


def test_every_implementation_is_found_the_fastest_first():
    names = [x.name for x in implementations()]
    assert names == [
        "cudnn",
        "splash",
        "mosaic",
        "pallas",
        "tokamax",
        "one_query",
        "dense",
        "blockwise",
        "reference",
    ]
    ranks = [x.rank for x in implementations()]
    assert ranks == sorted(set(ranks))


def test_what_a_kernel_runs_on_is_loaded_where_it_runs():
    """To ask all implementations must be quick, and possible where their back ends are missing."""
    folder = Path(engine.__file__).parent
    for file in folder.glob("*.py"):
        if file.stem.startswith(("pallas_kernels", "pallas_rule", "splash_kernels", "mosaic_")):
            continue  # parts, imported by `run`
        tree = ast.parse(file.read_text(encoding="utf-8"))
        names = [x.module or "" for x in tree.body if isinstance(x, ast.ImportFrom)]
        names += [y.name for x in tree.body if isinstance(x, ast.Import) for y in x.names]
        slow = ("jax.experimental", "tokamax", "attention_jax.engine.pallas_kernels")
        assert not [x for x in names if x.startswith(slow)], file


@pytest.mark.usefixtures("negative")
def test_a_new_one_is_a_file(qkv):
    expected = attention(*qkv, implementation="reference")
    for name in ("negative", None):
        # Two programs, which a machine may round differently; the sign tells them apart.
        found = attention(*qkv, implementation=name)
        np.testing.assert_allclose(found, -expected, rtol=1e-5, atol=1e-6)
    told = plan(*qkv)
    assert told == ("negative", "a test asked for it", None, 0.0, 7, "")
    assert plan(*qkv, mask=masks.causal).implementation == "dense"
    with pytest.raises(ValueError, match="'negative' cannot honor this request: it takes no mask"):
        attention(*qkv, mask=masks.causal, implementation="negative")


def test_every_refusal_is_a_line_and_names_who_can(qkv):
    q, k, v = (x.astype(jnp.bfloat16) for x in qkv)
    with pytest.raises(ValueError) as error:
        attention(q, k, v, implementation="tokamax")
    assert "\n" not in str(error.value)
    assert str(error.value).endswith("dense, blockwise, reference; None picks the fastest of them.")


# What is asked, the device, the dtype, and what is picked for it.
CHOICES = [
    ("gpu", jnp.bfloat16, {}, "cudnn"),
    ("gpu", jnp.bfloat16, dict(mask=masks.causal), "cudnn"),
    ("gpu", jnp.float32, {}, "pallas"),
    ("gpu", jnp.bfloat16, dict(return_lse=True), "pallas"),
    ("gpu", jnp.bfloat16, dict(score=scores.cosine()), "blockwise"),
    ("gpu", jnp.float32, dict(normalizer=normalizers.relu), "blockwise"),
    ("tpu", jnp.float32, dict(mask=masks.sliding_window(9)), "splash"),
    ("tpu", jnp.float32, dict(return_lse=True), "blockwise"),
    ("cpu", jnp.bfloat16, {}, "blockwise"),
]


@pytest.mark.parametrize(("device", "dtype", "asked", "name"), CHOICES)
def test_the_fastest_that_can_is_picked(device, dtype, asked, name, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: device)
    arrays = [jax.ShapeDtypeStruct((2, 256, 4, 64), dtype)] * 3
    told = plan(*arrays, **asked)
    assert told.implementation == name and told.reason
    rows = 2 * 256 * 4
    if name in ("cudnn", "splash"):
        assert told == (name, told.reason, None, 0.0, 4 * rows, "")
    elif name == "pallas":
        assert told.temporary_bytes == 2 * 4 * rows


@pytest.mark.parametrize(("sequences", "name"), [(8, "dense"), (9, "blockwise")])
def test_one_tile_is_picked_for_few_scores_alone(sequences, name):
    arrays = [jax.ShapeDtypeStruct((sequences, 128, 128, 8), jnp.float32)] * 3
    assert sequences * 128**3 <= 2**24 or name == "blockwise"
    assert plan(*arrays).implementation == name


def test_tokamax_is_picked_by_its_name_alone(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    monkeypatch.setattr(tokamax, "find_spec", lambda name: name)
    arrays = [jax.ShapeDtypeStruct((2, 256, 4, 64), jnp.float32)] * 3
    named = plan(*arrays, implementation="tokamax")
    assert named == ("tokamax", "named by `implementation`", None, 0.0, 4 * 2 * 256 * 4, "")
    assert plan(*arrays).implementation != "tokamax"


def test_the_plan_of_blocks_counts_what_they_hold():
    """Vectors, the logits and weights of a tile, what its pairs hold, and two numbers a row."""
    arrays = [jax.ShapeDtypeStruct((1, 512, 2, 8), jnp.float32)] * 3
    told = plan(*arrays, implementation="blockwise")
    queries, keys = told.block_sizes
    heads = blockwise.tile(make_request(*arrays)).sizes.heads
    vectors, rows = 4 * 512 * 2 * 8, 512 * 2
    assert told.temporary_bytes == 4 * (vectors + 3 * heads * queries * keys + 2 * rows)


def loops(run, x, policy=None):
    """Tile loops and kernels in the gradient of a checkpointed call."""
    checkpointed = jax.checkpoint(run, policy=policy)
    program = jax.make_jaxpr(jax.grad(lambda x: (checkpointed(x) ** 2).sum()))(x)
    names = [equation.primitive.name for equation in jaxprs.walk(program.jaxpr)]
    return sum(name in ("scan", "while", "pallas_call") for name in names)


def pallas_interpreted(x):
    return pallas.run(make_request(x, x, x, mask=masks.causal), interpret=True)


@pytest.mark.sampled(1)
@pytest.mark.parametrize(
    ("run", "length"),
    [
        (lambda x: attention(x, x, x, mask=masks.causal), 1024),
        (lambda x: attention(x, x, x, normalizer=normalizers.entmax15), 1024),
        (pallas_interpreted, 128),
    ],
    ids=["softmax", "entmax15", "pallas"],
)
def test_a_policy_that_keeps_output_and_lse_does_not_sweep_forward_again(run, length):
    """As many loops as without a checkpoint; with one that keeps nothing there are more."""
    x = jax.ShapeDtypeStruct((1, length, 2, 8), jnp.float32)
    keep = jax.checkpoint_policies.save_only_these_names(OUTPUT_NAME, LSE_NAME)
    everything = jax.checkpoint_policies.everything_saveable
    assert loops(run, x, keep) == loops(run, x, everything) < loops(run, x)


@pytest.mark.parametrize("implementation", ["dense", "reference", "blockwise"])
def test_output_and_lse_carry_their_names(implementation):
    x = jax.ShapeDtypeStruct((1, 8, 2, 8), jnp.float32)

    def both(x):
        return attention(x, x, x, return_lse=True, implementation=implementation)

    tangents = jax.make_jaxpr(lambda x: jax.jvp(both, (x,), (x,)))(x)
    named = [e for e in jaxprs.walk(tangents.jaxpr) if e.primitive.name == "name"]
    assert {e.params["name"] for e in named} == {"attention_output", "attention_lse"}
