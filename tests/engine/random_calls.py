"""Random calls of attention against its definition: output, log-sum-exp, tangent and gradient.

    python -m tests.engine.random_calls --count=10000 --output=calls.jsonl

writes a line for each call, and goes on after the last where the file is there. A call is known by
its number: `--first=123 --count=1` repeats that one. Ten calls share a program, whose compilation
takes most of the time.
"""

import argparse
import json
import os
from pathlib import Path
from typing import NamedTuple

if __name__ == "__main__":
    os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

import jax
import jax.numpy as jnp
import numpy as np

from attention_jax.core import masks, normalizers, numerics, scores
from attention_jax.engine import blockwise, one_query, pallas, reference
from attention_jax.engine.request import make_request
from tests.support import plain_attention

# Calls that share a program, and so its compilation.
SHARED = 10
STEP = 1e-6  # of finite differences, in float64

SCORES = {
    "scaled dot": lambda x: scores.scaled_dot,
    "cosine": lambda x: scores.cosine(temperature=0.5),
    "additive": lambda x: scores.additive(x["w_q"], x["w_k"], x["w"]),
    "general": lambda x: scores.general(x["square"]),
    "manhattan": lambda x: lambda q, k: -jnp.abs(q - k).sum(),
    "relative": lambda x: (
        lambda q, k, b, h, i, j: q @ (k + x["distances"][jnp.clip(i - j, -2, 2) + 2])
    ),
    "decay": lambda x: (
        lambda q, k, b, h, i, j: (
            q @ k
            - jnp.exp(jnp.tanh(x["square"][0] @ q) + x["slopes"][h]) * abs(i - j).astype(q.dtype)
        )
    ),
}
MODIFIERS = {
    "none": lambda x: None,
    "alibi": lambda x: lambda s, b, h, i, j: s - x["slopes"][h] * abs(i - j).astype(s.dtype),
    # Near a lower cap float32 has few digits of the derivative, 1 - tanh(s)^2.
    "soft cap": lambda x: lambda s, b, h, i, j: 10 * jnp.tanh(s / 10),
    "table": lambda x: lambda s, b, h, i, j: s * x["scale"] + x["table"][b, h, i % 4, j % 5],
    "logarithm": lambda x: (
        lambda s, b, h, i, j: s - x["scale"] * jnp.log(1 + (i - j).astype(s.dtype))
    ),
}
MASKS = {
    "none": lambda x: masks.full,
    "causal": lambda x: masks.causal,
    "window": lambda x: masks.sliding_window(4),
    "lengths": lambda x: masks.lengths(x["lengths"]),
    "documents": lambda x: masks.documents(x["query_ids"], x["key_ids"]),
    "heads": lambda x: masks.Mask(lambda b, h, i, j: (i + j + h) % 3 != 0),
    "array": lambda x: masks.from_array(x["visible"]),
}
NORMALIZERS = {
    "softmax": lambda x: normalizers.softmax,
    "sink": lambda x: normalizers.softmax_with_sink(x["slopes"]),
    "sigmoid": lambda x: normalizers.sigmoid(x["scale"]),
    "relu": lambda x: normalizers.relu,
    "signed": lambda x: normalizers.signed_softmax,
    "softpick": lambda x: normalizers.softpick,
    "hard": lambda x: normalizers.hard,
    "top_k": lambda x: normalizers.top_k(3),
    "sparsemax": lambda x: normalizers.sparsemax,
    "entmax15": lambda x: normalizers.entmax15,
}
# How a request runs: a name, and the queries and keys in a block.
RUNS = [("blockwise", (4, 4)), ("blockwise", (7, 5)), ("blockwise", None)]
RUNS += [("dense", None), ("reference", None), ("pallas", (16, 16)), ("one_query", None)]


class Call(NamedTuple):
    """The static part of a call.

    Attributes:
      sizes: b t s g r d e.
      names: of the score, the modifier, the masks and the normalizer.
      traced: whether offsets and masks are known at run time only.
    """

    sizes: tuple[int, ...]
    names: tuple[str, str, tuple[str, ...], str]
    offsets: tuple[int, int]
    rate: float
    traced: bool
    dtype: str
    run: tuple[str, tuple[int, int] | None]


def draw_call(program: int) -> Call:
    """The call of a number; all that it may ask together, and nothing that is refused."""
    draw = np.random.default_rng((1, program))
    pick = lambda names: str(draw.choice(sorted(names)))  # noqa: E731
    sizes = tuple(int(draw.integers(1, most + 1)) for most in (2, 12, 14, 2, 3, 6, 5))
    chosen = tuple(sorted({pick(MASKS) for _ in range(draw.integers(0, 3))}))
    names = [pick(SCORES), pick(MODIFIERS), chosen, pick(NORMALIZERS)]
    offsets, rate = tuple(int(x) for x in draw.integers(0, 4, 2)), float(draw.choice([0, 0, 0.3]))
    run = RUNS[draw.integers(len(RUNS))]
    if run[0] == "pallas":
        names[0], rate = "scaled dot", 0.0
    if run[0] in ("pallas", "dense"):
        names[3] = "softmax"
    if run[0] == "one_query":
        sizes, names[0] = (sizes[0], 1, *sizes[2:]), str(draw.choice(["scaled dot", "general"]))
    if names[0] == "cosine":  # of one number it is 1 or -1: all ties, and no derivative
        sizes = *sizes[:5], max(sizes[5], 2), sizes[6]
    if names[1] == "soft cap" and names[3] in ("hard", "top_k"):  # far beyond it all are ties
        names[1] = "none"
    if names[1] == "logarithm":
        names[2] = tuple(sorted({*chosen, "causal"}))
    if {"documents", "array"} & set(names[2]):
        offsets = (0, 0)
    dtype = str(draw.choice(["float32", "float32", "float32", "bfloat16"]))
    return Call(sizes, tuple(names), offsets, rate, bool(draw.integers(2)), dtype, run)


def draw_arrays(call: Call, number: int) -> tuple[tuple, dict, dict]:
    """Queries, keys and values; learned arrays; and others."""
    draw = np.random.default_rng((2, number))
    b, t, s, g, r, d, e = call.sizes

    def normal(*shape: int, dtype: str = "float32") -> jax.Array:
        return jnp.asarray(draw.normal(size=shape), jnp.float32).astype(dtype)

    qkv = tuple(
        normal(*x, dtype=call.dtype) for x in ((b, t, g * r, d), (b, s, g, d), (b, s, g, e))
    )
    if call.names[0] == "manhattan":  # which has no derivative where a query equals a key
        qkv = qkv[0], _unequal(*qkv[:2]), qkv[2]
    learned = dict(
        w_q=normal(3, d),
        w_k=normal(3, d),
        w=normal(3),
        square=normal(d, d),
        scale=normal(),
        slopes=normal(g * r),
        table=normal(b, g * r, 4, 5),
        distances=normal(5, d),
    )
    fixed = dict(
        lengths=jnp.asarray(draw.integers(0, s + 1, b), jnp.int32),
        query_ids=jnp.asarray(np.sort(draw.integers(0, 3, (b, t))), jnp.int32),
        key_ids=jnp.asarray(np.sort(draw.integers(0, 3, (b, s))), jnp.int32),
        visible=jnp.asarray(draw.random((b, 1, t, s)) < 0.6),
        offsets=jnp.asarray(call.offsets, jnp.int32),
        seed=jnp.int32(number),
    )
    return qkv, learned, fixed


def _unequal(q: jax.Array, k: jax.Array) -> jax.Array:
    """The keys, of which those that equal a query of their heads are moved until none does."""
    b, t, _, d = q.shape
    rows = q.reshape(b, 1, t, k.shape[2], -1, d)
    while (equal := (rows == k[:, :, None, :, None]).any((2, 4))).any():
        k = jnp.where(equal, k * jnp.asarray(1 + 2**-6, k.dtype), k)
    return k


def attend(call: Call, qkv: tuple, learned: dict, fixed: dict) -> tuple[jax.Array, ...]:
    """The call by the library; the log-sum-exp too where there is one."""
    score, modifier, chosen, normalizer = call.names
    x, mask = {**learned, **fixed}, None
    for name in chosen:
        mask = MASKS[name](x) if mask is None else mask & MASKS[name](x)
    form = NORMALIZERS[normalizer](x)
    request = make_request(
        *qkv,
        score=SCORES[score](x),
        score_mod=MODIFIERS[modifier](x),
        mask=mask,
        normalizer=form,
        dropout_rate=call.rate,
        dropout_key=jax.random.key(fixed["seed"]) if call.rate else None,
        query_offset=fixed["offsets"][0] if call.traced else call.offsets[0],
        key_offset=fixed["offsets"][1] if call.traced else call.offsets[1],
        return_lse=form.lse is not None,
    )
    name, sizes = call.run
    if name == "blockwise":
        found = blockwise.run(request, block_sizes=sizes)
    elif name == "dense":
        found = blockwise.run(request, dense=True)
    elif name == "one_query":
        found = one_query.run(request)
    elif name == "pallas":
        found = pallas.run(request, interpret=True, block_sizes=sizes)
    else:
        found = reference.run(request)
    return found if request.return_lse else (found,)


def program_of(call: Call):
    """A compiled function: outputs, their tangents, and the gradient of their products with cts."""

    def derivatives(given: tuple, moved: tuple, cts: tuple, fixed: dict) -> tuple:
        run = lambda *given: attend(call, *given, fixed)  # noqa: E731
        out, tangent = jax.jvp(run, given, moved)
        # A row that sees nothing has no log-sum-exp to differentiate.
        pulled = tuple(jnp.where(jnp.isfinite(x), y, 0) for x, y in zip(out, cts, strict=True))
        return out, tangent, jax.vjp(run, *given)[1](pulled)

    return jax.jit(derivatives)


class Expected(NamedTuple):
    """The same by the definition: outputs; logits and weights [b h t s]."""

    outputs: tuple[np.ndarray, ...]
    logits: np.ndarray
    weights: np.ndarray


def expected_of(call: Call, given: tuple, fixed: dict, factors: np.ndarray) -> Expected:
    qkv, learned = given
    x = {**learned, **{name: np.asarray(y) for name, y in fixed.items() if name != "seed"}}
    *found, logits, weights = plain_attention.attention(
        *qkv, x, names=call.names, offsets=call.offsets, factors=factors
    )
    has_lse = call.names[3] in ("softmax", "sink")
    return Expected(tuple(found) if has_lse else tuple(found[:1]), logits, weights)


def rounding(
    call: Call, v: np.ndarray, ct: np.ndarray, weights: np.ndarray, change: np.ndarray
) -> float:
    """What float32 may leave of a gradient whose terms cancel.

        sum over i, j of  w_ij (ct_i . v_j - ct_i . mean_i) ds_ij

    cancels where a row sees one key, or where all its scores move alike. The two products are
    summed in different orders, so that some roundings of |ct_i| |v_j| are left. Of a softmax w is
    the weight, of others at most 1 where there is a weight.

    Args:
      change: of the logits, ds.
    """
    _, _, _, g, r, _, _ = call.sizes
    if call.names[3] not in ("softmax", "sink"):
        weights = weights != 0
    of_row = np.linalg.norm(ct, axis=-1).transpose(0, 2, 1)[..., None]
    of_key = np.repeat(np.linalg.norm(v, axis=-1).transpose(0, 2, 1), r, axis=1)[:, :, None]
    return 4 * np.finfo(np.float32).eps * (weights * of_row * of_key * np.abs(change)).sum()


def check(number: int, programs: dict, call: Call | None = None) -> None:
    """Raises an AssertionError where the library and the definition differ.

    Args:
      programs: compiled ones, by their number; this one is added.
      call: None for that of the number.
    """
    call = draw_call(number // SHARED) if call is None else call
    run = programs.setdefault(number // SHARED, program_of(call))
    qkv, learned, fixed = draw_arrays(call, number)
    given, draw = (qkv, learned), np.random.default_rng((3, number))
    moved = jax.tree.map(lambda x: jnp.asarray(draw.normal(size=x.shape)).astype(x.dtype), given)
    wide = lambda tree: jax.tree.map(lambda x: np.asarray(x, np.float64), tree)  # noqa: E731
    factors = _factors(call, fixed)
    expected, _, weights = expected_of(call, wide(given), fixed, factors)
    cts = tuple(jnp.asarray(draw.normal(size=x.shape), jnp.float32) for x in expected)
    cts = (cts[0].astype(call.dtype), *cts[1:])
    out, tangent, gradient = jax.device_get(run(given, moved, cts, fixed))
    narrow = 2.0**-6 if call.dtype == "bfloat16" else 2e-4
    for got, right in zip(out, expected, strict=True):
        _close(got, right, narrow, "output")
    finite = [np.isfinite(x) for x in expected]
    leaves, tree = jax.tree.flatten(wide(given))
    steps, total = jax.tree.leaves(wide(moved)), [np.zeros(x.shape) for x in expected]
    for place, (step, of_leaf) in enumerate(zip(steps, jax.tree.leaves(gradient), strict=True)):
        ends = []
        for side in (-STEP, STEP):
            at = [x + side * step if n == place else x for n, x in enumerate(leaves)]
            ends.append(expected_of(call, jax.tree.unflatten(tree, at), fixed, factors))
        change = [
            (np.where(seen, high, 0) - np.where(seen, low, 0)) / (2 * STEP)
            for low, high, seen in zip(*(x.outputs for x in ends), finite, strict=True)
        ]
        total = [x + y for x, y in zip(total, change, strict=True)]
        pairs = [np.asarray(x, np.float64) * y for x, y in zip(cts, change, strict=True)]
        size = sum(np.abs(x).sum() for x in pairs) + np.abs(of_leaf.astype(np.float64) * step).sum()
        got, right = (of_leaf.astype(np.float64) * step).sum(), sum(x.sum() for x in pairs)
        moves = (ends[1].logits - ends[0].logits) / (2 * STEP)
        left = rounding(call, leaves[2], np.float64(cts[0]), weights, moves)
        assert abs(got - right) <= narrow * (1e-3 + size) + left, ("gradient", place, got, right)
    for got, right, seen in zip(tangent, total, finite, strict=True):
        _close(np.where(seen, got, 0), right, narrow, "tangent")


def _factors(call: Call, fixed: dict) -> np.ndarray:
    """Of dropout, for each pair by itself; which are dropped is the library's to choose."""
    b, t, s, g, r, _, _ = call.sizes
    if not call.rate:
        return np.ones((b, g * r, t, s))
    shape, starts = (b, g * r, t, s), (0, 0, *call.offsets)
    at = [start + jnp.arange(n, dtype=jnp.int32) for start, n in zip(starts, shape, strict=True)]
    kept = numerics.kept_pairs(jax.random.key(fixed["seed"]), call.rate, jnp.ix_(*at))
    return np.asarray(kept) / (1 - call.rate)


def _close(got: np.ndarray, right: np.ndarray, narrow: float, name: str) -> None:
    got = np.asarray(got, np.float64)
    high = np.abs(np.where(np.isfinite(right), right, 0)).max(initial=1.0)
    np.testing.assert_allclose(got, right, rtol=narrow, atol=narrow * high, err_msg=name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=500, help="Calls in all.")
    parser.add_argument("--first", type=int, default=0, help="Number of the first call.")
    parser.add_argument("--output", type=Path, help="JSON lines; goes on after the last.")
    arguments = parser.parse_args()
    done = 0
    if arguments.output and arguments.output.exists():
        done = len(arguments.output.read_text().splitlines())
    programs: dict = {}
    for number in range(arguments.first + done, arguments.first + arguments.count):
        if number // SHARED not in programs:
            programs.clear()
            if number % 90 == 0:
                jax.clear_caches()
        row = dict(number=number, fault=None)
        try:
            check(number, programs)
        except Exception as error:
            row.update(fault=f"{type(error).__name__}: {error}", call=draw_call(number // SHARED))
            print(json.dumps(row, default=str), flush=True)
        if arguments.output:
            with arguments.output.open("a") as file:
                file.write(json.dumps(row, default=str) + "\n")


if __name__ == "__main__":
    main()
