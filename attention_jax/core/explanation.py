"""One call of attention, step by step, as arrays that print as tables."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Bool, Float, Int

from attention_jax.core import checks

# So many rows and columns of a table are printed.
SHOWN = 12
HIDDEN = "."


class Explanation(NamedTuple):
    """The steps of a call of `attention`; printed, tables of sequence 0 and head 0.

        weights = dropout(normalize(scores, visible));  output = weights @ value

    Attributes:
      plain_scores: of each query and key, before `score_mod`.
      scores: after it: what the normalizer is given, hidden pairs too.
      visible: which pairs the mask shows.
      weights: of each key's value in the output, 0 where hidden; after dropout, where there is any.
      output: as `attention` returns it.
      query_positions, key_positions: global positions, with the offsets.
    """

    plain_scores: Float[Array, "b h t s"]
    scores: Float[Array, "b h t s"]
    visible: Bool[Array, "b h t s"]
    weights: Float[Array, "b h t s"]
    output: Float[Array, "b t h e"]
    query_positions: Int[Array, " t"]
    key_positions: Int[Array, " s"]

    def table(self, b: int = 0, h: int = 0) -> str:
        """Tables of one sequence and head: rows are queries, columns keys or entries of the output.

        A hidden pair is a point. At most 12 rows and columns are shown.

        Raises:
          ValueError: there is no such sequence or head.
        """
        own = self.at(b, h)
        rows = [f"q{int(i)}" for i in own.query_positions]
        keys = [f"k{int(j)}" for j in own.key_positions]
        seen = own.visible

        def shown(x: np.ndarray) -> Callable[[int, int], str]:
            return lambda i, j: f"{x[i, j]:.3f}" if seen[i, j] else HIDDEN

        changed = not np.array_equal(own.plain_scores, own.scores, equal_nan=True)
        plain = [("scores before score_mod", keys, shown(own.plain_scores))] if changed else []
        parts = [
            *plain,
            ("scores", keys, shown(own.scores)),
            ("visible", keys, lambda i, j: "1" if seen[i, j] else HIDDEN),
            ("weights", keys, shown(own.weights)),
            (
                "output",
                [str(n) for n in range(own.output.shape[1])],
                lambda i, j: f"{own.output[i, j]:.3f}",
            ),
        ]
        texts = [_grid(f"{name}, b={b}, h={h}", rows, columns, x) for name, columns, x in parts]
        return "\n\n".join(texts)

    def at(self, b: int = 0, h: int = 0) -> "PairSteps":
        """The numbers of one sequence and head, as NumPy arrays.

        Raises:
          ValueError: there is no such sequence or head.
        """
        sizes = self.scores.shape
        for name, place, size in (("b", b, sizes[0]), ("h", h, sizes[1])):
            checks.index(name, place, size)
        pairs = (np.asarray(x[b, h]) for x in self[:4])
        output = np.asarray(self.output[b, :, h], np.float32)
        positions = np.asarray(self.query_positions), np.asarray(self.key_positions)
        return PairSteps(*pairs, output, *positions)

    def __str__(self) -> str:
        b, h = self.scores.shape[:2]
        if not b or not h:
            return f"nothing to show: {b} sequences, {h} heads"
        others = "" if b * h == 1 else f"\n\n{b} sequences, {h} heads; others by `.table(b, h)`"
        return self.table() + others

    __repr__ = __str__


class PairSteps(NamedTuple):
    """An `Explanation` of one sequence and head."""

    plain_scores: Float[np.ndarray, "t s"]
    scores: Float[np.ndarray, "t s"]
    visible: Bool[np.ndarray, "t s"]
    weights: Float[np.ndarray, "t s"]
    output: Float[np.ndarray, "t e"]
    query_positions: Int[np.ndarray, " t"]
    key_positions: Int[np.ndarray, " s"]


def _grid(
    title: str, rows: Sequence[str], columns: Sequence[str], cell: Callable[[int, int], str]
) -> str:
    """A table with labels; what is left out at the right and below is said."""
    t, s = min(len(rows), SHOWN), min(len(columns), SHOWN)
    body = [[rows[i], *(cell(i, j) for j in range(s))] for i in range(t)]
    lines = [["", *columns[:s]], *body]
    widths = [max(len(line[n]) for line in lines) for n in range(s + 1)]
    text = [
        "  ".join(word.rjust(width) for word, width in zip(line, widths, strict=True))
        for line in lines
    ]
    left = [
        f"{count - most} more {name}"
        for name, count, most in (("rows", len(rows), t), ("columns", len(columns), s))
        if count > most
    ]
    return "\n".join([title, *text, *([f"({', '.join(left)})"] if left else [])])
