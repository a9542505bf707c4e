"""Text generation by a language model.

generate = TextGenerator(graphdef, tokenizer, context=64)
print(generate(params, "ROMEO:", 500))
"""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Int

from attention_jax.core import checks
from attention_jax.core.plain_types import typed_calls
from attention_jax.core.types import Params, State
from attention_jax.data.tokenizer import Tokenizer
from attention_jax.data.types import BOS, SPECIAL_TOKENS
from attention_jax.decoding.batched import DecodingConfig
from attention_jax.decoding.options import DecodingOptions
from attention_jax.decoding.search import greedy, sample
from attention_jax.nn.protocols import Language, ReadsOn

METHODS = ("greedy", "sample")


def check_options(options: DecodingOptions) -> None:
    """Refuses options that text generation, which writes as many tokens as are asked for, lacks.

    Raises:
      ValueError: one is set.
    """
    options.refuse(
        "min_length",
        "prefix",
        "length_form",
        "words",
        search="text generation, which writes as many tokens as are asked for",
        remedy="Leave it out; the prompt is the beginning.",
    )


class TextGenerator:
    """Continues a text token by token, with the model's cache or recurrent state.

    A text longer than `context` is written in pieces: each time the context is full, the model
    starts again from the last half of it.

    Args:
      graphdef: graph of the model, a `nn.protocols.Language`.
      tokenizer: tokenizer of the text.
      config: "sample" (the default), with its temperature, top_k, top_p and seed, or "greedy"; of
        its options min-p, and the repetition penalty and n-grams, which see the text that is read.
      context: largest number of tokens read at once, as in training; None for no bound.

    Raises:
      ValueError: another search method or option, or a context below 2.
    """

    @typed_calls
    def __init__(
        self,
        graphdef: nnx.GraphDef,
        tokenizer: Tokenizer,
        config: DecodingConfig | None = None,
        *,
        context: int | None,
    ):
        self.config = DecodingConfig("sample") if config is None else config
        self.config.check()
        checks.one_of("method", self.config.method, METHODS)
        check_options(self.config.options)
        if context is not None and context < 2:
            raise ValueError(f"`context` must be at least 2 or None; got {context}.")
        self.graphdef, self.tokenizer, self.context = graphdef, tokenizer, context
        self._write = jax.jit(self._piece, static_argnames="length")

    def __call__(self, params: Params, prompt: str, length: int) -> str:
        """The prompt and `length` more tokens.

        Raises:
          ValueError: the prompt is empty, or holds characters that the tokenizer does not know.
        """
        if not isinstance(prompt, str):
            raise ValueError(f"`prompt` must be text; got {checks.said(prompt)}. Decode it first.")
        checks.natural("length", length)
        unknown, ids = self.tokenizer.unknown(prompt), self.tokenizer.encode(prompt)
        if unknown or not ids:
            raise ValueError(
                "`prompt` must be text of the characters that the model was trained on; got "
                f"{prompt!r}" + (f", with {unknown[0]!r}. Leave it out." if unknown else ".")
            )
        written: list[int] = []
        key = jax.random.key(self.config.seed)
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
        return self.tokenizer.decode([*ids, *written[:length]])

    def _piece(
        self, params: Params, prompt: Int[Array, "1 s"], key: Array, *, length: int
    ) -> Int[Array, "1 t"]:
        """The tokens after the prompt."""
        model, config = nnx.merge(self.graphdef, params), self.config
        state = model.start(1, prompt.shape[1] - 1 + length)
        state = _after(model, state, prompt[:, :-1])

        def step(carry, token):
            state, last = carry
            # Decoding begins with BOS, which no text holds: the prompt's last token replaces it.
            state, logits = model.step(state, jnp.where(token == BOS, last, token))
            return (state, last), logits.at[:, : len(SPECIAL_TOKENS)].set(-jnp.inf)

        choose = greedy
        if config.method == "sample":
            choose = partial(
                sample,
                key=key,
                temperature=config.temperature,
                top_k=config.top_k,
                top_p=config.top_p,
            )
        options = dataclasses.replace(config.options, before=prompt)
        return choose(step, (state, prompt[:, -1]), max_length=length, options=options).tokens[:, 0]


def _after(model: Language, state: State, prompt: Int[Array, "1 s"]) -> State:
    """The state after a prompt: read at once where the model can, else token by token."""
    if prompt.shape[1] and isinstance(model, ReadsOn):
        return model.read_on(state, prompt)[0]
    return jax.lax.scan(model.step, state, prompt.T)[0]
