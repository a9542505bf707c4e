"""Protocols of models: sequence-to-sequence, language, classification."""

from collections.abc import Callable
from typing import NamedTuple, Protocol, runtime_checkable

from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from attention_jax.core.types import State


class EncoderOutput(NamedTuple):
    """States of an encoder, as its decoder reads them."""

    states: Float[Array, "b s m"]
    mask: Bool[Array, "b s"]
    summary: State = None  # the encoder's last state, where the decoder starts from it


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
class Language(NextToken, Protocol):
    """Interface of language models: training, and reading a text once from left to right.

    `context` is the number of tokens that the positions reach, None if there is no bound; `start`
    takes no more.
    """

    context: int | None

    def start(self, batch: int, max_length: int) -> State: ...

    def step(self, state: State, token: Int[Array, " b"]) -> tuple[State, Float[Array, "b v"]]: ...


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
