"""Shares of the operations of a profile, as a table for people who do not know XLA.

At each moment the operations that run at once share the time evenly; a moment in which none runs
is of the rest. So all rows sum to the time between the first operation and the last.
"""

import re
from collections.abc import Iterable, Sequence

from attention_jax.training.profile_trace import Operation, Span
from attention_jax.training.time_shares import REST, percents, shares_of

MATRICES = "matrix products"
ATTENTION = "attention"
NORMS = "norms"
DROPOUT = "dropout, random numbers"
LOSS = "loss"
OPTIMIZER = "optimizer"
COPIES = "copies"
ELEMENTS = "other element-wise work"
SUMS = "other sums"
OTHERS = "other programs"
ROWS = {
    MATRICES: "of linear layers, of their gradients, and of the logits",
    ATTENTION: "scores, weights and values, softmax included",
    NORMS: "layer norms",
    DROPOUT: "which entries dropout keeps, and its scaling",
    LOSS: "softmax of the logits and cross-entropy",
    OPTIMIZER: "norm of the gradient, clipping, new parameters",
    COPIES: "arrays moved or turned around",
    SUMS: "of gradients over a batch, such as those of biases and embeddings",
    ELEMENTS: "activations, residual sums, embeddings, masks",
    OTHERS: "beside the updates: evaluation, logging",
    REST: "unknown operations, or none: waiting, compiling, starting operations",
}
# Scopes by which the library names what it computes, `jax.named_scope`, and the row of each.
SCOPES = {
    "attention": ATTENTION,
    "norm": NORMS,
    "dropout": DROPOUT,
    "loss": LOSS,
    "optimizer": OPTIMIZER,
}
_PRODUCTS = {"dot", "convolution"}
# On GPUs products are calls of a library.
_LIBRARY_PRODUCT = re.compile(r"/(dot_general|conv_general_dilated)\b")
_MOVES = {"copy", "transpose", "reshape", "bitcast", "slice", "concatenate", "pad", "tuple"}
_MOVES |= {"dynamic-slice", "dynamic-update-slice", "copy-start", "copy-done", "parameter"}
_MOVES |= {"constant", "broadcast", "get-tuple-element", "iota"}
_RANDOM = {"rng", "rng-bit-generator"}
_WORD = re.compile(r"[A-Za-z_]+")


def row_of(operation: Operation | None) -> str:
    """The row of `ROWS` that an operation belongs to."""
    if operation is None:
        return REST
    everything = ((operation.opcode, operation.scope), *operation.inside)
    opcodes = {opcode for opcode, _ in everything} - {"fusion", "call"}
    own = SCOPES.get(_named(operation.scope)) or _most(_named(scope) for _, scope in everything)
    is_product = bool(opcodes & _PRODUCTS) or (
        operation.opcode == "custom-call" and bool(_LIBRARY_PRODUCT.search(operation.scope))
    )
    if is_product and own in (None, LOSS, DROPOUT, NORMS):
        return MATRICES
    if own is not None:
        return own
    if opcodes & _RANDOM:
        return DROPOUT
    if opcodes <= _MOVES:
        return COPIES
    return SUMS if "reduce" in opcodes or "scatter" in opcodes else ELEMENTS


def _named(scope: str) -> str:
    """The innermost of `SCOPES` in a path such as "jit(whole)/transpose(jvp(attention))/mul"."""
    words = _WORD.findall(scope.rpartition("/")[0])
    return next((word for word in reversed(words) if word in SCOPES), "")


def _most(names: Iterable[str]) -> str | None:
    """The row of the scope that is named most often; None where none is named."""
    rows = [SCOPES[name] for name in names if name]
    return max(dict.fromkeys(rows), key=rows.count) if rows else None


def shares(spans: Sequence[Span], *, programs: Sequence[str]) -> dict[str, float]:
    """The share of each of `ROWS` in the time between the first operation and the last.

    Args:
      spans: of one profile; those of a lane may stand inside each other, and the innermost counts.
      programs: names of the programs of an update; the others are "other programs".
    """
    seconds = dict.fromkeys(ROWS, 0.0)
    rows = {s.operation: row_of(s.operation) for s in spans}
    changes = [(s.start, 1, n) for n, s in enumerate(spans) if s.end > s.start]
    changes += [(spans[n].end, 0, n) for _, _, n in changes]
    running: dict[str, list[int]] = {}
    before = first = min(changes, default=(0.0, 0, 0))[0]
    for now, starts, number in sorted(changes):
        if running and now > before:
            for stack in running.values():
                span = spans[stack[-1]]
                row = rows[span.operation] if span.module in programs else OTHERS
                seconds[row] += (now - before) / len(running)
        before, lane = now, spans[number].lane
        if starts:
            running.setdefault(lane, []).append(number)
        else:
            running[lane].remove(number)
            if not running[lane]:
                del running[lane]
    del seconds[REST]
    return shares_of(seconds, whole=before - first)


def table(spans: Sequence[Span], *, updates: int, programs: Sequence[str]) -> str:
    """The shares as a table, the most first and the rest last; rows of 0.0 % are left out.

    Args:
      spans: as `shares` takes them.
      updates: number of those that were profiled.
      programs: as `shares` takes them.
    """
    if not spans:
        return "the profile holds no operation that XLA names, and so tells no shares"
    found = shares(spans, programs=programs)
    seconds = max(span.end for span in spans) - min(span.start for span in spans)
    shown = percents(found)
    order = sorted((name for name in found if name != REST), key=lambda name: -found[name])
    lines = [f"{updates} updates in {seconds:.3g} s, by what they were spent on:"]
    for name in (*order, REST):
        if shown[name] != "0.0" or name == REST:
            lines.append(f"  {shown[name]:>5} %  {name:<24}  {ROWS[name]}")
    return "\n".join([*lines, "  100.0 %"])
