"""Optimizers and learning rates by name, as optax transformations.

rate = schedule("inverse_sqrt", peak=1e-3, warmup_steps=400, steps=10_000)
transform = optimizer("adamw", learning_rate=rate, weight_decay=0.01, clip_norm=1.0)
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import optax
from optax import contrib

from attention_jax.core import checks
from attention_jax.core.plain_types import typed_calls

Schedule = Callable[[Any], Any]  # number of updates done -> learning rate of the next one


def optimizer_names() -> tuple[str, ...]:
    """Names that `optimizer` takes."""
    return "adam", "adamw", "muon"


def schedule_names() -> tuple[str, ...]:
    """Names that `schedule` takes."""
    return "constant", "cosine", "inverse_sqrt"


@typed_calls
def schedule(
    name: str, *, peak: float, warmup_steps: int, steps: int, final: float = 0.0
) -> Schedule:
    """Learning rate of each update, with a linear warm-up of W updates.

        rate(n) = peak min(1, n / W) decay(n),    n = 1, 2, ... counts updates

        constant       decay(n) = 1
        inverse_sqrt   decay(n) = sqrt(W / n)                              n > W
        cosine         decay(n) = f + (1 - f) (1 + cos(pi (n - W) / (steps - W))) / 2
                                                    n > W, f = final / peak

    Args:
      name: one of `schedule_names()`.
      peak: largest rate, reached after the warm-up.
      warmup_steps: W; 0 counts as 1.
      steps: total number of updates, where the cosine reaches `final`.
      final: last rate of the cosine; 0 for the other schedules.

    Returns:
      An optax schedule: a function of the number of updates already done, n - 1.

    Raises:
      ValueError: the name is unknown, or a number is out of range.

    Reference: Vaswani et al. 2017, arXiv:1706.03762, equation 3 (inverse square root);
    Loshchilov and Hutter 2017, arXiv:1608.03983, equation 5 (cosine).

    >>> rate = schedule("inverse_sqrt", peak=1.0, warmup_steps=4, steps=100)
    >>> [float(rate(n)) for n in (0, 3, 15)]
    [0.25, 1.0, 0.5]
    """
    _check_name("schedule", name, schedule_names())
    if peak < 0 or warmup_steps < 0 or steps < 0:
        raise ValueError(
            "`peak`, `warmup_steps` and `steps` must not be negative; got "
            f"{peak}, {warmup_steps} and {steps}."
        )
    if final and (name != "cosine" or not 0 <= final <= peak):
        raise ValueError(
            f"`final` must lie between 0 and the peak, {peak}, of a cosine schedule; got {final} "
            f"for {name}. Leave it at 0."
        )
    share = final / peak if final else 0.0
    w = float(max(warmup_steps, 1))
    decay = {
        "constant": lambda n: jnp.ones_like(n),
        "inverse_sqrt": lambda n: jnp.sqrt(w / n),
        "cosine": lambda n: (
            share
            + (1 - share)
            * (1 + jnp.cos(jnp.pi * jnp.clip((n - w) / max(steps - w, 1.0), 0, 1)))
            / 2
        ),
    }[name]

    def rate(updates: Any) -> jax.Array:
        n = jnp.asarray(updates, jnp.float32) + 1
        return peak * jnp.where(n <= w, n / w, decay(n))

    return rate


@typed_calls
def optimizer(
    name: str,
    *,
    learning_rate: float | Schedule,
    weight_decay: float = 0.0,
    clip_norm: float | None = None,
    b1: float = 0.9,
    b2: float = 0.98,
) -> optax.GradientTransformation:
    """Optimizer with clipping of the gradient by its global norm.

    Weight decay is decoupled, times the learning rate, and applies to matrices alone. Muon
    orthogonalizes the momentum of matrices and scales it to the size of an Adam update, so that one
    learning rate serves both; embeddings, vectors and arrays of higher rank are updated by AdamW.
    An output projection that is not tied to the embedding is a matrix. The layers of a scanned
    stack are treated one by one.

    Args:
      name: one of `optimizer_names()`.
      learning_rate: a number, or a schedule.
      weight_decay: decay coefficient, multiplied by the learning rate.
      clip_norm: largest global norm of a gradient; None for no clipping.
      b1: decay rate of Adam's first moment.
      b2: decay rate of Adam's second moment.

    Raises:
      ValueError: the name is unknown, a number is out of range, or `adam` is given weight decay.

    Reference: Kingma and Ba 2015, arXiv:1412.6980; Loshchilov and Hutter 2019,
    arXiv:1711.05101; Jordan et al. 2024, kellerjordan.github.io/posts/muon; the scale is that
    of Liu et al. 2025, arXiv:2502.16982, equation 4.
    """
    _check_name("optimizer", name, optimizer_names())
    if not callable(learning_rate) and learning_rate < 0:
        raise ValueError(f"`learning_rate` must not be negative; got {learning_rate}.")
    checks.fraction("b1", b1)
    checks.fraction("b2", b2)
    if clip_norm is not None and clip_norm <= 0:
        raise ValueError(f"`clip_norm` must be positive or None; got {clip_norm}.")
    if weight_decay < 0:
        raise ValueError(f"`weight_decay` must not be negative; got {weight_decay}.")
    if name == "adam" and weight_decay:
        raise ValueError(
            f"`weight_decay` must be 0 for adam; got {weight_decay}. Use adamw, which decays "
            "weights apart from the gradient."
        )
    if name == "adam":
        update = optax.adam(learning_rate, b1=b1, b2=b2, eps=1e-9)
    elif name == "adamw":
        update = optax.adamw(
            learning_rate, b1=b1, b2=b2, eps=1e-9, weight_decay=weight_decay, mask=_matrices
        )
    else:
        update = _muon(learning_rate, weight_decay=weight_decay, b1=b1, b2=b2)
    if clip_norm is not None:
        update = optax.chain(optax.clip_by_global_norm(clip_norm), update)
    return _with_implicit_promotion(update)


def _muon(learning_rate, *, weight_decay: float, b1: float, b2: float):
    return contrib.muon(
        learning_rate,
        weight_decay=weight_decay,
        adam_b1=b1,
        adam_b2=b2,
        consistent_rms=0.2,
        muon_weight_dimension_numbers=_hidden_matrices,
    )


def _with_implicit_promotion(transform: optax.GradientTransformation):
    """Lets optax promote its integer counts even if the caller forbids implicit promotion."""

    def update(updates, state, params=None):
        with jax.numpy_dtype_promotion("standard"):
            return transform.update(updates, state, params)

    return optax.GradientTransformation(transform.init, update)


def _matrices(params: Any) -> Any:
    return jax.tree_util.tree_map_with_path(lambda path, x: _rank(path, x) >= 2, params)


def _hidden_matrices(params: Any) -> Any:
    """Muon's dimension numbers for matrices except embeddings, None for everything else."""

    def specification(path, x):
        if _rank(path, x) != 2 or "embed" in jax.tree_util.keystr(path).lower():
            return None
        return contrib.MuonDimensionNumbers(x.ndim - 2, x.ndim - 1)

    return jax.tree_util.tree_map_with_path(specification, params)


def _rank(path: tuple, x: Any) -> int:
    """Rank of a parameter, without the axis of layers over which `nn.layers.Stack` scans."""
    names = [getattr(key, "key", getattr(key, "name", None)) for key in path]
    scanned = any(a == "layers" and isinstance(b, str) for a, b in pairwise(names))
    return x.ndim - scanned


def _check_name(argument: str, name: str, known: tuple[str, ...]) -> None:
    if name not in known:
        raise ValueError(f"`{argument}` must be one of {', '.join(known)}; got {name!r}.")
