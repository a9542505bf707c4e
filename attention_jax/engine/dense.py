"""Softmax attention of short sequences in one tile, which a CPU computes faster than blocks."""

from attention_jax.engine import blockwise
from attention_jax.engine.implementation import Implementation, Output, Plan, dense_bytes
from attention_jax.engine.request import Request

# On a CPU blocks are slower than one tile up to this length, and up to so many numbers.
SHORT = 128
FEW_SCORES = 2**24


def run(request: Request) -> Output:
    """Computes a request as `blockwise` does, in one tile that holds everything."""
    return blockwise.run(request, dense=True)


def refuse(request: Request) -> str | None:
    """Needs a softmax."""
    if blockwise.is_softmax(request.normalizer):
        return None
    return f"it computes the softmax, not {request.normalizer.name}."


def prefer(request: Request) -> str | None:
    """Picked for short sequences alone: its memory grows with the product of the lengths."""
    shape, width = request.shape, request.analysis.score.width
    if max(shape.t, shape.s) > SHORT or shape.known.scores * width > FEW_SCORES:
        return None
    return f"up to {SHORT} positions one tile is faster than blocks"


def plan(request: Request) -> Plan:
    """All scores at once."""
    return Plan("dense", temporary_bytes=dense_bytes(request))


IMPLEMENTATION = Implementation(
    "dense",
    rank=50,
    refuse=refuse,
    prefer=prefer,
    run=run,
    plan=plan,
    tile=lambda request: blockwise.tile(request, dense=True),
    symbolic="b",
)
