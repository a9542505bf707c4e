"""Requests that are analyzed, traced and compiled once, and again only where they differ.

A call is checked, its functions are traced, an implementation and its tiles are chosen: that is a
program without numbers. Equal programs share one function under `jax.jit`, with all arrays as
arguments, those too that functions captured; so a call that was made before compiles nothing,
though its functions be new, and layers that are alike are traced once. Inside a program that is
being traced its operations are written out, as if it were not there.

Functions of the library whose parameters are equal need not even be traced again. Those of a user's
own are, at every call: they may have captured what has changed.
"""

import collections
import threading
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr
from jaxtyping import Array

from attention_jax.core import jaxprs, program_keys, values
from attention_jax.core.normalizers import Normalizer
from attention_jax.engine.block_map import BlockMap, TracedMask
from attention_jax.engine.implementation import Implementation, Output
from attention_jax.engine.request import Analysis, Dropout, Offsets, Request

# Programs and calls that are kept, and captured bytes of a call.
MOST_KEPT, MOST_BYTES = 256, 2**16


class Kept:
    """A cache of the values that were used last."""

    def __init__(self, most: int):
        self._most, self._lock = most, threading.Lock()
        self._values: collections.OrderedDict[Hashable, Any] = collections.OrderedDict()

    def get(self, key: Hashable) -> Any:
        """The value, None where there is none."""
        with self._lock:
            if key not in self._values:
                return None
            self._values.move_to_end(key)
            return self._values[key]

    def put(self, key: Hashable, value: object) -> None:
        """Keeps a value, and forgets the one that was used longest ago."""
        with self._lock:
            self._values[key] = value
            while len(self._values) > self._most:
                self._values.popitem(last=False)


_CALLS, _PROGRAMS = Kept(MOST_KEPT), Kept(MOST_KEPT)


class Call(NamedTuple):
    """The arrays of a call that differ from one to the next of the same program."""

    query: Array
    key: Array
    value: Array
    dropout_key: Any
    query_offset: Any
    key_offset: Any


class Captured(NamedTuple):
    """Arrays that the functions of a call captured."""

    score: tuple[Any, ...]
    score_mod: tuple[Any, ...]
    mask: tuple[Any, ...]
    conjuncts: tuple[tuple[Any, ...], ...]
    normalizer: tuple[Any, ...]


def _placed(x: Any) -> Any:
    """A number or an array of NumPy on the device; None for position 0."""
    if isinstance(x, int):
        return jax.device_put(np.int32(x)) if x else None
    return jax.device_put(x) if isinstance(x, np.ndarray) else x


class Prepared(NamedTuple):
    """The program of a call, and what its functions captured."""

    program: Callable[..., Output]
    captured: Captured

    def run(self, call: Call) -> Output:
        """Runs the call."""
        # Positions from 0 are part of the program. Others are sent to the device by name, which
        # `jax.transfer_guard` allows.
        offsets = [_placed(x) if isinstance(x, int) else x for x in call[4:]]
        captured = jax.tree.map(_placed, self.captured)
        return self.program(Call(*call[:4], *offsets), captured)

    @property
    def is_alive(self) -> bool:
        """True where no captured array was deleted since."""
        return not any(isinstance(x, jax.Array) and x.is_deleted() for x in self._arrays)

    @property
    def belongs_to_a_trace(self) -> bool:
        """True where a captured array is traced."""
        return any(isinstance(x, jax.core.Tracer) for x in self._arrays)

    @property
    def _arrays(self) -> list[Any]:
        return jax.tree.leaves(self.captured)


class Program(NamedTuple):
    """A request without numbers.

    Attributes:
      score, score_mod, mask: the programs of its functions.
      conjuncts: those of masks that are not known before the run.
      normalizer: without arrays.
      tiling: the tiles.
      run: the implementation.
    """

    score: Jaxpr
    score_mod: Jaxpr | None
    mask: Jaxpr | None
    conjuncts: tuple[Jaxpr, ...]
    normalizer: Normalizer
    dropout_rate: float
    return_lse: bool
    tiling: BlockMap | None
    run: Callable[[Request], Output]

    def __call__(self, call: Call, captured: Captured) -> Output:
        """Puts the numbers back, and runs it."""
        score, score_mod = ClosedJaxpr(self.score, captured.score), None
        if self.score_mod is not None:
            score_mod = ClosedJaxpr(self.score_mod, captured.score_mod)
        mask = None if self.mask is None else _traced_mask(self.mask, captured.mask)
        conjuncts = tuple(map(_traced_mask, self.conjuncts, captured.conjuncts))
        drops = self.dropout_rate > 0
        request = Request(
            *call[:3],
            score=_function(score),
            score_mod=None if score_mod is None else _function(score_mod),
            mask=None if mask is None else mask.function,
            normalizer=values.with_arrays(self.normalizer, captured.normalizer),
            dropout=Dropout(self.dropout_rate, call.dropout_key) if drops else None,
            offsets=Offsets(*(0 if x is None else x for x in call[4:])),
            return_lse=self.return_lse,
            analysis=Analysis(jaxprs.split_pair(score), score_mod, mask, conjuncts, score),
            tiling=self.tiling,
        )
        return self.run(request)


def _function(program: ClosedJaxpr) -> Callable[..., Array]:
    return lambda *arguments: jax.core.eval_jaxpr(program.jaxpr, program.consts, *arguments)[0]


def _emptied(program: ClosedJaxpr) -> Jaxpr:
    """The program without the arrays that it captured, which it would keep alive."""
    own = program.jaxpr
    return Jaxpr(own.constvars, own.invars, own.outvars, own.eqns, own.effects, own.debug_info)


def _traced_mask(jaxpr: Jaxpr, captured: Sequence[Any]) -> TracedMask:
    program = ClosedJaxpr(jaxpr, captured)
    return TracedMask.of(_function(program), program)


def _is_nested(call: Call) -> bool:
    return any(isinstance(x, jax.core.Tracer) for x in call)


def prepare(request: Request, chosen: Implementation, call: Call) -> Prepared | None:
    """The program of a request; None where it must be run as it is.

    That is where an implementation must read what functions captured, and where a normalizer is a
    user's own, whose functions are not traced before.
    """
    form = values.without_arrays(request.normalizer)
    nests = chosen.nests or not _is_nested(call)
    if chosen.tile is None or not (nests and values.is_settled(form) and not request.symbolic):
        return None
    tiling, analysis = chosen.tile(request), request.analysis
    unknown = [x.program for x in analysis.conjuncts if not x.is_known(request.offsets)]
    mask = None if analysis.mask is None else analysis.mask.program
    whole: list[Any] = [analysis.program, analysis.score_mod, mask]
    captured = Captured(
        *(() if x is None else tuple(x.consts) for x in whole),
        tuple(tuple(x.consts) for x in unknown),
        values.arrays_of(request.normalizer),
    )
    types = tuple(jax.typeof(x) for x in jax.tree.leaves((request.arrays, captured)))
    structures = _structures([*whole, *unknown])
    if structures is None:
        return None
    rate = request.dropout.rate if request.dropout else 0.0
    tiles = None if tiling is None else tiling.key
    key = chosen.name, types, structures, form, tiles, rate, request.return_lse, context()
    program = _PROGRAMS.get(key)
    if program is None:
        own: Any = (None if x is None else _emptied(x) for x in whole)
        fixed = form, rate, request.return_lse, tiling, chosen.run
        program = _compiled(Program(*own, tuple(map(_emptied, unknown)), *fixed))
        _PROGRAMS.put(key, program)
    return Prepared(program, captured)


def _structures(programs: Sequence[ClosedJaxpr | None]) -> tuple[Hashable, ...] | None:
    """Their keys; None where one must not outlive its trace."""
    try:
        return tuple(None if x is None else program_keys.structure(x) for x in programs)
    except program_keys.Unkeyed:
        return None


def _compiled(program: Program) -> Callable[[Call, Captured], Output]:
    def attention(call: Call, captured: Captured) -> Output:
        return program(call, captured)

    # Written out while the caller is traced; before JAX 0.11 that was what True meant.
    early: Any = getattr(getattr(jax, "Inline", None), "JAX_EARLY", True)
    return jax.jit(attention, inline=early)


def key_of(
    call: Call, functions: tuple[object, ...], dropout_rate: float, rest: tuple[object, ...]
) -> Hashable:
    """The key of a call whose functions need not be traced again; None of any other.

    Args:
      functions: the score, the modifier, the mask and the normalizer.
      rest: what else the program hangs on.
    """
    if not values.is_settled((functions, dropout_rate, rest)):
        return None
    if not all(x is None or isinstance(x, (int, jax.Array)) for x in call):
        return None
    if sum(x.nbytes for x in values.arrays_of(functions)) > MOST_BYTES:
        return None
    types = tuple(jax.typeof(x) if isinstance(x, jax.Array) else x for x in call)
    return types, functions, dropout_rate, rest, _is_nested(call), context()


def kept(key: Hashable) -> Prepared | None:
    """The program of a call of this key, where it is known."""
    found = None if key is None else _CALLS.get(key)
    return found if found is not None and found.is_alive else None


def keep(key: Hashable, prepared: Prepared) -> None:
    """Remembers a call, but no array of a trace."""
    if key is not None and not prepared.belongs_to_a_trace:
        _CALLS.put(key, prepared)


def context() -> Hashable:
    """The settings on which the choice of a program hangs."""
    mesh = jax.sharding.get_abstract_mesh()
    promotion = jax.config.jax_numpy_dtype_promotion
    return jax.config.jax_enable_x64, promotion, jax.default_backend(), mesh
