"""Multi-head attention as an NNX module."""

from functools import partial
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree

from attention_jax import variants
from attention_jax.core import checks, masks, plain_types
from attention_jax.core.calls import clear_calls
from attention_jax.core.jaxprs import split_pair
from attention_jax.core.rotary import Rotary, turned
from attention_jax.core.types import Context, MaskFunction, Options, State, Variant
from attention_jax.engine.context_layout import positions_of
from attention_jax.nn import caches, handed
from attention_jax.nn.caches import DotCache, KeyValueCache
from attention_jax.nn.handed import KeysValues
from attention_jax.nn.heads import Heads, heads_from, rotary_from
from attention_jax.nn.layers import Linear, check_rngs, dropout_key, plain
from attention_jax.nn.norms import RMSNorm


class CrossAttentionCache(NamedTuple):
    """Decoding cache of cross-attention: projected keys and values, and the variant's state."""

    source: KeyValueCache
    state: State


class MultiHeadAttention(nnx.Module):
    """Projects to heads, lets a variant attend in each, and projects back.

        out = W_o concat_h attend(W_q x, W_k y, W_v y)

    Args:
      width: model width; `heads` must divide it.
      heads: query heads; or a `Heads`, which has biases and norms too.
      kv_heads: key and value heads; divides `heads`. All of them where None.
      variant: the attention mechanism: a Variant, or a text that `variants.resolve` takes.
      rope: whether queries and keys are rotated by their positions, or how, by a `Rotary`.
      dropout_rate: rate of dropout on the weights.
      dtype: type of the computation; parameters are float32.

    Reference: Vaswani et al. 2017, arXiv:1706.03762, section 3.2.2; grouped heads: Ainslie et
    al. 2023, arXiv:2305.13245.
    """

    @clear_calls
    def __init__(
        self,
        width: int,
        *,
        heads: int | Heads,
        variant: Variant | str,
        kv_heads: int | None = None,
        rope: bool | Rotary = False,
        dropout_rate: float = 0.0,
        dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        own = heads_from(heads, kv_heads, width)
        plain_types.rates(dropout_rate=dropout_rate)
        check_rngs(rngs)
        variant = variants.resolve(variant, argument="variant")
        if own.shared_kv:
            handed.check_keeps_keys("shared_kv", True, variant, off="False")
        self.heads, (self.head_width, self.value_width) = own.heads, own.widths(width)
        self.kv_heads = own.heads if own.kv_heads is None else own.kv_heads
        self.rope = rotary_from(rope, self.head_width)
        self.dtype = plain_types.float_dtype(dtype)
        self.variant, self.dropout_rate, self.shared_kv = variant, dropout_rate, own.shared_kv
        self._project(width, own, rngs)
        sizes = {"heads": self.heads, "kv_heads": self.kv_heads, "head_width": self.head_width}
        if variant.features is not None:
            sizes["width"] = width
        learned = variant.init(rngs.params(), **sizes)
        self.learned = nnx.data(jax.tree.map(nnx.Param, learned))

    def _project(self, width: int, own: Heads, rngs: nnx.Rngs) -> None:
        """Makes the projections, and the norms of queries and keys."""

        def linear(width_in: int, width_out: int, use_bias: bool) -> Linear:
            return Linear(
                width_in,
                width_out,
                kernel_init=nnx.initializers.xavier_uniform(),
                use_bias=use_bias,
                dtype=self.dtype,
                rngs=rngs,
            )

        inside = own.biases != "none"
        self.query = linear(width, self.heads * self.head_width, inside)
        if not own.shared_kv:
            self.key = linear(width, self.kv_heads * self.head_width, inside)
            self.value = linear(width, self.kv_heads * self.value_width, inside)
        self.out = linear(self.heads * self.value_width, width, own.biases == "all")
        self.qk_norm = own.qk_norm
        if own.qk_norm:
            norm = partial(RMSNorm, self.head_width, epsilon=own.norm_epsilon, dtype=self.dtype)
            self.query_norm = norm(rngs=rngs)
            if not own.shared_kv:
                self.key_norm = norm(rngs=rngs)

    @clear_calls
    def __call__(
        self,
        x: Float[Array, "b t m"],
        memory: Float[Array, "b s m"] | None = None,
        *,
        mask: MaskFunction | None = None,
        rngs: nnx.Rngs | None = None,
        context: Context | str | None = None,
        given: KeysValues | None = None,
    ) -> Float[Array, "b t m"]:
        """Attends from `x` to `memory`, or to `x` itself.

        Args:
          context: the axis of the mesh over which the sequences are divided, or a `Context`; None
            where each device has whole ones.
          given: keys and values, as `keys_values` makes them, in place of the module's own.
        """
        for name, got in (("x", x), ("memory", x if memory is None else memory)):
            remedy = f"For one sequence add a batch axis: `{name}[None]`."
            checks.shape(name, got, "b t m", remedy=remedy)
        source = x if memory is None else memory
        keys, values = self.keys_values(source, context=context) if given is None else given
        q, features = self.queries(x, context=context), self.features(x)
        out = self.attend(q, keys, values, mask=mask, rngs=rngs, context=context, features=features)
        return self.merge(out)

    def features(self, x: Float[Array, "b t m"]) -> PyTree:
        """Features that the variant computes from the layer's input; None for most."""
        own = self.variant.features
        return None if own is None else own(plain(self.learned), x)

    def queries(
        self, x: Array, offset: int | Array = 0, *, context: Context | str | None = None
    ) -> Float[Array, "b t h d"]:
        """The queries of `x`, whose first position is `offset`."""
        q = _split(self.query(x), self.heads)
        return self._rotate(self.query_norm(q) if self.qk_norm else q, offset, context)

    def keys_values(
        self, x: Array, offset: int | Array = 0, *, context: Context | str | None = None
    ) -> tuple[Float[Array, "b s g d"], Float[Array, "b s g e"]]:
        """The keys and values of `x`, whose first position is `offset`.

        Raises:
          ValueError: they are those of another layer.
        """
        if self.shared_kv:
            raise ValueError(
                "`given` must hold the keys and values of another layer, for `shared_kv` says that "
                "there are no others; got None. Give what its `keys_values` makes."
            )
        k = _split(self.key(x), self.kv_heads)
        keys = self._rotate(self.key_norm(k) if self.qk_norm else k, offset, context)
        return keys, _split(self.value(x), self.kv_heads)

    def attend(
        self,
        q: Array,
        k: Array,
        v: Array,
        *,
        mask: MaskFunction | None = None,
        query_offset: int | Array = 0,
        rngs: nnx.Rngs | None = None,
        context: Context | str | None = None,
        features: PyTree = None,
    ) -> Float[Array, "b t h e"]:
        """The variant's own math, on projected heads.

        Args:
          features: of the queries' positions, for a variant that has them.
        """
        options = Options(mask, query_offset, context=context)
        if rngs is not None and (self.dropout_rate > 0 or self.variant.stochastic):
            options = options._replace(
                dropout_rate=self.dropout_rate, dropout_key=dropout_key(rngs)
            )
        more = {} if features is None else {"features": features}
        with jax.named_scope("attention"):
            return self.variant.attend(plain(self.learned), q, k, v, options, **more)

    def init_cache(self, batch: int, length: int) -> State:
        """An empty cache of self-attention, for at most `length` positions.

        It holds nothing where keys and values are those of another layer.
        """
        plain_types.room(batch=batch, length=length)
        if self.shared_kv:
            return ()
        if self.variant.start is not None:
            return self._init_state(batch, length)
        shape = batch, self.kv_heads, length
        widths = self.head_width, self.value_width
        return self._cache(*(jnp.zeros((*shape, own), self.dtype) for own in widths))

    def decode_step(
        self,
        x: Float[Array, "b t m"],
        cache: State,
        position: Array,
        held: Bool[Array, "b k n"] | None = None,
        *,
        given: KeysValues | None = None,
    ) -> tuple[State, Float[Array, "b t m"]]:
        """Self-attention of the next positions; reproduces the causal call.

        Args:
          position: of the first.
          held: of a search with beams, which of them holds each position: `caches.ancestors`.
            Then there is one next position.
          given: keys and values of the next positions, as the call takes them.

        Raises:
          ValueError: the cache is known to have no room for it; where only a run can tell, the
            output is NaN.
        """
        q = self.queries(x, position)
        k, v = self.keys_values(x, position) if given is None else given
        if self.variant.step is not None:
            cache, out = self._steps(cache, self.features(x), q, k, v)
            return cache, self.merge(out)
        length, last = cache.keys.shape[2], x.shape[1] - 1
        checks.within(last, length)  # wherever they begin
        has_room = checks.within(position + last, length)
        cache = caches.put(cache, k, v, position)
        return cache, jnp.where(has_room, self._look_up(x, q, cache, position, held), jnp.nan)

    def cached_step(
        self,
        x: Float[Array, "b t m"],
        cache: KeyValueCache,
        position: Array,
        held: Bool[Array, "b k n"] | None = None,
    ) -> Float[Array, "b t m"]:
        """`decode_step` over a cache that has the keys and values of these positions already."""
        return self._look_up(x, self.queries(x, position), cache, position, held)

    def _look_up(
        self, x: Array, q: Array, cache: KeyValueCache, position: Array, held: Array | None
    ) -> Float[Array, "b t m"]:
        scale = self.dot_scale
        if scale is not None and x.shape[1] == 1:
            at = jnp.arange(cache.keys.shape[2])
            seen = (at <= position)[None] if held is None else held
            return self.merge(caches.attend(q, cache, seen, scale=scale))
        keys, values = cache.sequences
        features = self.features(x)
        out = self.attend(
            q, keys, values, mask=masks.causal, query_offset=position, features=features
        )
        return self.merge(out)

    def _steps(
        self, state: State, features: PyTree, *qkv: Array
    ) -> tuple[State, Float[Array, "b t h e"]]:
        """The variant's own steps: all at once where it can, or one after another."""
        params, step = plain(self.learned), cast(Any, self.variant.step)
        more = {} if features is None else {"features": features}
        if qkv[0].shape[1] > 1 and self.variant.extend is not None:
            return self.variant.extend(params, state, *qkv, **more)

        def next_one(state: State, own: Any) -> tuple[State, Array]:
            return step(params, state, *own[0], **own[1])

        if qkv[0].shape[1] == 1:
            state, out = next_one(state, jax.tree.map(lambda x: x[:, 0], (qkv, more)))
            return state, out[:, None]
        each = jax.tree.map(lambda x: x.swapaxes(0, 1), (qkv, more))
        state, out = jax.lax.scan(next_one, state, each)
        return state, out.swapaxes(0, 1)

    def init_cross_cache(self, memory: Float[Array, "b s m"]) -> CrossAttentionCache:
        """The cache of cross-attention to a sequence that does not grow."""
        keys, values = self.keys_values(memory)
        state = {} if self.variant.cross_step is None else self._init_state(*keys.shape[:2])
        return CrossAttentionCache(self._cache(*caches.of_sequences(keys, values)), state)

    def cross_step(
        self,
        x: Float[Array, "r 1 m"],
        cache: CrossAttentionCache,
        visible: Bool[Array, "b s"],
        key: PRNGKeyArray | None = None,
    ) -> tuple[CrossAttentionCache, Float[Array, "r 1 m"]]:
        """Cross-attention of the next position, to the keys that are `visible`.

        The cache may hold each source once for several rows, which lie together, where dot
        products read it. With a `key` a variant draws that does so in training.
        """
        source, state = cache
        q, scale = self.queries(x), self.dot_scale
        if scale is not None:
            return cache, self.merge(caches.attend(q, source, visible, scale=scale))
        keys, values = source.sequences
        if self.variant.cross_step is None:
            rngs = None if key is None else nnx.Rngs(dropout=key)
            seen, features = masks.keys(visible), self.features(x)
            own = self.attend(q, keys, values, mask=seen, rngs=rngs, features=features)
            return cache, self.merge(own)
        params, more = plain(self.learned), {} if key is None else {"dropout_key": key}
        state, out = self.variant.cross_step(
            params, state, q[:, 0], keys, values, visible=visible, **more
        )
        return cache._replace(state=state), self.merge(out[:, None])

    @property
    def dot_scale(self) -> float | None:
        """The number by which the variant multiplies the dot product; None where it is another."""
        if self.variant.score is None or self.variant.cross_step is not None:
            return None
        like = jax.ShapeDtypeStruct((1, 1, 1, self.head_width), jnp.float32)
        score = self.variant.score(plain(self.learned))
        return split_pair(checks.score_function(score, like, like, jnp.float32)).dot_scale

    def _cache(self, keys: Array, values: Array) -> KeyValueCache:
        return (KeyValueCache if self.dot_scale is None else DotCache)(keys, values)

    def _init_state(self, batch: int, length: int) -> State:
        start: Any = self.variant.start
        return start(
            plain(self.learned),
            batch,
            length,
            heads=self.heads,
            kv_heads=self.kv_heads,
            head_width=self.head_width,
            value_width=self.value_width,
            dtype=self.dtype,
        )

    def merge(self, heads: Float[Array, "b t h e"]) -> Float[Array, "b t m"]:
        """Projects the concatenated heads back to the model's width."""
        return self.out(heads.reshape(*heads.shape[:2], -1))

    def _rotate(self, x: Array, offset: int | Array, context: Context | str | None = None) -> Array:
        if self.rope is None:
            return x
        return turned(x, offset + positions_of(context, x.shape[1]), self.rope)


def _split(x: Array, heads: int) -> Array:
    return x.reshape(*x.shape[:-1], heads, -1)
