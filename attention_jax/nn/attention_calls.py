"""Attention calls of a model, recorded while it runs its own forward pass.

    def attention_calls(self, batch):            # a method of every model of models/
        return record(self, lambda model: model.logits(batch.tokens))

A model of your own needs no more than this method for `analysis.attention_maps` to show it.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

from flax import nnx
from jaxtyping import Array, Float

from attention_jax.core import contexts, masks
from attention_jax.core.types import Context, MaskFunction
from attention_jax.nn.attention import MultiHeadAttention
from attention_jax.nn.handed import KeysValues
from attention_jax.nn.layers import Stack

Model = TypeVar("Model", bound=nnx.Module)


@runtime_checkable
class Attention(Protocol):
    """A module that attends, as `MultiHeadAttention` does: projections, and the variant's math."""

    def queries(self, x: Array) -> Float[Array, "b t h d"]: ...

    def keys_values(self, x: Array) -> tuple[Float[Array, "b s g d"], Float[Array, "b s g e"]]: ...

    def attend(
        self, q: Array, k: Array, v: Array, *, mask: MaskFunction | None = None
    ) -> Float[Array, "b t h e"]: ...


class AttentionCall(NamedTuple):
    """One call of attention inside a model, with its arguments.

    Attributes:
      name: path of the module in the model, such as "decoder.layers.0.cross_attention".
      module: the module that is called.
      x: the vectors that queries are made of.
      memory: those that keys and values are made of; None where it is `x` itself.
      mask: as the module gets it.
      given: keys and values, where they are not the module's own.
    """

    name: str
    module: Attention
    x: Float[Array, "b t m"]
    memory: Float[Array, "b s m"] | None
    mask: MaskFunction | None
    given: KeysValues | None = None

    @property
    def keys_values(self) -> KeysValues:
        """The keys and values to which the call attends."""
        if self.given is not None:
            return self.given
        return self.module.keys_values(self.x if self.memory is None else self.memory)

    @property
    def kind(self) -> str:
        """One of "cross" (another sequence), "decoder" (causal) and "encoder" (any other mask)."""
        if self.memory is not None:
            return "cross"
        return "decoder" if self.mask == masks.causal else "encoder"


@runtime_checkable
class Attentive(Protocol):
    """A model that can say where it attends, for a batch as in its training."""

    def attention_calls(self, batch: Any) -> Iterator[AttentionCall]: ...


def record(model: Model, run: Callable[[Model], object]) -> Iterator[AttentionCall]:
    """Every call of a `MultiHeadAttention` in `run(model)`, in order.

    It runs a copy of the model, in which stacks are unrolled, so that no call is hidden in a loop.

    Args:
      model: any NNX module.
      run: calls the copy, without dropout.
    """
    copy = nnx.merge(*nnx.split(model))
    calls: list[AttentionCall] = []
    for _, module in list(nnx.iter_modules(copy)):
        if isinstance(module, Stack):
            module.layers, module.scan, module.remat = nnx.List(module.each()), False, False
    for path, module in list(nnx.iter_modules(copy)):
        for name, part in list(vars(module).items()):
            if isinstance(part, MultiHeadAttention):
                setattr(module, name, _Recorder(".".join(map(str, (*path, name))), part, calls))
    run(copy)
    return iter(calls)


class _Recorder:
    """Stands in for a module, and notes its calls."""

    def __init__(self, name: str, module: MultiHeadAttention, calls: list[AttentionCall]) -> None:
        self.name, self.module, self.calls = name, module, calls

    def __getattr__(self, name: str) -> Any:
        return getattr(self.module, name)

    def __call__(
        self,
        x: Array,
        memory: Array | None = None,
        *,
        mask: MaskFunction | None = None,
        rngs: nnx.Rngs | None = None,
        context: Context | str | None = None,
        given: KeysValues | None = None,
    ) -> Array:
        if context is not None and contexts.checked(context).order != "natural":
            raise ValueError(
                "Calls of attention are recorded in the natural order of positions; got `context` "
                f"{context!r}. Give the model a config whose `context` is None."
            )
        self.calls.append(AttentionCall(self.name, self.module, x, memory, mask, given))
        return self.module(x, memory, mask=mask, rngs=rngs, context=context, given=given)
