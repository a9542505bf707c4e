"""One alphabet for the whole library: axis letters, aliases, and the protocols.

Axis letters, in shapes such as `Float[Array, "b t h d"]`:

    b batch    t query length    h query heads             d key width      m model width
    n ranked   s key length      g key and value heads     e value width    v vocabulary
    l layers                       (g divides h)            k classes        f bands of a frame
    y rows of pixels, x across     c channels
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import jax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

Params = Any  # a pytree of arrays; `{}` where nothing is learned
State = Any  # a pytree of arrays whose first axis is the batch

# An array, or what is known of one before it is there.
Like = Array | jax.ShapeDtypeStruct
# One query [d] and one key [d] -> a scalar.
Score = Callable[[Array, Array], Array]
# (score, b, h, i, j) -> a scalar; i and j are global positions.
ScoreMod = Callable[[Array, Array, Array, Array, Array], Array]
# (b, h, i, j) -> a boolean: may query i see key j?
MaskFunction = Callable[[Array, Array, Array, Array], Array]

# The first ids of every vocabulary.
PAD, BOS, EOS, UNKNOWN = range(4)
SPECIAL_TOKENS = ("<pad>", "<bos>", "<eos>", "<unk>")


class Variant(NamedTuple):
    """One attention mechanism: a tuple of pure functions, and what they can honour.

    Attributes:
      init: `(key, *, heads, kv_heads, head_width) -> params`.
      attend: `(params, q, k, v, *, mask, query_offset, ...) -> out`, with the keywords of
        `attention_jax.attention` that it does not choose itself.
      start: `(params, batch, length, *, heads, kv_heads, head_width, value_width, dtype) -> state`
        before the first query, for `length` keys at most; only where there is `step` or `align`.
      step: `(params, state, q, k, v) -> (state, out)` for the next position of one sequence,
        [b h d], [b g d], [b g e] -> [b h e]; reproduces the causal `attend`. Without it a decoder
        keeps keys and values, and attends to them anew.
      align: `(params, state, q, k, v, *, visible) -> (state, out)` for the next query [b h d] over
        keys [b s g d] that stay; `visible` is [b s]. Only where it depends on the queries before.
        Takes `dropout_key` too where `random`.
      score: `(params) -> Score`, only where the variant is nothing but the score of a pair.
        Such a variant also serves between two sequences and in RNN decoders.
      serves: where it can stand, of `PLACES`.
      masks: "pairs" where any mask may hide any pair; "keys" where only keys can be hidden from
        all queries alike, beside `masks.causal`. Others are refused.
      random: whether it draws, beside dropout; it then takes `dropout_key` at any rate.
    """

    init: Callable[..., Params]
    attend: Callable[..., Any]
    start: Callable[..., State] | None = None
    step: Callable[..., tuple[State, Array]] | None = None
    align: Callable[..., tuple[State, Array]] | None = None
    score: Callable[[Params], Score] | None = None
    serves: tuple[str, ...] = ("bidirectional", "causal")
    masks: str = "pairs"
    random: bool = False


# Within one sequence, seen whole or up to each query; and from one sequence to another.
PLACES = ("bidirectional", "causal", "cross")


def no_parameters(key: PRNGKeyArray, **sizes: int) -> Params:
    """The `init` of a variant that learns nothing."""
    del key, sizes
    return {}


class Memory(NamedTuple):
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
    ) -> Memory: ...

    def decode(
        self, target: Int[Array, "b t"], memory: Memory, *, rngs: Any = None
    ) -> Float[Array, "b t v"]: ...

    def start(self, memory: Memory, max_length: int) -> State: ...

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


class Example(NamedTuple):
    """One sentence and the answers that count as right; training uses the first."""

    source: str
    references: tuple[str, ...]


class Task(NamedTuple):
    """A sequence-to-sequence problem as text; no split shares a source with another."""

    name: str
    train: Sequence[Example]
    validation: Sequence[Example]
    tests: dict[str, Sequence[Example]]  # the first is in distribution
    tokenizer: str  # the kind that suits it: "character", "word" or "bpe"
    lowercase: bool = False  # whether text is lower-cased, and scored so


class Batch(NamedTuple):
    """Padded token ids; a pytree, so that a jitted step takes it whole."""

    source: Int[Any, "b s"] | Float[Any, "b s f"]  # ids, or frames of sound
    source_mask: Bool[Any, "b s"]
    target_in: Int[Any, "b t"]  # BOS y1 y2 ...
    target_out: Int[Any, "b t"]  # y1 y2 ... EOS
    weights: Float[Any, "b t"]  # 1 on real target tokens, 0 on padding


class Classifier(Protocol):
    """What every model that says what a picture shows answers to.

    Pictures hold numbers from 0 to 1. `rngs=None` means no dropout; logits are float32.
    """

    def classify(
        self, images: Float[Array, "b y x c"], *, rngs: Any = None
    ) -> Float[Array, "b k"]: ...


class ImageBatch(NamedTuple):
    """Pictures and what they show; a pytree, so that a jitted step takes it whole."""

    images: Float[Any, "b y x c"]  # from 0 to 1
    labels: Int[Any, " b"]
    weights: Float[Any, " b"]  # 1 on pictures, 0 on rows that only fill the batch


class Window(NamedTuple):
    """Stretches of a text, and at each of their tokens the one to predict; a pytree."""

    tokens: Int[Any, "b t"]
    targets: Int[Any, "b t"]
    weights: Float[Any, "b t"]  # 1 where a prediction counts, 0 elsewhere


class Series(NamedTuple):
    """Series of vectors, and the number to predict at the end of each; a pytree."""

    vectors: Float[Any, "b t c"]
    targets: Float[Any, " b"]
    weights: Float[Any, " b"]  # 1 where a prediction counts, 0 elsewhere


def is_typed_key(key: Any) -> bool:
    """Whether `key` is a new-style random key, as `jax.random.key` makes."""
    return isinstance(key, jax.Array) and jax.dtypes.issubdtype(key.dtype, jax.dtypes.prng_key)
