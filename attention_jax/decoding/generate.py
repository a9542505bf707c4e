"""Texts that a trained language model goes on with, and how well it reads one.

writer = Writer(graphdef, vocabulary, context=64)
print(writer(params, "ROMEO:", length=500))
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Int

from attention_jax.core import checks
from attention_jax.core.types import Params
from attention_jax.data.tokenizer import Tokenizer
from attention_jax.data.types import BOS, SPECIAL_TOKENS
from attention_jax.decoding.search import greedy, sample
from attention_jax.decoding.translate import DecodingConfig

METHODS = ("greedy", "sample")


class TextGenerator:
    """Goes on with a text, token by token, by the model's cache or recurrent state.

    A text longer than `context` is written in pieces: once as many tokens are read, the model
    begins anew with the last half of them.

    Args:
      graphdef: of the model, a `nn.protocols.Language`.
      vocabulary: of the text.
      search: how tokens are chosen: "sample", with its temperature, top_k, top_p and seed, or
        "greedy".
      context: the most tokens the model reads at once, as in its training; None for no bound.
    """

    def __init__(
        self,
        graphdef: Any,
        vocabulary: Tokenizer,
        search: DecodingConfig | None = None,
        *,
        context: int | None,
    ):
        self.search = DecodingConfig("sample") if search is None else search
        checks.one_of("method", self.search.method, METHODS)
        if context is not None and context < 2:
            raise ValueError(f"`context` must be at least 2 or None; got {context}.")
        self.graphdef, self.vocabulary, self.context = graphdef, vocabulary, context
        self._write = jax.jit(self._piece, static_argnames="length")

    def __call__(self, params: Params, prompt: str, length: int) -> str:
        """The prompt and `length` more tokens.

        Raises:
          ValueError: the prompt is empty, or holds what the vocabulary does not know.
        """
        unknown = self.vocabulary.unknown(prompt)
        if unknown or not prompt:
            raise ValueError(
                "`prompt` must be text of the characters that the model was trained on; got "
                f"{prompt!r}" + (f", with {unknown[0]!r}. Leave it out." if unknown else ".")
            )
        ids = self.vocabulary.encode(prompt)
        written: list[int] = []
        key = jax.random.key(self.search.seed)
        for number in range(length):
            if len(written) >= length:
                break
            read = [*ids, *written]
            more = length
            if self.context is not None:
                read = read[-max(1, self.context // 2) :]
                more = self.context - len(read)
            piece = self._write(
                params, jnp.asarray([read]), jax.random.fold_in(key, number), length=more
            )
            written += np.asarray(piece)[0].tolist()
        return self.vocabulary.decode([*ids, *written[:length]])

    def _piece(
        self, params: Params, prompt: Int[Array, "1 s"], key: Array, *, length: int
    ) -> Int[Array, "1 t"]:
        """The tokens after the prompt."""
        model, search = nnx.merge(self.graphdef, params), self.search
        state = model.start(1, prompt.shape[1] - 1 + length)
        state, _ = jax.lax.scan(model.step, state, prompt[:, :-1].T)

        def step(carry, token):
            state, last = carry
            # Decoding begins with BOS, which no text holds: in its place stands the prompt's end.
            state, logits = model.step(state, jnp.where(token == BOS, last, token))
            return (state, last), logits.at[:, : len(SPECIAL_TOKENS)].set(-jnp.inf)

        choose = greedy
        if search.method == "sample":
            choose = partial(
                sample,
                key=key,
                temperature=search.temperature,
                top_k=search.top_k,
                top_p=search.top_p,
            )
        return choose(step, (state, prompt[:, -1]), max_length=length).tokens[:, 0]
