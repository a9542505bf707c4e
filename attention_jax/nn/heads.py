"""Choices of the heads of an attention, as values."""

from typing import Literal, NamedTuple, get_args

from attention_jax.core import checks, plain_types
from attention_jax.core.calls import clear_fields
from attention_jax.core.rotary import Rotary
from attention_jax.nn.norms import EPSILON

Biases = Literal["all", "qkv", "none"]
BIASES: tuple[str, ...] = get_args(Biases)


@clear_fields
class Heads(NamedTuple):
    """Heads of an attention, and how vectors are projected to them.

    Attributes:
      heads: query heads.
      kv_heads: key and value heads; divides `heads`. All of them where None.
      biases: which projections add a learned vector: "all", "qkv", those of queries, keys and
        values, or "none".
      qk_norm: whether each head's queries and keys are normed over their channels by the root of
        the mean square, with a learned gain, before they are turned by their positions.
      norm_epsilon: of these norms.
      head_width: of queries and keys; None for `width` / `heads`.
      value_width: of values; None for as wide as keys. Some variants take no wider ones.
      shared_kv: whether keys and values are those of another layer, which each call is given: then
        there are no projections to them, and no cache.

    References: grouped heads: Ainslie et al. 2023, arXiv:2305.13245; "qkv": Bai et al. 2023,
    arXiv:2309.16609, section 2.3; norms: Dehghani et al. 2023, arXiv:2302.05442, section 2; Gemma
    Team 2025, arXiv:2503.19786, section 2; shared keys and values: Brandon et al. 2024,
    arXiv:2405.12981, section 3.
    """

    heads: int
    kv_heads: int | None = None
    biases: str = "all"
    qk_norm: bool = False
    norm_epsilon: float = EPSILON
    head_width: int | None = None
    value_width: int | None = None
    shared_kv: bool = False

    def check(self, width: int) -> None:
        """Raises ValueError where a field is out of its range, for a model of this width."""
        kv_heads = self.heads if self.kv_heads is None else self.kv_heads
        plain_types.sizes(width=width, heads=self.heads, kv_heads=kv_heads)
        if self.head_width is None:
            checks.divides("heads", self.heads, "width", width)
        for name in ("head_width", "value_width"):
            if getattr(self, name) is not None:
                plain_types.sizes(**{name: getattr(self, name)})
        checks.divides("kv_heads", kv_heads, "heads", self.heads)
        checks.one_of("biases", self.biases, BIASES)
        plain_types.flags(qk_norm=self.qk_norm, shared_kv=self.shared_kv)
        checks.above_zero("norm_epsilon", self.norm_epsilon)

    def widths(self, width: int) -> tuple[int, int]:
        """The widths of a key and of a value, in a model of this width.

        >>> Heads(4, value_width=5).widths(12)
        (3, 5)
        """
        own = self.head_width or width // self.heads
        return own, self.value_width or own


def heads_from(heads: int | Heads, kv_heads: int | None, width: int) -> Heads:
    """The heads as a value, checked.

    Raises:
      ValueError: a field is out of its range, or `kv_heads` is said twice.
    """
    if not isinstance(heads, Heads):
        heads = Heads(heads, kv_heads)
    elif kv_heads is not None:
        raise ValueError(
            "`kv_heads` must be left out where `heads` is a `Heads`, which says it; got "
            f"{checks.said(kv_heads)}. Write `heads=Heads(8, kv_heads=2)`."
        )
    heads.check(width)
    return heads


def rotary_from(rope: bool | Rotary, head_width: int) -> Rotary | None:
    """How heads are turned by positions, checked; None where they are not.

    Raises:
      ValueError: it is neither True, False nor a `Rotary` that fits.
    """
    if not isinstance(rope, (bool, Rotary)):
        raise ValueError(
            f"`rope` must be True, False or a `Rotary`; got {checks.said(rope)}. Give one of them."
        )
    own = rope if isinstance(rope, Rotary) else Rotary() if rope else None
    if own is not None:
        own.check_width(head_width)
    return own
