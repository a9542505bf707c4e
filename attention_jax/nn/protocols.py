"""Protocols of models: sequence-to-sequence, language, classification."""

from typing import Any, NamedTuple, Protocol

from jaxtyping import Array, Bool, Float, Int

from attention_jax.core.types import State


class EncoderOutput(NamedTuple):
    """What an encoder hands to its decoder."""

    states: Float[Array, "b s m"]
    mask: Bool[Array, "b s"]
    summary: Any = None  # the encoder's last state, where the decoder starts from it


class Seq2Seq(Protocol):
    """What every sequence-to-sequence model answers to.

    `rngs=None` means no dropout. Targets start with BOS; logits are float32.
    """

    def encode(
        self,
        source: Int[Array, "b s"] | Float[Array, "b s f"],
        source_mask: Bool[Array, "b s"],
        *,
        rngs: Any = None,
    ) -> EncoderOutput: ...

    def decode(
        self, target: Int[Array, "b t"], memory: EncoderOutput, *, rngs: Any = None
    ) -> Float[Array, "b t v"]: ...

    def start(self, memory: EncoderOutput, max_length: int) -> State: ...

    def step(
        self, state: State, token: Int[Array, " b"], *, return_weights: bool = False
    ) -> tuple[State, Float[Array, "b v"], Float[Array, "b l h s"] | None]: ...


class Language(Protocol):
    """What every language model answers to: it reads a text once, from left to right.

    `rngs=None` means no dropout; logits are float32, at each position of the token after it.
    `context` is how many tokens its positions reach, None where there is no bound; `start` takes
    no more.
    """

    context: int | None

    def logits(self, tokens: Int[Array, "b t"], *, rngs: Any = None) -> Float[Array, "b t v"]: ...

    def start(self, batch: int, max_length: int) -> State: ...

    def step(self, state: State, token: Int[Array, " b"]) -> tuple[State, Float[Array, "b v"]]: ...


class Classifier(Protocol):
    """What every model that says what a picture shows answers to.

    Pictures hold numbers from 0 to 1. `rngs=None` means no dropout; logits are float32.
    """

    def classify(
        self, images: Float[Array, "b y x c"], *, rngs: Any = None
    ) -> Float[Array, "b k"]: ...
