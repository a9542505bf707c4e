"""Attention in PyTorch, as its users would write it, for the attention benchmark.

    sdpa     functional.scaled_dot_product_attention; a mask or bias that it has no word for is an
             array, made beforehand
    flex     flex_attention, compiled; on CPU it has no backward. Block masks are made beforehand
    direct   the equation itself, with all scores held; in chunks of queries where they are many

All take views of the same [b t h d] memory, and return one, without a copy. `reference` is the
equation in float64, with gradients by torch.
"""

import logging
import os
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.nn import functional
from torch.nn.attention import flex_attention

from experiments.benchmark.attention import Facts, Prepare
from experiments.benchmark.attention_cases import (
    BOTH,
    CAP,
    FORWARD,
    TEMPERATURE,
    WINDOW,
    Arrays,
    Job,
)

Tensors = dict[str, torch.Tensor]
Forward = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
Prepared = tuple[Callable[[], object] | None, Facts]
CHUNK_BYTES = 256e6


def use_all_cores() -> None:
    """Gives torch as many threads as the machine has cores."""
    torch.set_num_threads(os.cpu_count() or 1)


def sides(job: Job, arrays: Arrays, limit: float) -> dict[str, Prepare]:
    """The sides that can express the case; each is prepared when called."""
    x = {name: torch.from_dlpack(array) for name, array in arrays.items()}
    found: dict[str, Prepare] = {}
    if job.case in ("additive", "cosine"):
        found["torch_direct"] = partial(_direct, job, x)
    if job.case not in ("softcap", "additive"):
        found["torch_sdpa"] = partial(_sdpa, job, x, limit)
    if job.direction == FORWARD and job.case not in ("additive", "cosine"):
        found["torch_flex"] = partial(_flex, job, x)
    return found


def _visible(case: str, x: Tensors) -> Callable[..., torch.Tensor] | None:
    """The mask of a case, as flex_attention takes it; None where all is visible."""
    ids = x["ids"]
    return {
        "causal": lambda b, h, i, j: j <= i,
        "window": lambda b, h, i, j: (j <= i) & (i - j < WINDOW),
        "alibi": lambda b, h, i, j: j <= i,
        "softcap": lambda b, h, i, j: j <= i,
        "documents": lambda b, h, i, j: (j <= i) & (ids[b, i] == ids[b, j]),
        "gqa": lambda b, h, i, j: j <= i,
    }.get(case)


def _modify(case: str, x: Tensors) -> Callable[..., torch.Tensor] | None:
    """The score modifier of a case, as flex_attention takes it."""
    heads = x["q"].shape[2]
    slopes = 2.0 ** (-8.0 / heads * torch.arange(1, heads + 1))
    return {
        "alibi": lambda score, b, h, i, j: score - slopes[h] * (i - j).abs(),
        "softcap": lambda score, b, h, i, j: CAP * torch.tanh(score / CAP),
    }.get(case)


def _scores(case: str, q: torch.Tensor, k: torch.Tensor, x: Tensors) -> torch.Tensor:
    """Scores [b h t s] of [b h t d] and [b h s d]."""
    if case == "additive":
        hidden = (q @ x["w_q"].mT).unsqueeze(3) + (k @ x["w_k"].mT).unsqueeze(2)
        return functional.linear(torch.tanh(hidden), x["w"][None])[..., 0]
    if case == "cosine":
        q, k = (functional.normalize(y, dim=-1) for y in (q, k))
        return q @ k.mT / TEMPERATURE
    return q @ k.mT * q.shape[-1] ** -0.5


def _places(x: Tensors, rows: range) -> tuple[torch.Tensor, ...]:
    (b, _, h, _), s = x["q"].shape, x["k"].shape[1]
    sizes = (range(b), range(h), rows, range(s))
    grid = np.ogrid[tuple(slice(size.start, size.stop) for size in sizes)]
    return tuple(torch.from_numpy(axis) for axis in grid)


def _dense(case: str, x: Tensors, rows: range) -> torch.Tensor:
    """The equation for some of the queries, [b t h d]."""
    q, k, v = (x[name].transpose(1, 2) for name in "qkv")
    if k.shape[1] < q.shape[1]:
        k, v = (y.repeat_interleave(q.shape[1] // y.shape[1], dim=1) for y in (k, v))
    at, visible, modify = _places(x, rows), _visible(case, x), _modify(case, x)
    scores = _scores(case, q[:, :, rows.start : rows.stop], k, x)
    if modify:
        scores = modify(scores, *at)
    if visible:
        scores = scores.masked_fill(~visible(*at), -torch.inf)
    return (scores.softmax(-1) @ v).transpose(1, 2)


def _chunks(case: str, x: Tensors) -> Iterator[range]:
    """Queries, so many at a time that what is held of their pairs stays small."""
    (b, t, h, d), s = x["q"].shape, x["k"].shape[1]
    row_bytes = b * h * s * x["q"].element_size() * (d if case == "additive" else 1)
    size = max(1, int(CHUNK_BYTES // row_bytes))
    yield from (range(start, min(start + size, t)) for start in range(0, t, size))


def _leaves(x: Tensors) -> Tensors:
    return x | {name: x[name].detach().requires_grad_() for name in "qkv"}


def reference(case: str, arrays: Arrays) -> tuple[np.ndarray, ...]:
    """The output and the gradients to q, k and v, in float64."""
    x = {name: torch.from_dlpack(array) for name, array in arrays.items()}
    x = _leaves({name: y.double() if y.is_floating_point() else y for name, y in x.items()})
    pieces = []
    for rows in _chunks(case, x):
        piece = _dense(case, x, rows)
        piece.backward(x["g"][:, rows.start : rows.stop])
        pieces.append(piece.detach())
    gradients: Any = [x[name].grad for name in "qkv"]
    return tuple(y.numpy() for y in (torch.cat(pieces, 1), *gradients))


def _direct(job: Job, x: Tensors) -> Prepared:
    chunks, x = list(_chunks(job.case, x)), _leaves(x)

    def forward() -> torch.Tensor:
        with torch.no_grad():
            pieces = [_dense(job.case, x, rows) for rows in chunks]
            return pieces[0] if len(pieces) == 1 else torch.cat(pieces, 1)

    def both() -> None:
        for name in "qkv":
            x[name].grad = None
        # A chunk goes back before the next begins, so that nothing is computed twice.
        for rows in chunks:
            _dense(job.case, x, rows).backward(x["g"][:, rows.start : rows.stop])

    facts = {"note": f"in {len(chunks)} chunks of queries"} if len(chunks) > 1 else {}
    return both if job.direction == BOTH else forward, facts


def calls(direction: str, x: Tensors, function: Forward) -> Callable[[], torch.Tensor]:
    """The function on views [b h t d] of the arrays, forward or with gradients too."""
    x = _leaves(x) if direction == BOTH else x

    def run() -> torch.Tensor:
        return function(*(x[name].transpose(1, 2) for name in "qkv")).transpose(1, 2)

    def forward() -> torch.Tensor:
        with torch.no_grad():
            return run()

    def both() -> torch.Tensor:
        for name in "qkv":
            x[name].grad = None
        out = run()
        out.backward(x["g"])
        return out

    return both if direction == BOTH else forward


def _sdpa(job: Job, x: Tensors, limit: float) -> Prepared:
    keywords: dict[str, Any] = {}
    if job.case in ("causal", "gqa"):
        keywords = {"is_causal": True, "enable_gqa": job.case == "gqa"}
    elif job.case == "cosine":
        keywords = {"scale": 1 / TEMPERATURE}
    elif job.case != "full":
        if (needs := _array_bytes(job, x)) > limit:
            return None, {"not_measured": f"skipped: needs {needs / 1e9:.1f} GB"}
        keywords = {"attn_mask": _array(job.case, x)}

    def function(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        if job.case == "cosine":
            q, k = (functional.normalize(y, dim=-1) for y in (q, k))
        return functional.scaled_dot_product_attention(q, k, v, **keywords)

    return calls(job.direction, x, function), {}


def _array_bytes(job: Job, x: Tensors) -> int:
    """Memory of the mask or bias; torch turns a boolean one into numbers."""
    copies = job.heads if job.case == "alibi" else job.batch if job.case == "documents" else 1
    return copies * job.queries * job.length * x["q"].element_size()


def _array(case: str, x: Tensors) -> torch.Tensor:
    """The mask, or the bias where scores are modified, as an array for SDPA."""
    b, h, i, j = _places(x, range(x["q"].shape[1]))
    visible, modify = _visible(case, x), _modify(case, x)
    assert visible is not None
    if modify is None:
        return visible(b if case == "documents" else b[:1], 0, i, j)
    zero = torch.zeros(())
    bias = torch.empty((1, h.numel(), i.numel(), j.numel()), dtype=x["q"].dtype)
    for head in range(h.numel()):  # one at a time takes less memory
        own = modify(zero, 0, head, i[0, 0], j[0, 0])
        bias[0, head] = own.masked_fill_(~visible(0, head, i[0, 0], j[0, 0]), -torch.inf)
    return bias


def _flex(job: Job, x: Tensors) -> Prepared:
    """Compiles here, where a failure is recorded."""
    visible, modify = _visible(job.case, x), _modify(job.case, x)
    keywords: dict[str, Any] = {"score_mod": modify, "enable_gqa": job.kv_heads < job.heads}
    if visible:
        keywords["block_mask"] = flex_attention.create_block_mask(
            visible,
            job.batch if job.case == "documents" else None,
            None,
            job.queries,
            job.length,
            device="cpu",
        )
    call, seconds = compiled_flex(job.direction, x, keywords)
    return call, {"compile_seconds": seconds}


def compiled_flex(
    direction: str, x: Tensors, keywords: dict[str, Any]
) -> tuple[Callable[[], torch.Tensor], float]:
    """`flex_attention`, compiled, as `calls` has it, and the seconds of its first call."""
    # torch reports at length on the Python version and on absent devices.
    logging.getLogger("torch").setLevel(logging.ERROR)
    torch._dynamo.reset()
    compiled: Any = torch.compile(flex_attention.flex_attention, dynamic=False)
    call = calls(direction, x, partial(compiled, **keywords))
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        call()
    return call, time.perf_counter() - start
