"""Attention in PyTorch on the same GPU and the same arrays: SDPA, and compiled flex_attention."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.nn import functional
from torch.nn.attention import flex_attention

from experiments.benchmark.attention_cases import BOTH, CAP, WINDOW, Arrays, Job

Tensors = dict[str, torch.Tensor]
Side = Callable[[int], object]


def is_there() -> bool:
    """True where torch sees a GPU."""
    return torch.cuda.is_available()


def sides(job: Job, arrays: Arrays) -> dict[str, Callable[[], Side]]:
    """The sides that can express the case; each is prepared when called."""
    x = {name: torch.from_dlpack(array) for name, array in arrays.items()}
    found: dict[str, Callable[[], Side]] = {}
    if job.case in ("full", "causal", "gqa"):
        found["torch_sdpa"] = partial(_side, job, x, _sdpa(job))
    if job.case not in ("additive", "cosine", "decode"):
        found["torch_flex"] = lambda: _side(job, x, _flex(job, x))
    return found


def _sdpa(job: Job) -> Callable[..., torch.Tensor]:
    keywords = {"is_causal": job.case != "full", "enable_gqa": job.kv_heads < job.heads}
    return partial(functional.scaled_dot_product_attention, **keywords)


def _flex(job: Job, x: Tensors) -> Callable[..., torch.Tensor]:
    ids, device, heads = x["ids"], x["q"].device, job.heads
    slopes = 2.0 ** (-8.0 / heads * torch.arange(1, heads + 1, device=device))
    own: dict[str, Any] = {
        "window": lambda b, h, i, j: (j <= i) & (i - j < WINDOW),
        "documents": lambda b, h, i, j: (j <= i) & (ids[b, i] == ids[b, j]),
        "full": None,
    }
    visible = own.get(job.case, lambda b, h, i, j: j <= i)
    modify: dict[str, Any] = {
        "alibi": lambda score, b, h, i, j: score - slopes[h] * (i - j).abs(),
        "softcap": lambda score, b, h, i, j: CAP * torch.tanh(score / CAP),
    }
    keywords: dict[str, Any] = {
        "score_mod": modify.get(job.case),
        "enable_gqa": job.kv_heads < job.heads,
    }
    if visible:
        batch = job.batch if job.case == "documents" else None
        keywords["block_mask"] = flex_attention.create_block_mask(
            visible, batch, None, job.queries, job.length, device=str(device)
        )
    torch._dynamo.reset()
    compiled: Any = torch.compile(flex_attention.flex_attention, dynamic=False)
    return partial(compiled, **keywords)


def _side(job: Job, x: Tensors, function: Callable[..., torch.Tensor]) -> Side:
    both = job.direction == BOTH
    leaves = [x[name].transpose(1, 2).detach().requires_grad_(both) for name in "qkv"]
    out_ct = x["g"].transpose(1, 2)

    def side(count: int) -> tuple[torch.Tensor, ...]:
        found: tuple[torch.Tensor, ...] = ()
        for _ in range(count):
            with torch.set_grad_enabled(both):
                out = function(*leaves)
            found = (out, *(torch.autograd.grad(out, leaves, out_ct) if both else ()))
        if out_ct.is_cuda:
            torch.cuda.synchronize()
        return tuple(y.detach().transpose(1, 2) for y in found)

    return side
