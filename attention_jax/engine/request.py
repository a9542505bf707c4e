"""A call of `attention` as a value: validated and analyzed once, for every implementation."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypedDict, Unpack, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr
from jaxtyping import Array, PRNGKeyArray, PyTree

from attention_jax.core import (
    calls,
    checks,
    jaxprs,
    lifting,
    lookups,
    normalizers,
    numerics,
    scores,
    values,
)
from attention_jax.core.masks import Mask, conjuncts
from attention_jax.core.normalizers import Normalizer
from attention_jax.core.numerics import Offset
from attention_jax.core.types import Like, MaskFunction, Score, ScoreMod
from attention_jax.engine import partition
from attention_jax.engine.block_map import BlockMap, Shape, TracedMask


class Keywords(TypedDict, total=False):
    """The keywords of `attention` but `return_lse` and `implementation`."""

    score: Score
    score_mod: ScoreMod | None
    mask: MaskFunction | None
    normalizer: Normalizer
    dropout_rate: float
    dropout_key: PRNGKeyArray | None
    query_offset: Offset
    key_offset: Offset


class Functions(NamedTuple):
    """The functions of a call, as `attention` takes them."""

    score: Score
    score_mod: ScoreMod | None
    mask: MaskFunction | None
    normalizer: Normalizer


class Dropout(NamedTuple):
    """The share of weights to drop, above 0, and the random key that decides which."""

    rate: float
    key: PRNGKeyArray


class Offsets(NamedTuple):
    """Global positions of the first query and of the first key."""

    query: Offset
    key: Offset


class Analysis(NamedTuple):
    """The functions of a request, each traced once.

    Attributes:
      score: split into what needs the query alone, the key alone, and the pair.
      score_mod: the trace of the modifier.
      mask: the whole mask.
      conjuncts: the masks of which a pair needs all; none where there is no mask.
      program: the trace of the score.
    """

    score: jaxprs.Parts
    score_mod: ClosedJaxpr | None
    mask: TracedMask | None
    conjuncts: tuple[TracedMask, ...]
    program: ClosedJaxpr


class Request(NamedTuple):
    """The arguments of `attention`, checked, and what an implementation asks of them.

    Attributes:
      tiling: the tiles of the implementation that runs it, where they were found before.
    """

    query: Like
    key: Like
    value: Like
    score: Score
    score_mod: ScoreMod | None
    mask: MaskFunction | None
    normalizer: Normalizer
    dropout: Dropout | None
    offsets: Offsets
    return_lse: bool
    analysis: Analysis
    tiling: BlockMap | None = None

    @property
    def arrays(self) -> tuple[Array, Array, Array]:
        """Query, key and value, where they are there."""
        return cast(tuple[Array, Array, Array], (self.query, self.key, self.value))

    @property
    def shape(self) -> Shape:
        b, t, h, _ = self.query.shape
        _, s, g, _ = self.key.shape
        return Shape(b, g, h // g, t, s)

    @property
    def score_takes_positions(self) -> bool:
        """True where the score is called with (query, key, b, h, i, j)."""
        return len(self.analysis.program.jaxpr.invars) > 2

    @property
    def symbolic(self) -> dict[str, object]:
        """The axes whose lengths are not known before the run, as `jax.export` has them."""
        shapes = {"bthd": self.query.shape, "bsgd": self.key.shape, "bsge": self.value.shape}
        return {
            axis: length
            for axes, shape in shapes.items()
            for axis, length in zip(axes, shape, strict=True)
            if not isinstance(length, int)
        }

    @property
    def rows(self) -> int:
        """Queries of all heads and sequences; those of one, where their number is symbolic."""
        b, g, r, t, _ = self.shape.known
        return b * g * r * t

    @property
    def vector_numbers(self) -> int:
        """Numbers in the query, the key, the value and the output."""
        (b, g, _, _, s), d, e = self.shape.known, self.key.shape[-1], self.value.shape[-1]
        return self.rows * (self.query.shape[-1] + e) + b * s * g * (d + e)

    def lifted(self) -> tuple[PyTree, Callable[[PyTree], "Request"]]:
        """All arrays of the request, and the request as a function of them.

        Functions that capture nothing stay as they are, so that kernels still know them.
        """
        analysis = self.analysis
        programs = {"score": analysis.program, "score_mod": analysis.score_mod}
        programs = {x: lifting.lift(getattr(self, x), program) for x, program in programs.items()}
        mask = lifting.lift_mask(self.mask, (x.program for x in analysis.conjuncts))
        starts = {name: x for name, x in self.offsets._asdict().items() if isinstance(x, jax.Array)}
        key = None if self.dropout is None else self.dropout.key
        captured = {name: x.arrays for name, x in programs.items()}, mask.arrays
        normalizer = values.without_arrays(self.normalizer)

        def rebuild(arrays: PyTree) -> "Request":
            (query, key, value), starts, dropout_key, (captured, of_mask), of_normalizer = arrays
            functions = {name: x.bound(captured[name]) for name, x in programs.items()}
            offsets = self.offsets._replace(**starts)
            return self.changed(
                query,
                key,
                value,
                **functions,
                mask=mask.bound(of_mask),
                normalizer=values.with_arrays(normalizer, of_normalizer),
                dropout_key=dropout_key,
                query_offset=offsets.query,
                key_offset=offsets.key,
            )

        of_normalizer = values.arrays_of(self.normalizer)
        return (self.arrays, starts, key, captured, of_normalizer), rebuild

    def changed(
        self,
        *qkv: Array,
        return_lse: bool | None = None,
        **keywords: Unpack[Keywords],
    ) -> "Request":
        """The request of other arrays, with these keywords in place of its own."""
        own = Keywords(
            score=self.score,
            score_mod=self.score_mod,
            mask=self.mask,
            normalizer=self.normalizer,
            dropout_rate=self.dropout.rate if self.dropout else 0.0,
            dropout_key=self.dropout.key if self.dropout else None,
            query_offset=self.offsets.query,
            key_offset=self.offsets.key,
        )
        query, key, value = qkv or self.arrays
        lse = self.return_lse if return_lse is None else return_lse
        return make_request(query, key, value, return_lse=lse, **{**own, **keywords})

    @property
    def is_typed(self) -> bool:
        """True where a mesh types an array of the request, or may."""
        mask = self.analysis.mask and self.analysis.mask.program
        programs = self.analysis.program, self.analysis.score_mod, mask
        captured = [x for program in programs if program is not None for x in program.consts]
        functions = self.score, self.score_mod, self.mask, self.normalizer
        return partition.is_typed((*self.arrays, *captured, *values.arrays_of(functions)))

    def apart(self, run: Callable[["Request"], PyTree], like: Array | None) -> PyTree:
        """`run(request)` by `partition.apart`: computed as if no mesh typed its arrays."""
        with partition.unchecked():
            arrays, rebuild = self.lifted()
        return partition.apart(lambda arrays: run(rebuild(arrays)), arrays, like)

    @property
    def dtype(self) -> jnp.dtype:
        """The dtype of the computation."""
        return numerics.wide_dtype(self.query, self.key, self.value)


def make_request(
    query: Like | np.ndarray,
    key: Like | np.ndarray,
    value: Like | np.ndarray,
    *,
    return_lse: bool = False,
    **keywords: Unpack[Keywords],
) -> Request:
    """Checks the arguments of `attention`, and traces each function among them once.

    Raises:
      ValueError: an argument breaks its rule.
    """
    for word in keywords:
        if word not in Keywords.__annotations__:
            raise TypeError(calls.unknown_word("attention", word, [*Keywords.__annotations__]))
    with partition.unchecked():
        return _make(query, key, value, return_lse, **keywords)


def _make(
    query: Like | np.ndarray,
    key: Like | np.ndarray,
    value: Like | np.ndarray,
    return_lse: bool,
    *,
    score: Score = scores.scaled_dot,
    score_mod: ScoreMod | None = None,
    mask: MaskFunction | None = None,
    normalizer: Normalizer = normalizers.softmax,
    dropout_rate: float = 0.0,
    dropout_key: PRNGKeyArray | None = None,
    query_offset: Offset = 0,
    key_offset: Offset = 0,
) -> Request:
    query, key, value = (
        jnp.asarray(x) if isinstance(x, np.ndarray) else x for x in (query, key, value)
    )
    checks.attention_arrays(query, key, value)
    plain: Any = partition.untyped((score, score_mod, mask))
    analysis = _analyze(query, key, value, *plain)
    _check_normalizer(normalizer)
    checks.one_of("return_lse", return_lse, (False, True))
    checks.dropout(dropout_rate, dropout_key)
    checks.position("query_offset", query_offset, query.shape[1])
    checks.position("key_offset", key_offset, key.shape[1])
    for name, function in (("mask", plain[2]), ("score_mod", plain[1])):
        lookups.check(name, function, query, key, query_offset, key_offset)
    _check_lse(return_lse, normalizer)
    drops = dropout_key is not None and dropout_rate > 0
    return Request(
        query=query,
        key=key,
        value=value,
        score=score,
        score_mod=score_mod,
        mask=mask,
        normalizer=normalizer,
        dropout=Dropout(dropout_rate, dropout_key) if drops else None,
        offsets=Offsets(query_offset, key_offset),
        return_lse=return_lse,
        analysis=analysis,
    )


def _analyze(
    query: Like,
    key: Like,
    value: Like,
    score: Score,
    score_mod: ScoreMod | None,
    mask: MaskFunction | None,
) -> Analysis:
    """Traces the functions of a call, and splits its score."""
    wide = numerics.wide_dtype(query, key, value)
    program = checks.score_function(score, query, key, wide)
    of_score_mod = None if score_mod is None else checks.score_mod_function(score_mod, wide)
    return Analysis(jaxprs.split_pair(program), of_score_mod, *_trace_masks(mask), program)


def _check_normalizer(normalizer: object) -> None:
    """Raises unless it is a value of `normalizers`, and says which was meant."""
    if isinstance(normalizer, Normalizer):
        return
    name = normalizer if isinstance(normalizer, str) else getattr(normalizer, "__name__", "")
    found = getattr(normalizers, name, None) if name and name[0] != "_" else None
    remedy = "Use one of `normalizers`, such as `normalizers.softmax`."
    if isinstance(found, Normalizer):
        remedy = f"Write `normalizers.{name}`."
    elif callable(found):
        remedy = f"Call it first: `normalizers.{name}(...)`."
    raise ValueError(
        f"`normalizer` must be a Normalizer; got "
        f"{repr(name) if isinstance(normalizer, str) else checks.said(normalizer)}. {remedy}"
    )


def _check_lse(return_lse: bool, normalizer: Normalizer) -> None:
    if return_lse and normalizer.lse is None:
        raise ValueError(
            "`return_lse` needs a normalizer that divides by a sum of exponentials; got "
            f"{normalizer.name}. Use `normalizers.softmax`."
        )


def _trace_masks(
    mask: MaskFunction | None,
) -> tuple[TracedMask | None, tuple[TracedMask, ...]]:
    """The mask and its conjuncts, which are itself where it is no conjunction."""
    if mask is None:
        return None, ()
    program = checks.mask_function(mask)
    whole = TracedMask.of(mask if isinstance(mask, Mask) else Mask(mask), program)
    parts = conjuncts(mask)
    if len(parts) == 1:
        return whole, (whole,)
    return whole, tuple(TracedMask.of(x, checks.mask_function(x)) for x in parts)
