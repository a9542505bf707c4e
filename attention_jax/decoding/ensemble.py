"""Ensembles: several models of one vocabulary decode as one."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from attention_jax.core.plain_types import typed_calls
from attention_jax.core.types import State
from attention_jax.nn.protocols import EncoderOutput, Seq2Seq


class Ensemble(nnx.Module):
    """Average of the probabilities of several models, token by token.

        p(y[i] | y[<i]) = 1/n Σ_m p_m(y[i] | y[<i])

    It stands where one model stands: searches, `Translator` and `Transcriber` take its graph and
    parameters.

        graphdef, params = nnx.split(Ensemble([first, second]))
        translator = Translator(graphdef, tokenizer)

    Args:
      models: alike in vocabulary; their sizes and architectures may differ.

    Raises:
      ValueError: there is no model.

    Reference: Sutskever et al. 2014, arXiv:1409.3215, section 3.4, an ensemble of deep LSTMs.
    """

    @typed_calls
    def __init__(self, models: Sequence[Seq2Seq]):
        if not models:
            raise ValueError("`models` must hold at least one model; got none.")
        self.models = nnx.List(models)

    def encode(
        self,
        source: Int[Array, "b s"] | Float[Array, "b s f"],
        source_mask: Bool[Array, "b s"],
        *,
        rngs: nnx.Rngs | None = None,
    ) -> tuple[EncoderOutput, ...]:
        """The source as each model reads it."""
        return tuple(model.encode(source, source_mask, rngs=rngs) for model in self.models)

    def decode(
        self,
        target: Int[Array, "b t"],
        memory: tuple[EncoderOutput, ...],
        *,
        rngs: nnx.Rngs | None = None,
    ) -> Float[Array, "b t v"]:
        """The logarithm of the averaged probabilities after each token of a target."""
        pairs = zip(self.models, memory, strict=True)
        return _averaged([model.decode(target, own, rngs=rngs) for model, own in pairs])

    def start(self, memory: tuple[EncoderOutput, ...], max_length: int) -> State:
        """The decoding state of each model, with room for `max_length` tokens."""
        pairs = zip(self.models, memory, strict=True)
        return tuple(model.start(own, max_length) for model, own in pairs)

    def step(self, state: State, token: Int[Array, " b"]) -> tuple[State, Float[Array, "b v"]]:
        """The next states, and the logarithm of the averaged probabilities.

        Raises:
          ValueError: the models have vocabularies of different sizes.
        """
        pairs = zip(self.models, state, strict=True)
        states, logits = zip(*(model.step(own, token) for model, own in pairs), strict=True)
        return states, _averaged(logits)


def _averaged(logits: Sequence[Float[Array, "*b v"]]) -> Float[Array, "*b v"]:
    """log 1/n Σ_m softmax(logits[m])"""
    sizes = {one.shape[-1] for one in logits}
    if len(sizes) > 1:
        raise ValueError(
            f"`models` must have one vocabulary; got sizes {sorted(sizes)}. Train them with the "
            "same tokenizer."
        )
    each = jnp.stack([jax.nn.log_softmax(x.astype(jnp.float32), axis=-1) for x in logits])
    return jax.nn.logsumexp(each, axis=0) - math.log(len(logits))
