"""Softmax attention of short sequences in one tile, which a CPU computes faster than blocks."""

from attention_jax.engine import blockwise, whole_rows
from attention_jax.engine.implementation import Implementation, Output, Plan, dense_bytes
from attention_jax.engine.request import Request

# On a CPU blocks are slower than one tile up to this length, and up to so many numbers; of whole
# rows up to another length, and so many numbers a sequence.
SHORT, WHOLE = 128, 512
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
    shape, scores = request.shape, request.shape.known.scores * request.analysis.score.width
    short = SHORT
    if whole_rows.takes(request):
        short, scores = WHOLE, scores // max(shape.b, 1)
    if max(shape.t, shape.s) > short or scores > FEW_SCORES:
        return None
    return f"up to {short} positions one tile is faster than blocks"


def plan(request: Request) -> Plan:
    """All scores at once; of whole rows those of a part of the sequences."""
    together = dense_bytes(request)
    if whole_rows.takes(request):
        scores = whole_rows.at_once(request.shape) + request.vector_numbers
        together = min(together, scores * request.dtype.itemsize)
    return Plan("dense", temporary_bytes=together)


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
