"""Linear maps, embeddings, stacks and dropout. Modules own parameters; functions the math."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, PyTree

from attention_jax.core import checks, contexts, plain_types, sinusoids
from attention_jax.core.calls import clear_calls
from attention_jax.core.numerics import kept_entries
from attention_jax.core.sinusoids import Sinusoids
from attention_jax.core.types import Context
from attention_jax.engine.context_layout import layout_of, positions_of

ONE_TEXT = "For one text add a batch axis: `tokens[None]`."
FEW_ROWS = 4  # with more, turning the scores takes what packing the table does

OutSharding = jax.sharding.NamedSharding | jax.sharding.PartitionSpec | None


def plain(tree: PyTree) -> PyTree:
    """A tree of `nnx.Param` as a tree of arrays."""
    return jax.tree.map(
        lambda leaf: leaf[...], tree, is_leaf=lambda leaf: isinstance(leaf, nnx.Variable)
    )


def check_rngs(rngs: nnx.Rngs) -> None:
    """Raises unless there are random numbers to make parameters from."""
    if not isinstance(rngs, nnx.Rngs):
        raise ValueError(
            f"`rngs` must be an `nnx.Rngs`, from which parameters are drawn; got "
            f"{checks.said(rngs)}. Make one: `nnx.Rngs(0)`."
        )


def dropout_key(rngs: nnx.Rngs) -> Array:
    """A new key of the stream `dropout`.

    Raises:
      ValueError: there is no such stream.
    """
    if not isinstance(rngs, nnx.Rngs) or not {"dropout", "default"} & set(rngs):
        raise ValueError(
            f"`rngs` must be an `nnx.Rngs` with a stream `dropout`; got {checks.said(rngs)}. Make "
            "one: `nnx.Rngs(dropout=0)`, or leave it out where nothing is dropped."
        )
    return rngs.dropout()


class Linear(nnx.Linear):
    """`nnx.Linear` on all positions at once.

    On a CPU the gradient of a matrix product of rank 2 takes 0.6 of the time of one of rank 3.
    """

    @clear_calls
    def __init__(self, in_features: int, out_features: int, *, rngs: nnx.Rngs, **options: object):
        plain_types.sizes(in_features=in_features, out_features=out_features)
        check_rngs(rngs)
        super().__init__(in_features, out_features, rngs=rngs, **options)  # ty: ignore

    def __call__(
        self, inputs: Float[Array, "*n i"], out_sharding: OutSharding = None
    ) -> Float[Array, "*n o"]:
        flat = super().__call__(inputs.reshape(-1, inputs.shape[-1]), out_sharding)
        return flat.reshape(*inputs.shape[:-1], -1)


def placed(
    x: Float[Array, "b t m"],
    kind: str | Sinusoids,
    learned: nnx.Embed | None = None,
    *,
    offset: int | Array = 0,
    scale: float = 1.0,
    context: Context | str | None = None,
) -> Float[Array, "b t m"]:
    """Vectors with their positions added, the first of which is `offset`.

    Args:
      kind: "sinusoidal", or how, by a `Sinusoids`; or another that adds nothing by itself.
      learned: vectors of positions, where they are learned; they count `scale` times.
      context: what divides the sequence over an axis of the mesh, if anything does.

    Raises:
      ValueError: there are more vectors than learned positions.
    """
    length, width = x.shape[1:]
    at = offset + positions_of(context, length)
    if learned is not None:
        whole = length if context is None else layout_of(context).whole(length)
        checks.at_most("length", whole, "max_length", learned.num_embeddings)
        return x + learned(at)[None] * scale
    if kind == "sinusoidal" or isinstance(kind, Sinusoids):
        own = kind if isinstance(kind, Sinusoids) else Sinusoids()
        added = sinusoids.table(at, width, own)
        return x + added.astype(x.dtype)[None]
    return x


class Embedding(nnx.Module):
    """Token vectors, scaled, with positions added; tied to the output.

        x_i = scale E[token_i] + position_i

    Args:
      scale: of the vectors of tokens and of learned positions; None for the root of the width.
      positions: "sinusoidal", or how, by a `Sinusoids`; "learned" (up to `max_length`, scaled
        likewise, so that they weigh as much as the tokens), or "none".
      context: the axis of the mesh over which sequences are divided, or a `Context`; None where
        each device has whole ones, as those have that begin at an offset.
    """

    @clear_calls
    def __init__(
        self,
        vocabulary_size: int,
        width: int,
        *,
        positions: str | Sinusoids = "none",
        max_length: int = 0,
        scale: float | None = None,
        dtype: DTypeLike = jnp.float32,
        context: Context | str | None = None,
        rngs: nnx.Rngs,
    ):
        plain_types.sizes(vocabulary_size=vocabulary_size, width=width)
        self.sequence_context = None if context is None else contexts.checked(context)
        if isinstance(positions, Sinusoids):
            positions.check()
        else:
            checks.one_of("positions", positions, ("sinusoidal", "learned", "none"))
        if positions == "learned":
            plain_types.sizes(max_length=max_length)
        if scale is not None:
            checks.above_zero("scale", scale, beside=", or None for the root of the width")
        check_rngs(rngs)
        dtype = plain_types.float_dtype(dtype)
        init = nnx.initializers.normal(width**-0.5)
        self.table = nnx.Embed(vocabulary_size, width, embedding_init=init, dtype=dtype, rngs=rngs)
        self.positions, self.width = positions, width
        self.scale = width**0.5 if scale is None else scale
        self.learned = (
            nnx.Embed(max_length, width, embedding_init=init, dtype=dtype, rngs=rngs)
            if positions == "learned"
            else None
        )

    def __call__(self, tokens: Int[Array, "b t"], offset: int | Array | None = None) -> Array:
        checks.shape("tokens", tokens, "b t", remedy=ONE_TEXT)
        checks.whole("tokens", tokens)
        return self.place(self.vectors_of(tokens), offset)

    def vectors_of(self, source: Int[Array, "b t"] | Float[Array, "b t f"]) -> Array:
        """The vectors of tokens, without positions; vectors are what they are."""
        if not jnp.issubdtype(source.dtype, jnp.integer):
            return source
        checks.shape("tokens", source, "b t", remedy=ONE_TEXT)
        return self.table(source) * self.scale

    def place(self, x: Float[Array, "b t m"], offset: int | Array | None = None) -> Array:
        """Vectors with their positions added, from `offset` on; None for whole sequences."""
        context = self.sequence_context if offset is None else None
        first = 0 if offset is None else offset
        return placed(
            x, self.positions, self.learned, offset=first, scale=self.scale, context=context
        )

    def logits(self, x: Array) -> Array:
        """Scores of all tokens, from the same table."""
        flat = x.reshape(-1, self.width)
        # Of a symbolic number, as exported programs have, nothing is known.
        is_few = isinstance(flat.shape[0], int) and flat.shape[0] <= FEW_ROWS
        if is_few and flat.dtype == jnp.float32 and jax.default_backend() == "cpu":
            flat = _of_few_rows(flat, self.table.embedding[...])
        else:
            flat = self.table.attend(flat)
        return flat.reshape(*x.shape[:-1], -1).astype(jnp.float32)


def _of_few_rows(x: Float[Array, "r m"], table: Float[Array, "v m"]) -> Float[Array, "r v"]:
    """`x table^T`, as `(table x^T)^T`.

    A CPU packs the right factor of a product first, which for few rows takes as long as the product
    with a large table. And a single row is left to one core, while four are not.
    """
    rows = len(x)
    padded = jnp.pad(x, ((0, FEW_ROWS - rows), (0, 0)))
    product = lax.dot_general(table, padded, (((1,), (1,)), ((), ())))
    # Without it XLA turns the product and its transposition into `x table^T` again.
    return lax.optimization_barrier(product).T[:rows]


class Stack(nnx.Module):
    """Layers of one kind, one after another.

    Args:
      builds: `(rngs) -> layer` for each layer, which is called as `layer(x, *context, rngs=...)`,
        and gives the x of the next: between layers any tree of arrays.
      scan: runs one compiled layer in a loop, which compiles faster.
      remat: recomputes each layer in the backward pass, which saves memory.
    """

    @clear_calls
    def __init__(
        self,
        builds: Sequence[Callable[[nnx.Rngs], nnx.Module]],
        *,
        scan: bool = False,
        remat: bool = False,
        rngs: nnx.Rngs,
    ):
        if not isinstance(builds, Sequence) or not builds:
            raise ValueError(
                "`builds` must be a list of functions `(rngs) -> layer`, one for each layer; got "
                f"{checks.said(builds)}. Write `[build] * depth` for layers that are alike."
            )
        for build in builds:
            checks.called_with("builds", build, "(rngs)")
        plain_types.flags(scan=scan, remat=remat)
        check_rngs(rngs)
        self.depth, self.scan, self.remat = len(builds), scan, remat
        self.layers: Any = (
            nnx.vmap(builds[0])(rngs.split(len(builds)))
            if scan
            else nnx.List([build(rngs) for build in builds])
        )

    def __call__(self, x: Array, *context: PyTree, rngs: nnx.Rngs | None = None) -> Array:
        if not (self.scan or self.remat):
            for layer in self.layers:
                x = _applied(layer, x, context, rngs)
            return x
        keys = None if rngs is None else jax.random.split(rngs.dropout(), self.depth)

        def body(graphdef, x, layer_and_key):
            state, key = layer_and_key
            layer = nnx.merge(graphdef, state)
            return layer(x, *context, rngs=None if key is None else nnx.Rngs(dropout=key)), None

        def run(graphdef):
            own = partial(body, graphdef)
            return jax.checkpoint(own) if self.remat else own

        if self.scan:
            graphdef, stacked = self._stacked()
            return jax.lax.scan(run(graphdef), x, (stacked, keys))[0]
        for i, layer in enumerate(self.layers):
            graphdef, state = nnx.split(layer)
            own = nnx.as_pure(state), None if keys is None else keys[i]
            x, _ = run(graphdef)(x, own)
        return x

    def each(self) -> list[Any]:
        """The layers as a list, however they are stored."""
        if not self.scan:
            return list(self.layers)
        graphdef, stacked = self._stacked()
        pick = [jax.tree.map(lambda leaf, i=i: leaf[i], stacked) for i in range(self.depth)]
        return [nnx.merge(graphdef, state) for state in pick]

    def _stacked(self) -> tuple[Any, Any]:
        graphdef, state = nnx.split(self.layers)
        return graphdef, nnx.as_pure(state)


def _applied(layer: Any, x: PyTree, context: tuple, rngs: nnx.Rngs | None) -> PyTree:
    """`layer(x, *context, rngs=rngs)`; in a program of training, layers that are alike share it.

    JAX traces and lowers it once for all of them; XLA takes it apart again.
    """
    if rngs is None or not isinstance(jax.tree.leaves(x)[0], jax.core.Tracer):
        return layer(x, *context, rngs=rngs)
    graph, state = nnx.split((layer, rngs))
    try:
        hash(graph)
    except TypeError:  # of an attribute, such as a list: there is no telling whether it is alike
        return layer(x, *context, rngs=rngs)
    x, counts = _shared(graph, state, x, context)
    nnx.update(rngs, counts)
    return x


@partial(jax.jit, static_argnums=0)
def _shared(graph: Any, state: Any, x: PyTree, context: tuple) -> tuple[PyTree, Any]:
    layer, rngs = nnx.merge(graph, state)
    return layer(x, *context, rngs=rngs), nnx.state(rngs)


def dropout(x: Array, rate: float, rngs: nnx.Rngs | None) -> Array:
    """Sets entries to 0 with probability `rate` and scales the others up; `x` without `rngs`.

    Reference: Srivastava et al. 2014, Journal of Machine Learning Research 15.
    """
    if rngs is None or not rate:
        return x
    with jax.named_scope("dropout"):
        kept = kept_entries(dropout_key(rngs), rate, x.shape)
        return jnp.where(kept, x * (1 / (1 - rate)), 0)
