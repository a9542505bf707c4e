"""Exported programs as models: they answer to the same protocols as the models they were."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from attention_jax.core import plain_types
from attention_jax.models.exported.manifest import Manifest
from attention_jax.models.exported.ports import NEXT, Call, Port
from attention_jax.nn.protocols import EncoderOutput, empty_room, tokens_left


class ExportedState(NamedTuple):
    """A decoding state: arrays in the order in which `step` takes them.

    Attributes:
      arrays: that lead with the batch.
      room: for how many tokens it was started.
    """

    arrays: tuple[Array, ...]
    room: Bool[Array, "b n 0"]

    @property
    def tokens_left(self) -> int | None:
        """Tokens that it takes from its start on; a step beyond them has NaN for logits."""
        return tokens_left(self.room, jnp.zeros(self.room.shape[0], jnp.int32))


class Exported:
    """Programs of an exported folder, called by their names.

    Attributes:
      manifest: what the folder says of itself.
      folder: where it stands; None of programs that lie in none.
    """

    def __init__(self, own: Manifest, calls: Mapping[str, Call], folder: Path | None = None):
        self.manifest, self.folder, self._calls = own, folder, calls

    def call(self, name: str, *inputs: Array) -> list[Array]:
        """The outputs of a program.

        Raises:
          ValueError: there is no such program, or an input is not as its port says.
        """
        if name not in self.manifest.programs:
            known = ", ".join(self.manifest.programs)
            raise ValueError(f"`name` must be one of {known}; got {name!r}.")
        ports = self.manifest.programs[name].inputs
        if len(inputs) != len(ports):
            raise ValueError(
                f"`{name}` takes {len(ports)} inputs, {', '.join(x.name for x in ports)}; got "
                f"{len(inputs)}."
            )
        for port, given in zip(ports, inputs, strict=True):
            _check(port, given)
        return list(self._calls[name](*inputs))

    def named(self, name: str, *inputs: Array) -> dict[str, Array]:
        """The outputs of a program by their names, and inputs that it leaves unchanged.

        Raises:
          ValueError: as `call`.
        """
        made, own = self.call(name, *inputs), self.manifest.programs[name]
        given = dict(zip((x.name for x in own.inputs), inputs, strict=True))
        found = dict(zip((x.name for x in own.outputs), made, strict=True))
        return found | {x: given[y] for x, y in own.same.items()}

    def taken(self, name: str, prefix: str) -> list[str]:
        """The names of a program's inputs that are parts of a state."""
        own = self.manifest.programs[name].inputs
        return [x.name for x in own if x.name.startswith(f"{prefix}.")]


class Stepping(Exported):
    """The part that exported models share which write token by token."""

    def step(
        self, state: ExportedState, token: Int[Array, " b"]
    ) -> tuple[ExportedState, Float[Array, "b v"]]:
        """Reads one token: the state after it, and the logits of the next."""
        made = self.named("step", *state.arrays, token)
        arrays = tuple(made[f"{NEXT}{name}"] for name in self.taken("step", "state"))
        return state._replace(arrays=arrays), made["logits"]

    def _start(self, rows: int, max_length: int, *inputs: Array) -> ExportedState:
        plain_types.room(max_length=max_length)
        made = self.named("start", *inputs, jnp.zeros((rows, max_length), bool))
        arrays = tuple(made[name] for name in self.taken("step", "state"))
        return ExportedState(arrays, empty_room(rows, max_length))


class ExportedSeq2Seq(Stepping):
    """An exported encoder-decoder, as `nn.protocols.Seq2Seq` decodes."""

    def encode(
        self,
        source: Int[Array, "b s"] | Float[Array, "b s f"],
        source_mask: Bool[Array, "b s"],
        *,
        rngs: nnx.Rngs | None = None,
    ) -> EncoderOutput:
        """States of the source; there is no dropout."""
        del rngs
        made = self.named("encode", source, source_mask)
        reader = "start" if "start" in self.manifest.programs else "align"
        states, mask, *summary = (made[name] for name in self.taken(reader, "memory"))
        # Flat: `start` takes its leaves, whatever pairs they were.
        return EncoderOutput(states, mask, tuple(summary) or None)

    def start(self, memory: EncoderOutput, max_length: int) -> ExportedState:
        """Caches for so many tokens."""
        return self._start(memory.states.shape[0], max_length, *jax.tree.leaves(memory))

    def aligner(self, memory: EncoderOutput) -> Float[Array, "b s v"]:
        """Logits at each position of the source, of a model that has a CTC head."""
        return self.call("align", *jax.tree.leaves(memory))[0]


class ExportedLanguage(Stepping):
    """An exported language model, as `nn.protocols.Language` has it."""

    @property
    def context(self) -> int | None:
        """The most tokens that it takes; None for any number."""
        return self.manifest.sizes.length or self.manifest.sizes.longest

    def logits(
        self, tokens: Int[Array, "b t"], *, rngs: nnx.Rngs | None = None
    ) -> Float[Array, "b t v"]:
        """Logits of the token after each; there is no dropout."""
        del rngs
        return self.call("logits", tokens)[0]

    def start(self, batch: int, max_length: int) -> ExportedState:
        """Before the first of at most `max_length` tokens."""
        return self._start(batch, max_length)


class ExportedClassifier(Exported):
    """An exported classifier of images."""

    def classify(
        self, images: Float[Array, "b y x c"], *, rngs: nnx.Rngs | None = None
    ) -> Float[Array, "b k"]:
        """Logits of each class; there is no dropout."""
        del rngs
        return self.call("classify", images)[0]


class ExportedRegressor(Exported):
    """An exported model that predicts a number for each series."""

    def predict(
        self, vectors: Float[Array, "b t c"], *, rngs: nnx.Rngs | None = None
    ) -> Float[Array, " b"]:
        """The number at the end of each series; there is no dropout."""
        del rngs
        return self.call("predict", vectors)[0]


MODELS: Mapping[str, type[Exported]] = {
    "seq2seq": ExportedSeq2Seq,
    "aligned": ExportedSeq2Seq,
    "language": ExportedLanguage,
    "classifier": ExportedClassifier,
    "regressor": ExportedRegressor,
}


def _check(port: Port, given: Array) -> None:
    """Raises unless an array has the dtype of a port, and its sizes where these are numbers."""
    shape = jnp.shape(given)
    fits = len(shape) == len(port.shape) and all(
        isinstance(n, str) or n == m for n, m in zip(port.shape, shape, strict=True)
    )
    if not fits or np.dtype(given.dtype).name != port.dtype:
        own = " ".join(map(str, port.shape))
        raise ValueError(
            f"`{port.name}` must be {port.dtype} [{own}]; got {given.dtype}{list(shape)}."
        )
