"""The programs of each kind of model.

| kind | programs |
|---|---|
| seq2seq | encode; start, which opens the caches of a source; step, one token with caches |
| aligned | encode, align (CTC) |
| language | logits of a whole text; start; step |
| classifier | classify |
| regressor | predict |
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, PyTree

from attention_jax import variants
from attention_jax.core.types import Length, State
from attention_jax.models.exported.ports import ANY, Program, Sizes, shapes_of, trace
from attention_jax.nn import protocols
from attention_jax.nn.protocols import EncoderOutput

Shape = jax.ShapeDtypeStruct


class Kind(NamedTuple):
    """A kind of model.

    Attributes:
      name: as manifests have it.
      protocol: that its models answer to.
      programs: `(model, sizes) -> ` its programs.
    """

    name: str
    protocol: type
    programs: Callable[[Any, Sizes], list[Program]]


def kind_of(model: nnx.Module) -> Kind:
    """The kind of a model.

    Raises:
      ValueError: it is of none.
    """
    for kind in KINDS:
        if isinstance(model, kind.protocol):
            return kind
    raise ValueError(
        "`model` must be of a kind that is exported: "
        f"{', '.join(kind.name for kind in KINDS)}; got {type(model).__name__}. "
        "Export a part of it by `jax.export`."
    )


def programs_of(model: nnx.Module, sizes: Sizes = ANY) -> list[Program]:
    """The programs of a model, for given sizes.

    Raises:
      ValueError: it is of no kind that is exported, takes fewer positions than `sizes` say, or
        cannot be traced for symbols.
    """
    sizes.check()
    return kind_of(model).programs(model, sizes.bounded(bound_of(model)))


def bound_of(model: nnx.Module) -> int | None:
    """The most positions that learned places leave room for; None where there are none."""
    parts = [getattr(model, "encoder", None), getattr(model, "body", None), model]
    configs: list[Any] = [getattr(part, "config", None) for part in parts]
    found = [x.max_length for x in configs if getattr(x, "positions", "") == "learned"]
    return min(found, default=None)


def described(model: nnx.Module) -> str:
    """A model in a few words, for errors: its class, and its attention."""
    attention = getattr(getattr(model, "config", None), "attention", None)
    name = type(model).__name__
    return name if attention is None else f"{name} with {variants.label(attention)}"


def _seq2seq(model: Any, sizes: Sizes) -> list[Program]:
    dims = sizes.dims("bsn")
    memory, room = _memory(model, sizes, dims), Shape((dims["b"], dims["n"]), jnp.bool_)
    state = shapes_of("start", lambda *given: _started(model, *given), memory, room)
    start = lambda model, *given: {"state": _started(model, *given)}  # noqa: E731
    opened = {"memory": memory, "room": room}
    aligns = [_align(model, sizes)] if isinstance(model, protocols.Aligned) else []
    return [
        _encode(model, sizes),
        trace("start", start, model, opened),
        _step(model, state, dims["b"]),
        *aligns,
    ]


def _aligned(model: Any, sizes: Sizes) -> list[Program]:
    return [_encode(model, sizes), _align(model, sizes)]


def _language(model: Any, sizes: Sizes) -> list[Program]:
    text, dims = sizes.dims("bt"), sizes.dims("bn")
    tokens = Shape((text["b"], text["t"]), jnp.int32)
    room = Shape((dims["b"], dims["n"]), jnp.bool_)

    def start(model: Any, room: Array) -> State:
        return _without_room(model.start(*room.shape))

    state = shapes_of("start", lambda room: start(model, room), room)
    return [
        trace("logits", lambda model, x: {"logits": model.logits(x)}, model, {"tokens": tokens}),
        trace("start", lambda *given: {"state": start(*given)}, model, {"room": room}),
        _step(model, state, dims["b"]),
    ]


def _classifier(model: Any, sizes: Sizes) -> list[Program]:
    size, image = sizes.dims("b")["b"], model.image
    images = Shape((size, image.height, image.width, image.channels), jnp.float32)
    call = lambda model, x: {"logits": model.classify(x)}  # noqa: E731
    return [trace("classify", call, model, {"images": images})]


def _regressor(model: Any, sizes: Sizes) -> list[Program]:
    dims = sizes.dims("bt")
    vectors = Shape((dims["b"], dims["t"], model.enter.in_features), jnp.float32)
    call = lambda model, x: {"number": model.predict(x)}  # noqa: E731
    return [trace("predict", call, model, {"vectors": vectors})]


KINDS = (
    Kind("seq2seq", protocols.Seq2Seq, _seq2seq),
    Kind("aligned", protocols.Aligned, _aligned),
    Kind("language", protocols.Language, _language),
    Kind("classifier", protocols.Classifier, _classifier),
    Kind("regressor", protocols.Regressor, _regressor),
)


def _source(model: Any, dims: dict[str, Length]) -> dict[str, Shape]:
    """Tokens, or frames of a spectrogram, and which positions are real."""
    shape = dims["b"], dims["s"]
    listening = getattr(model.encoder, "listening", None) if hasattr(model, "encoder") else None
    tokens = Shape(shape, jnp.int32)
    source = tokens if listening is None else Shape((*shape, listening.features), jnp.float32)
    return {"source": source, "source_mask": Shape(shape, jnp.bool_)}


def _encode(model: Any, sizes: Sizes) -> Program:
    call = lambda model, *given: {"memory": model.encode(*given)}  # noqa: E731
    return trace("encode", call, model, _source(model, sizes.dims("bs")))


def _memory(model: Any, sizes: Sizes, dims: dict[str, Length]) -> EncoderOutput:
    """Shapes of the encoder's output, whose positions are `s` even where it shortens a source."""
    own = sizes.dims("bs")
    found = shapes_of("encode", model.encode, *_source(model, own).values())

    def renamed(n: Length) -> Length:
        return n if isinstance(n, int) else dims["b" if str(n) == str(own["b"]) else "s"]

    return jax.tree.map(lambda x: Shape(tuple(map(renamed, x.shape)), x.dtype), found)


def _align(model: Any, sizes: Sizes) -> Program:
    memory = _memory(model, sizes, sizes.dims("bs"))
    call = lambda model, memory: {"logits": model.aligner(memory)}  # noqa: E731
    return trace("align", call, model, {"memory": memory})


def _started(model: Any, memory: EncoderOutput, room: Array) -> State:
    return _without_room(model.start(memory, room.shape[1]))


def _without_room(state: State) -> State:
    """A state without the array that only says how long it is: its caches say so, if any do."""
    return state._replace(room=None) if "room" in getattr(state, "_fields", ()) else state


def _step(model: Any, state: PyTree, batch: Length) -> Program:
    def call(model: Any, state: State, token: Array) -> dict[str, PyTree]:
        state, logits = model.step(state, token)
        return {"logits": logits, "state": state}

    return trace("step", call, model, {"state": state, "token": Shape((batch,), jnp.int32)})
