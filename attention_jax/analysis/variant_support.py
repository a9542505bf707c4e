"""Support of a variant, read off its members and the programs that it makes.

    support_of(variants.get("alibi"))     traces attention and its gradient, a second or so
    recorded()["alibi"]                   the same, from the file that `record` writes

The record holds the variants of the library with their defaults, so that a listing need not
trace; variants that it does not hold are traced.
"""

import itertools
import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from attention_jax import variants
from attention_jax.core.files import write_whole
from attention_jax.core.jaxprs import walk
from attention_jax.core.masks import causal
from attention_jax.core.types import MaskFunction, Options, Variant
from attention_jax.variants._by_queries import by_queries

RECORD = Path(variants.__file__).with_name("_support.json")
FAMILIES = (
    "scores of a pair",
    "normalizers, gates and heads",
    "positions and patterns",
    "sums and states",
    "alignments",
    "all weights at once",
)
SIZES = {"heads": 4, "kv_heads": 2, "head_width": 8}
# The first is long enough that no tile of fixed size is a large share of all pairs; the others are
# for variants that take no sequence of that length.
LENGTHS, LARGE_SHARE = (8192, 2048, 512), 1 / 16
# Twice as long, an array that follows the length has twice the numbers, and t x s has four times.
MOST_GROWTH = 2.5


class Support(NamedTuple):
    """Abilities of a variant.

    Attributes:
      roles, mask_kind, stochastic: as in `Variant`.
      steps: whether a decoder goes on by the variant's own steps, in a state of its own.
      rnn: whether it serves in RNN decoders.
      linear_memory: whether attention, its gradient included, makes no array of t x s numbers.
      family: one of `FAMILIES`.
    """

    roles: tuple[str, ...]
    mask_kind: str
    stochastic: bool
    steps: bool
    rnn: bool
    linear_memory: bool
    family: str

    @property
    def words(self) -> tuple[str, ...]:
        """The abilities in words."""
        extras = {
            "linear memory": self.linear_memory,
            "steps of its own in decoders": self.steps,
            "RNN decoders": self.rnn,
            "draws at random": self.stochastic,
        }
        hides = "any mask" if self.mask_kind == "pairwise" else "masks of keys"
        return (*self.roles, hides, *(name for name, has in extras.items() if has))


def support_of(variant: Variant) -> Support:
    """The abilities of a variant; its programs are traced, nothing is computed."""
    linear = linear_memory(variant)
    return Support(
        roles=variant.roles,
        mask_kind=variant.mask_kind,
        stochastic=variant.stochastic,
        steps=variant.step is not None,
        rnn=variant.score is not None or variant.cross_step is not None,
        linear_memory=linear,
        family=family(variant, linear=linear),
    )


def recorded() -> dict[str, Support]:
    """The recorded abilities of the library's variants, with their default options."""
    found = json.loads(RECORD.read_text(encoding="utf-8"))
    return {
        name: Support(**facts | {"roles": tuple(facts["roles"])}) for name, facts in found.items()
    }


def record() -> Path:
    """Traces all variants of the library and writes the record."""
    rows = [
        f"  {json.dumps(name)}: {json.dumps(support_of(variants.get(name))._asdict())}"
        for name in variants.names()
    ]
    write_whole(RECORD, "{\n" + ",\n".join(rows) + "\n}\n")
    return RECORD


def family(variant: Variant, *, linear: bool) -> str:
    """Of `FAMILIES`, the one that the variant's members put it in.

    Args:
      linear: whether its memory is.
    """
    if variant.cross_step is not None:
        return "alignments"
    if variant.score is not None:
        return "scores of a pair"
    if variant.mask_kind == "keywise" and not _keeps_positions(variant):
        return "sums and states"
    if not linear:
        return "all weights at once"
    # Where distances mean something, there is no place between two sequences.
    return "normalizers, gates and heads" if "cross" in variant.roles else "positions and patterns"


def _keeps_positions(variant: Variant) -> bool:
    """True if the state of decoding grows as the sequence does, so that it is no sum."""
    # Layers are loaded only where a variant is traced, and not for a listing.
    from attention_jax.analysis.cache_cost import cache_cost

    if variant.step is None:
        return False
    h, g, d = SIZES.values()
    cost = cache_cost(variant, LENGTHS[-1], heads=h, kv_heads=g, head_width=d)
    return cost.bytes_a_token > 0


def ways(variant: Variant) -> dict[str, MaskFunction | None]:
    """The masks under which a variant reads one sequence: seen whole, up to each query, or both."""
    whole = next((place for place in ("bidirectional", "cross") if place in variant.roles), None)
    found: dict[str, MaskFunction | None] = {} if whole is None else {whole: None}
    return found | ({"causal": causal} if "causal" in variant.roles else {})


def linear_memory(variant: Variant) -> bool:
    """True if attention and its gradient make no array of t x s numbers, nor of a share of them.

    Read off jaxprs: nothing is computed.
    """
    variant = by_queries(variant)
    return all(_is_linear(variant, mask) for mask in ways(variant).values())


def _is_linear(variant: Variant, mask: MaskFunction | None) -> bool:
    # Where the offset is not known, blocks are not sorted by a look at the mask, which takes most
    # of the time; but a variant may then have to do without its better way.
    for length, known in itertools.product(LENGTHS, (False, True)):
        try:
            arrays = _arrays(variant, mask, length, known=known)
            most = LARGE_SHARE * length**2
            if max(arrays) <= most:
                return True
            if not _grows(_arrays(variant, mask, length // 2, known=known), arrays, most):
                return True
        except (ValueError, TypeError, jax.errors.JAXTypeError):
            continue  # it takes no such offset, or no such length
        if known:
            return False
    return False


def _grows(small: list[int], large: list[int], most: float) -> bool:
    """True if an array of more than `most` numbers grows faster than the length."""
    if len(small) != len(large):  # of other loops: only the largest can be compared
        small, large = [max(small)], [max(large)]
    pairs = zip(small, large, strict=True)
    return any(after > most and after > MOST_GROWTH * before for before, after in pairs)


def _arrays(variant: Variant, mask: MaskFunction | None, length: int, *, known: bool) -> list[int]:
    """The size of every array in the program of attention and its gradient."""
    h, g, d = SIZES.values()
    shapes = ((1, length, h, d), (1, length, g, d), (1, length, g, d - 2))
    q, k, v = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes)
    key = jax.eval_shape(lambda: jax.random.key(0))
    params = jax.eval_shape(lambda key: variant.init(key, **SIZES), key)

    def run(offset: Any, key: Any, *arrays: Any) -> Any:
        at = 0 if known else offset
        options = Options(mask, at, at, dropout_key=key if variant.stochastic else None)
        out, pull = jax.vjp(lambda *x: variant.attend(*x, options), *arrays)
        return out, pull(out)

    offset = jax.ShapeDtypeStruct((), jnp.int32)
    closed = jax.make_jaxpr(run)(offset, key, params, q, k, v)
    made: list[Any] = [x.aval for equation in walk(closed.jaxpr) for x in equation.outvars]
    return [math.prod(jnp.shape(x)) for x in closed.consts] + [
        math.prod(getattr(x, "shape", ())) for x in made
    ]
