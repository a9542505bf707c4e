"""Work read from the text of compiled programs: loops, branches, and groups of collectives."""

import jax
import jax.numpy as jnp
import pytest

from experiments.common import programs
from experiments.common.programs import Widened, Work

WEIGHTS = jnp.ones((16, 16))
ONCE = 2 * 8 * 16 * 16  # operations of a product of [8 16] and [16 16]


def read(function, *arrays):
    return programs.read(jax.jit(function).lower(*arrays).compile().as_text())


def of_line(line, *widened):
    """What a program of one operation on 8 devices moves."""
    head = "HloModule m, num_partitions=8\nENTRY main (y: f32[8]) -> f32[8] {\n"
    return programs.read(head + f"  {line}\n}}\n", *widened).moved


def times(turns):
    def function(x):
        return jax.lax.scan(lambda x, _: (jnp.sin(x) @ WEIGHTS, None), x, length=turns)[0]

    return function


@pytest.mark.parametrize("turns", [3, 11])
def test_the_body_of_a_loop_counts_as_often_as_it_runs(turns):
    assert read(times(turns), jnp.ones((8, 16))) == Work(turns * ONCE)


def test_loops_in_loops_multiply():
    def function(x):
        return jax.lax.scan(lambda x, _: (times(3)(x), None), x, length=5)[0]

    assert read(function, jnp.ones((8, 16))).flops == 15 * ONCE


def test_of_branches_the_longest_counts():
    def function(chosen, x):
        return jax.lax.cond(chosen, times(7), times(4), x)

    found = read(function, jnp.array(True), jnp.ones((8, 16)))
    assert found.flops == 7 * ONCE


def test_a_loop_that_ends_by_its_data_counts_once_and_is_told():
    def function(x):
        return jax.lax.while_loop(lambda x: x.sum() < 5, lambda x: jnp.sin(x) @ WEIGHTS, x)

    assert read(function, jnp.ones((8, 16))) == Work(ONCE, open_loops=1)


def test_products_of_pairs_are_those_along_rows_and_heads_or_in_an_attention():
    def function(x, heads):
        with jax.named_scope("attention"):
            x = times(2)(x)
        return x @ WEIGHTS, jnp.einsum("htd,hsd->hts", heads, heads)

    found = read(function, jnp.ones((8, 16)), jnp.ones((4, 8, 16)))
    pairs = 2 * ONCE + 2 * 4 * 8 * 8 * 16
    assert (found.flops, found.pairs) == (pairs + ONCE, pairs)


@pytest.mark.parametrize(
    ("operation", "moved"),
    [
        ("f32[8]{0} all-reduce(y), replica_groups=[2,4]<=[8]", {"all-reduce": 2 * 32 * 3 / 4}),
        ("f32[8]{0} all-gather(y), replica_groups={{0,1},{2,3}}", {"all-gather": 32 / 2}),
        ("bf16[2,4]{1,0} reduce-scatter(y), replica_groups=[1,8]<=[8]", {"reduce-scatter": 112}),
        ("(f32[2], pred[3]) all-reduce(y, z), replica_groups={{0,1}}", {"all-reduce": 11}),
        ("s32[] collective-permute(y), source_target_pairs={{0,1}}", {"collective-permute": 4}),
        ("f32[8]{0} all-reduce(y), replica_groups={}", {"all-reduce": 2 * 32 * 7 / 8}),
        (
            "f32[8]{0} all-reduce(y), replica_groups=mesh['data'=4,'tensor'=2] {'data'}",
            {"all-reduce": 2 * 32 * 3 / 4},
        ),
        (
            "f32[8]{0} all-gather(y), replica_groups=mesh['data'=4,'tensor'=2] {'tensor','data'}",
            {"all-gather": 32 * 7 / 8},
        ),
        (
            "f32[8]{0} all-gather(y), replica_groups=mesh['all'=8] {'all':(2)4}",
            {"all-gather": 32 * 3 / 4},
        ),
        ("f32[8]{0} all-reduce(y), replica_groups=mesh['data'=1,'tensor'=8] {'data'}", {}),
        ("f32[8]{0} add(y, z)", {}),
    ],
)
def test_bytes_of_collectives_are_those_of_rings(operation, moved):
    found = of_line(f"%x = {operation}")
    assert {kind: size for kind, size in found.items() if size} == moved


@pytest.mark.parametrize(
    ("groups", "members"),
    [
        ("mesh['data'=2,'tensor'=4] {'data'}", 8),
        ("mesh['data'=2,'tensor'=4] {'data','tensor'}", 32),
        ("mesh['data'=2,'tensor'=4] {'tensor'}", 4),
        ("[4,2]<=[2,4]T(1,0)", 8),
        ("[2,4]<=[8]", 4),
        ("{{0,4},{1,5},{2,6},{3,7}}", 8),
        ("{{0,1,2,3},{4,5,6,7}}", 4),
    ],
)
def test_groups_along_the_first_axis_stand_for_all_its_shares(groups, members):
    line = f"%x = f32[8]{{0}} all-gather(y), replica_groups={groups}"
    assert of_line(line, Widened(2, 8)) == {"all-gather": 32 * (members - 1) / members}


def test_groups_in_an_unknown_form_are_refused():
    with pytest.raises(ValueError, match="groups of a collective in a known form"):
        of_line("%x = f32[8]{0} all-reduce(y), replica_groups=<<all>>")
