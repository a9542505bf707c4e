"""Text generation by a language model.

generate = TextGenerator(graphdef, tokenizer, context=64)
print(generate(params, "ROMEO:", 500))
"""

import dataclasses
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax
from jaxtyping import Array, Float, Int, UInt32

from attention_jax.core import checks
from attention_jax.core.plain_types import typed_calls
from attention_jax.core.types import Params, State
from attention_jax.data.tokenizer import Tokenizer
from attention_jax.data.types import BOS, EOS, PAD, SPECIAL_TOKENS
from attention_jax.decoding import stages
from attention_jax.decoding.batched import DecodingConfig
from attention_jax.decoding.loops import Loop, run
from attention_jax.decoding.options import DecodingOptions
from attention_jax.decoding.search import check_sampling, greedy_loop, sample_loop
from attention_jax.nn.protocols import Language, ReadsOn
from attention_jax.parallel.placement import fetch

METHODS = ("greedy", "sample")
CHUNKS = (512, 64, 8, 1)  # tokens of a prompt that are read at once


def check_options(options: DecodingOptions) -> None:
    """Refuses options that text generation, which goes on with a prompt, lacks.

    Raises:
      ValueError: one is set.
    """
    options.refuse(
        "min_length",
        "prefix",
        "length_form",
        "words",
        search="text generation, which goes on with a prompt",
        remedy="Leave it out; the prompt is the beginning.",
    )


def rounded(length: int) -> int:
    """A number of tokens that texts of similar lengths share, and with it a program.

    It is a multiple of 8 up to 64, of 16 up to 128, of 32 up to 256, and so on.

    >>> [rounded(length) for length in (8, 9, 64, 65, 129)]
    [8, 16, 64, 80, 160]
    """
    multiple = max(8, 1 << max(length - 1, 0).bit_length() >> 3)
    return -(-length // multiple) * multiple


class Draw(NamedTuple):
    """How one text of several is drawn.

    Attributes:
      seed: below 2^32; a text depends on it and on its prompt.
      temperature: divides the logits; below 1 it favors probable tokens. It means nothing to a
        greedy search.
    """

    seed: int = 0
    temperature: float = 1.0


class TextGenerator:
    """Continues a text token by token, with the model's cache or recurrent state.

    A text longer than `context` is written in pieces: each time the context is full, the model
    starts again from the last half of it. Prompts are read in chunks of at most 512 tokens, and one
    program serves all whose number of tokens, and number of tokens to write, are `rounded` to the
    same.

    Args:
      graphdef: graph of the model, a `nn.protocols.Language`.
      tokenizer: tokenizer of the text.
      config: "sample" (the default), with its temperature, top_k, top_p and seed, or "greedy"; of
        its options min-p, and the repetition penalty and n-grams, which see the text that is read.
      context: largest number of tokens read at once, as in training; None for no bound.
      stop_at_end: a text ends where the model writes EOS, as models do that were trained with ends
        of texts. Default: EOS is never written, for others never learned what it is.

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
        stop_at_end: bool = False,
    ):
        self.config = DecodingConfig("sample") if config is None else config
        self.config.check()
        checks.one_of("method", self.config.method, METHODS)
        check_options(self.config.options)
        if context is not None and context < 2:
            raise ValueError(f"`context` must be at least 2 or None; got {context}.")
        self.graphdef, self.tokenizer, self.context = graphdef, tokenizer, context
        self.stop_at_end = stop_at_end
        may_be = {EOS} if stop_at_end else set()
        self._never = np.array(sorted(set(range(len(SPECIAL_TOKENS))) - may_be))
        self._write = jax.jit(self._continue, static_argnames="max_length")
        self._write_rows = jax.jit(self._continue_rows, static_argnames="max_length")

    def __call__(self, params: Params, prompt: str, length: int) -> str:
        """The prompt and `length` more tokens, or fewer where the text ends.

        Raises:
          ValueError: the prompt is empty, or holds characters that the tokenizer does not know.
        """
        ids, written = self._encoded(params, prompt, length), []
        key = jax.random.key(self.config.seed)
        for number in range(length):
            if not _goes_on(written, length):
                break
            read, most = self._next(ids, written, length)
            own = jax.random.fold_in(key, number)
            written += self._piece(params, read, own, min(most, length - len(written)), most)
        return self.tokenizer.decode([*ids, *written])

    def several(
        self,
        params: Params,
        prompts: Sequence[str],
        length: int,
        *,
        draws: Sequence[Draw],
        rows: int,
    ) -> list[str]:
        """Each prompt and `length` more tokens, or fewer where a text ends, written together.

        Programs have `rows` rows, however many prompts share them, so a text does not depend on the
        others at all; but for rounding it is that of a call by itself with such a seed and
        temperature. Seeds and temperatures compile nothing anew.

        Args:
          params: parameters of the model.
          prompts: the texts to go on with.
          length: tokens to write, of each, at most.
          draws: one for each prompt.
          rows: texts that are written at once.

        Raises:
          ValueError: as a call, for any of the prompts; or a temperature is not above 0.
        """
        checks.positive("rows", rows)
        for draw in draws:
            check_sampling(draw.temperature, None, None)
        texts = [
            _Text(self._encoded(params, prompt, length), [], draw)
            for prompt, draw in zip(prompts, draws, strict=True)
        ]
        number = 0
        while left := [text for text in texts if _goes_on(text.written, length)]:
            alike: dict[tuple[int, int], list[_Text]] = {}
            for text in left:
                read, most = self._next(text.ids, text.written, length)
                alike.setdefault((rounded(len(read)), rounded(most)), []).append(text)
            for own in alike.values():
                for first in range(0, len(own), rows):
                    self._pieces(params, own[first : first + rows], number, length, rows)
            number += 1
        return [self.tokenizer.decode([*text.ids, *text.written]) for text in texts]

    def _encoded(self, params: Params, prompt: str, length: int) -> list[int]:
        """The tokens of a prompt that can be gone on with."""
        if not isinstance(prompt, str):
            raise ValueError(f"`prompt` must be text; got {checks.said(prompt)}. Decode it first.")
        checks.natural("length", length)
        unknown, ids = self.tokenizer.unknown(prompt), self.tokenizer.encode(prompt)
        bound = nnx.merge(self.graphdef, params).context if self.context is None else None
        if unknown or not ids:
            raise ValueError(
                "`prompt` must be text of the characters that the model was trained on; got "
                f"{prompt!r}" + (f", with {unknown[0]!r}. Leave it out." if unknown else ".")
            )
        if bound is not None and len(ids) - 1 + length > bound:
            raise ValueError(
                "`prompt` and `length` must fit the positions of the model without a `context`; "
                f"got {len(ids)} and {length} tokens for {bound}. Set `context={bound}`."
            )
        return ids

    def _next(self, ids: list[int], written: list[int], length: int) -> tuple[list[int], int]:
        """The tokens that are read next, and how many at most are written after them."""
        read = [*ids, *written]
        if self.context is None:
            return read, length
        read = read[-max(1, self.context // 2) :]
        # The last piece is short: it is cut, so that the program of the others serves.
        room = self.context - len(read)
        return read, room if written else min(length, room)

    def _piece(
        self, params: Params, read: list[int], key: Array, more: int, most: int
    ) -> list[int]:
        """So many tokens after those that are read, by the program that writes `most`."""
        prompt = np.full((1, rounded(len(read))), PAD, np.int32)
        prompt[0, : len(read)] = read
        sizes = np.array([len(read), more], np.int32)
        temperature = np.float32(self.config.temperature)
        tokens = self._write(params, prompt, sizes, key, temperature, max_length=rounded(most))
        return _until_end(fetch(tokens)[0, :more].tolist())

    def _pieces(
        self, params: Params, texts: "list[_Text]", number: int, length: int, rows: int
    ) -> None:
        """Writes the next piece, of that number, of texts that share a program."""
        nexts = [self._next(text.ids, text.written, length) for text in texts]
        room, most = rounded(len(nexts[0][0])), rounded(nexts[0][1])
        prompts = np.full((rows, 1, room), PAD, np.int32)
        sizes = np.tile(np.array([1, 0], np.int32), (rows, 1))  # rows of no text write nothing
        numbers = np.full((2, rows), number, np.uint32)
        temperatures = np.ones(rows, np.float32)
        for row, (text, (read, own)) in enumerate(zip(texts, nexts, strict=True)):
            prompts[row, 0, : len(read)] = read
            sizes[row] = len(read), min(own, length - len(text.written))
            numbers[0, row], temperatures[row] = text.draw.seed, text.draw.temperature
        found = self._write_rows(params, prompts, sizes, numbers, temperatures, max_length=most)
        many = sizes[:, 1].tolist()
        for text, tokens, more in zip(texts, fetch(found), many, strict=False):
            text.written.extend(_until_end(tokens[0, :more].tolist()))

    def _continue_rows(
        self,
        params: Params,
        prompts: Int[Array, "b 1 s"],
        sizes: Int[Array, "b 2"],
        numbers: UInt32[Array, "2 b"],
        temperatures: Float[Array, " b"],
        *,
        max_length: int,
    ) -> Int[Array, "b 1 t"]:
        """`_continue` of several prompts; `numbers` are seeds, and those of the pieces."""
        keys = jax.vmap(lambda seed, number: jax.random.fold_in(jax.random.key(seed), number))(
            *numbers
        )
        write = partial(self._continue, params, max_length=max_length)
        return jax.vmap(write)(prompts, sizes, keys, temperatures)

    def _continue(
        self,
        params: Params,
        prompt: Int[Array, "1 s"],
        sizes: Int[Array, " 2"],
        key: Array,
        temperature: Float[Array, ""],
        *,
        max_length: int,
    ) -> Int[Array, "1 t"]:
        """The tokens after the prompt.

        Args:
          sizes: number of tokens of the prompt, which PAD follows, and of tokens to write.
          temperature: of sampling.
          max_length: largest number of tokens to write.
        """
        model, (length, more) = nnx.merge(self.graphdef, params), sizes
        bound = model.context if self.context is None else self.context
        needed = prompt.shape[1] - 1 + max_length
        most = needed if bound is None else bound
        max_length = min(max_length, most)
        needed = prompt.shape[1] - 1 + max_length
        room, missing = min(needed, most), max(0, needed - most)
        state = stages.begun(model.start(1, room), max_length, missing=missing)
        state = _after(model, state, prompt, length - 1)
        last = lax.dynamic_index_in_dim(prompt, length - 1, axis=1, keepdims=False)

        def step(carry, token):
            state, last = carry
            # Decoding begins with BOS, which no text holds: the prompt's last token replaces it.
            state, logits = model.step(state, jnp.where(token == BOS, last, token))
            logits = logits.at[:, self._never].set(-jnp.inf)
            if self.config.method == "sample":  # the rules' products commute with the division
                logits = logits / temperature.astype(logits.dtype)
            return (state, last), logits

        # PAD stands on the left for rules, and on the right for those who read.
        before = jnp.roll(prompt, prompt.shape[1] - length, axis=1)
        loop = self._loop(key, max_length, dataclasses.replace(self.config.options, before=before))
        return run(loop, step, (state, last), limit=more, missing=missing).tokens[:, 0]

    def _loop(self, key: Array, max_length: int, options: DecodingOptions) -> Loop:
        if self.config.method == "greedy":
            return greedy_loop(max_length=max_length, options=options)
        return sample_loop(
            keys=jax.random.fold_in(key, 0)[None],
            max_length=max_length,
            temperature=1.0,  # the step has divided by it
            top_k=self.config.top_k,
            top_p=self.config.top_p,
            options=options,
        )


class _Text(NamedTuple):
    """A text of several: its prompt's tokens, those that are written, and how it is drawn."""

    ids: list[int]
    written: list[int]
    draw: Draw


def _goes_on(written: list[int], length: int) -> bool:
    """Tells whether more tokens are to be written after some."""
    return len(written) < length and written[-1:] != [EOS]


def _until_end(tokens: list[int]) -> list[int]:
    """The tokens up to the end of the text, with it, if there is one."""
    return tokens[: tokens.index(EOS) + 1] if EOS in tokens else tokens


def _after(
    model: Language, state: State, prompt: Int[Array, "1 s"], length: Int[Array, ""]
) -> State:
    """The state after the first tokens of a prompt, which is read in chunks where the model can.

    Chunks bound the memory, and few sizes of them serve prompts of all lengths.
    """
    chunks, read = (1,), lambda state, tokens: model.step(state, tokens[:, 0])
    if isinstance(model, ReadsOn):
        chunks, read = [size for size in CHUNKS if size < prompt.shape[1]], model.read_on
    done = jnp.int32(0)
    for size in chunks:

        def more(carry: tuple[State, Array], size: int = size) -> tuple[State, Array]:
            state, done = carry
            tokens = lax.dynamic_slice_in_dim(prompt, done, size, axis=1)
            return read(state, tokens)[0], done + size

        within = lambda carry, size=size: carry[1] + size <= length  # noqa: E731
        state, done = lax.while_loop(within, more, (state, done))
    return state
