"""A Transformer's encoder of texts by itself: a vector of each token, or one of a whole text.

    model = TextEncoder(TextEncoderConfig(TransformerConfig(69), token_types=2), rngs=nnx.Rngs(0))
    states = model.states(tokens, mask)                    # [b s m]
    vectors = model.vectors(tokens, mask, pooling="mean")  # [b m]

Reference: Devlin et al. 2019, arXiv:1810.04805; means of states: Reimers and Gurevych 2019,
arXiv:1908.10084, section 3.
"""

from collections.abc import Iterator
from typing import NamedTuple

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from attention_jax.core import checks, plain_types
from attention_jax.core.calls import clear_calls, clear_fields
from attention_jax.nn import transformer
from attention_jax.nn.attention_calls import AttentionCall, record
from attention_jax.nn.feed_forward import PLAIN
from attention_jax.nn.layers import Embedding, Linear, dropout
from attention_jax.nn.norms import LayerNorm
from attention_jax.nn.patches import SPREAD
from attention_jax.nn.protocols import EncoderOutput, PairInputs
from attention_jax.nn.transformer import TransformerConfig
from attention_jax.nn.transformer_layers import EncoderLayer

POOLINGS = ("mean", "first", "pooler")


@clear_fields
class TextEncoderConfig(NamedTuple):
    """Sizes and choices of an encoder of texts.

    Attributes:
      transformer: of its layers.
      token_types: kinds of tokens, as of the two sentences of a pair; each adds a learned vector.
        0 for none.
      pooler: whether the first state is mapped once more, where it stands for the text.
      words: whether the model guesses tokens that are masked.
    """

    transformer: TransformerConfig
    token_types: int = 0
    pooler: bool = False
    words: bool = False

    @property
    def vocabulary_size(self) -> int:
        """Tokens."""
        return self.transformer.vocabulary_size

    def check(self) -> None:
        """Raises ValueError where a field is of another type, or out of its range."""
        plain_types.check_fields(self)
        self.transformer.check()
        checks.natural("token_types", self.token_types)
        if self.words:
            checks.one_of("activation", self.transformer.activation, tuple(PLAIN))


class WordGuess(nnx.Module):
    """Logits of the token at each position, from the table of the inputs.

        y_i = E norm(f(W x_i + b)) + c

    Args:
      config: of the layers, whose activation is f.

    Reference: Devlin et al. 2019, arXiv:1810.04805, section 3.1, task 1.
    """

    @clear_calls
    def __init__(self, config: TransformerConfig, *, rngs: nnx.Rngs):
        width, dtype = config.width, jnp.dtype(config.dtype)
        self.activation = config.activation
        self.dense = Linear(width, width, dtype=dtype, rngs=rngs)
        self.norm = LayerNorm(width, epsilon=config.norm_epsilon, dtype=dtype, rngs=rngs)
        self.bias = nnx.Param(jnp.zeros(config.vocabulary_size))

    def __call__(self, states: Float[Array, "b s m"], table: Embedding) -> Float[Array, "b s v"]:
        x = self.norm(PLAIN[self.activation](self.dense(states)))
        return transformer.finished(table.logits(x), self.bias, None)


class TextEncoder(nnx.Module):
    """Layers of self-attention in which all tokens of a text see each other.

        x_i = norm?(scale E[token_i] + position_i + T[type_i])      states = encoder(x)

    Args:
      config: sizes and choices.
    """

    @clear_calls
    def __init__(self, config: TextEncoderConfig, *, rngs: nnx.Rngs):
        plain_types.of_kind("config", config, TextEncoderConfig)
        config.check()
        self.config, own = config, config.transformer
        width, dtype = own.width, jnp.dtype(own.dtype)
        self.embedding = transformer.embedding_of(own, rngs=rngs)
        init = nnx.initializers.normal(SPREAD)
        self.types = (
            nnx.Embed(config.token_types, width, embedding_init=init, dtype=dtype, rngs=rngs)
            if config.token_types
            else None
        )
        self.embedding_norm = transformer.embedding_norm(own, rngs=rngs)
        self.stack = transformer.stack(EncoderLayer, own, rngs=rngs)
        self.norm = transformer.last_norm(own, rngs=rngs)
        self.pooler = Linear(width, width, dtype=dtype, rngs=rngs) if config.pooler else None
        self.words = WordGuess(own, rngs=rngs) if config.words else None

    def states(
        self,
        tokens: Int[Array, "b s"],
        mask: Bool[Array, "b s"],
        *,
        types: Int[Array, "b s"] | None = None,
        rngs: nnx.Rngs | None = None,
    ) -> Float[Array, "b s m"]:
        """Contextual vectors of all tokens; what is not in the `mask` is padding, and not seen.

        Args:
          types: of the tokens; all are of type 0 where None.

        Raises:
          ValueError: there are types, and the model has none.
        """
        x = self.embedding(tokens)
        if self.types is not None:
            kinds = jnp.zeros_like(tokens) if types is None else types
            x = x + self.types(kinds)
        elif types is not None:
            raise ValueError(
                "`types` must be left out, for the model has `token_types` 0; got an array of "
                f"shape {types.shape}. Leave it out."
            )
        x = dropout(self.embedding_norm(x), self.config.transformer.dropout_rate, rngs)
        return self.norm(self.stack(x, mask, rngs=rngs))

    def vectors(
        self,
        tokens: Int[Array, "b s"],
        mask: Bool[Array, "b s"],
        *,
        pooling: str = "mean",
        types: Int[Array, "b s"] | None = None,
    ) -> Float[Array, "b m"]:
        """One vector of each text.

        Args:
          pooling: "mean" of the states of all real tokens, the "first" state, or of that
            `tanh(W x + b)` as "pooler".

        Raises:
          ValueError: `pooling` is another, or the model has no pooler.
        """
        checks.one_of("pooling", pooling, POOLINGS)
        x = self.states(tokens, mask, types=types)
        if pooling == "mean":
            return EncoderOutput(x, mask).vector
        if pooling == "first":
            return x[:, 0]
        if self.pooler is None:
            raise ValueError(
                "`pooling` must be mean or first, for the model has no pooler; got 'pooler'. Make "
                "the model with `pooler=True`, or use one of the two."
            )
        return jnp.tanh(self.pooler(x[:, 0]))

    def guesses(
        self,
        tokens: Int[Array, "b s"],
        mask: Bool[Array, "b s"],
        *,
        types: Int[Array, "b s"] | None = None,
    ) -> Float[Array, "b s v"]:
        """Logits of the token at each position, as of those that a token of masks stands for.

        Raises:
          ValueError: the model was not made for that.
        """
        if self.words is None:
            raise ValueError(
                "`guesses` needs a layer of logits, and the model has none. Use `states`, or make "
                "the model with `words=True`."
            )
        return self.words(self.states(tokens, mask, types=types), self.embedding)

    def attention_calls(self, batch: PairInputs) -> Iterator[AttentionCall]:
        """Every attention of a forward pass over the sources of a batch."""
        return record(self, lambda model: model.states(batch.source, batch.source_mask))
