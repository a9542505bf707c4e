"""Protocols of models: sequence-to-sequence, language, classification."""

from collections.abc import Callable
from typing import NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from attention_jax.core import checks
from attention_jax.core.types import Context, State


class EncoderOutput(NamedTuple):
    """States of an encoder, as its decoder reads them.

    Attributes:
      states: of each position.
      mask: which positions are real.
      summary: the last states of the cells of each layer; None of an encoder that has none.
    """

    states: Float[Array, "b s m"]
    mask: Bool[Array, "b s"]
    summary: State = None

    @property
    def vector(self) -> Float[Array, "b m"]:
        """The source as one vector: the last state of the last cells, or the mean of all states."""
        if self.summary is not None:
            return jax.tree.leaves(self.summary)[-1]  # of the two of an LSTM, the output
        real = self.mask[..., None].astype(self.states.dtype)
        return (self.states * real).sum(1) / jnp.maximum(real.sum(1), 1)


@runtime_checkable
class Bounded(Protocol):
    """A decoding state that has room for some tokens only.

    `tokens_left` is how many more it takes, as far as is known before a run; None for any number.
    """

    @property
    def tokens_left(self) -> int | None: ...


@runtime_checkable
class BeamState(Protocol):
    """A decoding state that follows the beams of a search by itself, and moves less.

    `repeated(k)` is the state of k beams a row. `moved(before, move)` is the state where each row
    goes on from another: `move(new, old)` looks the rows up in any part of it.
    """

    def repeated(self, k: int) -> "BeamState": ...

    def moved(self, before: State, move: Callable[[State, State], State]) -> "BeamState": ...


@runtime_checkable
class RoomyState(Protocol):
    """A decoding state whose room can be cut for a while, so that steps read less.

    `spared(n)` is the state without the last n positions of its room, or with them again.
    """

    def spared(self, n: int) -> "RoomyState": ...


def empty_room(batch: int, length: int) -> Bool[Array, "b n 0"]:
    """An array of no numbers whose shape says for how many tokens a state was started.

    Shapes are known in every transformation, and its first axis is the batch, as of all leaves.
    """
    return jnp.zeros((batch, length, 0), bool)


def tokens_left(room: Bool[Array, "b n 0"] | None, position: Int[Array, " b"]) -> int | None:
    """Tokens that a state takes from `position` on; as from 0 where that is traced."""
    if room is None:
        return None
    if isinstance(position, jax.core.Tracer):
        return room.shape[1]
    return room.shape[1] - int(np.asarray(position).max(initial=0))


def checked_logits(
    logits: Float[Array, "b v"], room: Bool[Array, "b n 0"] | None, position: Int[Array, " b"]
) -> Float[Array, "b v"]:
    """The logits of a step at `position`, NaN where the state has no room for it.

    Raises:
      ValueError: that is known before a run.
    """
    if room is None:
        return logits
    return jnp.where(checks.within(position, room.shape[1])[:, None], logits, jnp.nan)


def require_room(state: State, max_length: int) -> None:
    """Raises unless `max_length` is at least 1, and no part of the state is known to take fewer."""
    checks.positive("max_length", max_length)
    for part in jax.tree.leaves(state, is_leaf=lambda x: isinstance(x, Bounded)):
        left = part.tokens_left if isinstance(part, Bounded) else None
        if left is not None and max_length > left:
            raise ValueError(
                "`max_length` must be at most the number of tokens that `state` has room for; got "
                f"max_length={max_length}, room for {left}. Start the state for more: "
                f"`start(..., {max_length})`."
            )


class Encoder(Protocol):
    """Encoder that stands where a model would read tokens, such as one of frames."""

    def __call__(
        self,
        source: Float[Array, "b s f"],
        source_mask: Bool[Array, "b s"],
        *,
        rngs: nnx.Rngs | None = None,
    ) -> EncoderOutput: ...


@runtime_checkable
class EncoderDecoder(Protocol):
    """Interface that training by teacher forcing asks for.

    `rngs=None` means no dropout. Targets start with BOS; logits are float32.
    """

    def encode(
        self,
        source: Int[Array, "b s"] | Float[Array, "b s f"],
        source_mask: Bool[Array, "b s"],
        *,
        rngs: nnx.Rngs | None = None,
    ) -> EncoderOutput: ...

    def decode(
        self, target: Int[Array, "b t"], memory: EncoderOutput, *, rngs: nnx.Rngs | None = None
    ) -> Float[Array, "b t v"]: ...


@runtime_checkable
class DecodesStates(EncoderDecoder, Protocol):
    """A model in two parts, which a loss can take without holding all logits at once.

    `decode(...)` is `unembed(decode_states(...))`, position by position.
    """

    def decode_states(
        self, target: Int[Array, "b t"], memory: EncoderOutput, *, rngs: nnx.Rngs | None = None
    ) -> Float[Array, "b t m"]: ...

    def unembed(self, x: Float[Array, "b t m"]) -> Float[Array, "b t v"]: ...


@runtime_checkable
class Seq2Seq(EncoderDecoder, Protocol):
    """Interface of sequence-to-sequence models: training, and decoding token by token."""

    def start(self, memory: EncoderOutput, max_length: int) -> State: ...

    def step(self, state: State, token: Int[Array, " b"]) -> tuple[State, Float[Array, "b v"]]: ...


@runtime_checkable
class NextToken(Protocol):
    """Interface that training a language model asks for.

    `rngs=None` means no dropout; logits are float32, at each position of the token after it.
    """

    def logits(
        self, tokens: Int[Array, "b t"], *, rngs: nnx.Rngs | None = None
    ) -> Float[Array, "b t v"]: ...


@runtime_checkable
class ReadsStates(NextToken, Protocol):
    """As `DecodesStates`: `logits(tokens)` is `unembed(states(tokens))`, position by position."""

    def states(
        self, tokens: Int[Array, "b t"], *, rngs: nnx.Rngs | None = None
    ) -> Float[Array, "b t m"]: ...

    def unembed(self, x: Float[Array, "b t m"]) -> Float[Array, "b t v"]: ...


@runtime_checkable
class OverSequences(Protocol):
    """A model, or a part of one, whose sequences an axis of a mesh may divide.

    `sequence_context` says which axis, and how; None where each device has whole sequences. A model
    that has it computes the positions of a shard alone, as do all of its parts.
    """

    sequence_context: Context | str | None


@runtime_checkable
class Language(NextToken, Protocol):
    """Interface of language models: training, and reading a text once from left to right.

    `context` is the number of tokens that the positions reach, None if there is no bound; `start`
    takes no more.
    """

    context: int | None

    def start(self, batch: int, max_length: int) -> State: ...

    def step(self, state: State, token: Int[Array, " b"]) -> tuple[State, Float[Array, "b v"]]: ...


@runtime_checkable
class ReadsOn(Language, Protocol):
    """A language model that reads several tokens at once, as many calls of `step` would.

    It returns the logits after the last.
    """

    def read_on(
        self, state: State, tokens: Int[Array, "b t"]
    ) -> tuple[State, Float[Array, "b v"]]: ...


@runtime_checkable
class Classifier(Protocol):
    """Interface of image classifiers.

    Pixels are numbers from 0 to 1. `rngs=None` means no dropout; logits are float32.
    """

    def classify(
        self, images: Float[Array, "b y x c"], *, rngs: nnx.Rngs | None = None
    ) -> Float[Array, "b k"]: ...


@runtime_checkable
class Regressor(Protocol):
    """Interface of models that predict one number for each series of vectors."""

    def predict(
        self, vectors: Float[Array, "b t c"], *, rngs: nnx.Rngs | None = None
    ) -> Float[Array, " b"]: ...


@runtime_checkable
class Aligned(Protocol):
    """Interface of models trained by CTC: an encoder, and token logits at each of its states.

    `aligner(memory, rngs=...)` gives logits [b s v].
    """

    aligner: Callable[..., Float[Array, "b s v"]]

    def encode(
        self,
        source: Float[Array, "b s f"],
        source_mask: Bool[Array, "b s"],
        *,
        rngs: nnx.Rngs | None = None,
    ) -> EncoderOutput: ...


@runtime_checkable
class PairInputs(Protocol):
    """A batch of sources and targets, as `data.types.Seq2SeqBatch` is one."""

    @property
    def source(self) -> Int[Array, "b s"] | Float[Array, "b s f"]: ...

    @property
    def source_mask(self) -> Bool[Array, "b s"]: ...

    @property
    def target_in(self) -> Int[Array, "b t"]: ...


@runtime_checkable
class TokenInputs(Protocol):
    """A batch of token ids, as `data.types.TokenBatch` is one."""

    @property
    def tokens(self) -> Int[Array, "b t"]: ...


@runtime_checkable
class VectorInputs(Protocol):
    """A batch of series of vectors, as `data.types.SeriesBatch` is one."""

    @property
    def vectors(self) -> Float[Array, "b t c"]: ...


@runtime_checkable
class ImageInputs(Protocol):
    """A batch of images, as `data.types.ImageBatch` is one."""

    @property
    def images(self) -> Float[Array, "b y x c"]: ...
