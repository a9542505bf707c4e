"""The cases of `attention_pairs` in PyTorch: SDPA, and `flex_attention`, compiled, forward only.

SDPA gets what it has no word for as a dense mask or bias, made beforehand; block masks of
`flex_attention` are made beforehand too. Both take views of the same [b t h d] memory.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.nn import functional
from torch.nn.attention import flex_attention

from attention_jax.core.positions import alibi_slopes
from experiments.benchmark.attention_cases import CAP, FORWARD, Arrays
from experiments.benchmark.attention_pairs import CAUSAL, Pair
from experiments.benchmark.attention_torch import Tensors, calls, compiled_flex


def sides(
    case: Pair, arrays: Arrays, limit: float, *, flex: bool
) -> dict[str, Callable[[], Callable[[], Any]]]:
    """The sides that have the case; each is prepared when called."""
    x = {name: torch.from_dlpack(array) for name, array in arrays.items()}
    found: dict[str, Callable[[], Callable[[], Any]]] = {}
    if case.mask != "softcap":
        found["torch_sdpa"] = partial(_sdpa, case, x, limit)
    if case.direction == FORWARD and (flex or case.mask == "softcap"):
        found["torch_flex"] = partial(_flex, case, x)
    return found


def difference(out: torch.Tensor, own: np.ndarray) -> float:
    """The largest difference of two outputs, where a row that sees nothing is NaN in PyTorch."""
    return float(np.abs(np.nan_to_num(out.detach().numpy()) - own).max())


def _sdpa(case: Pair, x: Tensors, limit: float) -> Callable[[], Any]:
    keywords: dict[str, Any] = {"enable_gqa": case.kind == "gqa"}
    if case.mask == "causal" and not case.is_padded:
        keywords["is_causal"] = True
    elif case.mask != "full" or case.is_padded:
        keywords["attn_mask"] = _array(case, x, limit)
    function = partial(functional.scaled_dot_product_attention, **keywords)
    return calls(case.direction, x, function)


def _visible(case: Pair, x: Tensors) -> Callable[..., torch.Tensor]:
    """The mask, as `flex_attention` takes it; `i` and `j` are numbers from 0."""
    first, ids, lengths = case.length - case.queries, x["ids"], x["lengths"]

    def visible(b: Any, h: Any, i: Any, j: Any) -> torch.Tensor:
        seen = j <= i + first if case.mask in CAUSAL else (j >= 0) & (i >= 0)
        if case.mask == "window":
            seen = seen & (i + first - j < case.window)
        if case.mask == "documents":
            seen = seen & (ids[b, i + first] == ids[b, j])
        if case.is_padded:
            seen = seen & (j < lengths[b])
        return seen

    return visible


def _modify(case: Pair, x: Tensors) -> Callable[..., torch.Tensor] | None:
    slopes = torch.tensor(alibi_slopes(case.heads))
    first, bias = case.length - case.queries, x["bias"]
    changes: dict[str, Callable[..., torch.Tensor]] = {
        "alibi": lambda score, b, h, i, j: score - slopes[h] * (i + first - j).abs(),
        "softcap": lambda score, b, h, i, j: CAP * torch.tanh(score / CAP),
        "bias": lambda score, b, h, i, j: score + bias[i, j],
    }
    return changes.get(case.mask)


def _array(case: Pair, x: Tensors, limit: float) -> torch.Tensor:
    """The mask, or the bias where scores are modified, of length 1 where it can be."""
    by_batch = case.is_padded or case.mask == "documents"
    sizes = (
        case.batch if by_batch else 1,
        case.heads if case.mask == "alibi" else 1,
        case.queries if case.mask != "padding" or case.kind == "cross" else 1,
        case.length,
    )
    if 4 * math.prod(sizes) > limit:
        raise MemoryError(f"skipped: needs {4 * math.prod(sizes) / 1e9:.1f} GB")
    b, h, i, j = (torch.from_numpy(y) for y in np.ogrid[tuple(map(slice, sizes))])
    seen, modify = _visible(case, x)(b, h, i, j), _modify(case, x)
    if modify is None:
        return seen
    return torch.where(seen, modify(torch.zeros(()), b, h, i, j), -torch.inf)


def _flex(case: Pair, x: Tensors) -> Callable[[], Any]:
    """Compiles here, where a failure is recorded."""
    keywords: dict[str, Any] = {"score_mod": _modify(case, x), "enable_gqa": case.kind == "gqa"}
    if case.mask not in ("full", "bias") or case.is_padded:
        by_batch = case.is_padded or case.mask == "documents"
        keywords["block_mask"] = flex_attention.create_block_mask(
            _visible(case, x),
            case.batch if by_batch else None,
            None,
            case.queries,
            case.length,
            device="cpu",
        )
    return compiled_flex(case.direction, x, keywords)[0]
