"""Decoding with any step function: greedy, sampling, beam search.

Each is a `lax.while_loop` over `step(state, token) -> (state, logits)`, so it runs under
`jax.jit` and stops as soon as every row has ended. All start from BOS and end with EOS; PAD and BOS
are never produced. The result of a row does not depend on the other rows of its batch.

    decoded = decoding.beam(model.step, model.start(memory, 64), max_length=64, beam_size=5)
    texts = [tokenizer.decode(tokens[0]) for tokens in decoded.tokens.tolist()]
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Key

from attention_jax.core import checks
from attention_jax.core.plain_types import typed_calls
from attention_jax.core.types import State, is_typed_key
from attention_jax.decoding import beams, extension, loops
from attention_jax.decoding.beams import Beams, length_divisor
from attention_jax.decoding.logits import kept, largest
from attention_jax.decoding.loops import Loop
from attention_jax.decoding.options import DecodingOptions
from attention_jax.decoding.types import DecodingResult, Step, batch_size, pick
from attention_jax.nn.protocols import require_room

_NONE = DecodingOptions()


@typed_calls
def greedy(
    step: Step, state: State, *, max_length: int, options: DecodingOptions = _NONE
) -> DecodingResult:
    """Greedy decoding: the most probable token at every position.

        y[i] = argmax_y log p(y | y[<i])

    Args:
      step: `(state, token [b]) -> (state, logits [b v])`.
      state: initial state; the first axis of every leaf is the batch.
      max_length: largest number of tokens in a sentence, EOS included.
      options: such as `DecodingOptions(min_length=3)`.

    Returns:
      One sentence a row; its score is the model's log-probability, which no option changes.

    Raises:
      ValueError: `max_length` is below 1, beyond the room of `state` or too short for `options`;
        an option is of another search; the leaves of `state` share no axis.

    >>> from attention_jax.data.types import EOS
    >>> def three_then_end(state, token):
    ...     return state + 1, jnp.eye(5)[jnp.where(state < 3, 4, EOS)]
    >>> greedy(three_then_end, jnp.zeros(1, jnp.int32), max_length=6).tokens.tolist()
    [[[4, 4, 4, 2, 0, 0]]]
    """
    return _run(greedy_loop(max_length=max_length, options=options), step, state)


@typed_calls
def sample(
    step: Step,
    state: State,
    *,
    key: Array,
    max_length: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    options: DecodingOptions = _NONE,
) -> DecodingResult:
    """Sampling with temperature, top-k, top-p and min-p.

        y[i] ~ p(y | y[<i])^(1 / temperature), renormalized over the tokens that are kept

    The temperature is applied first; then all but the `top_k` most probable tokens are dropped,
    then all but the smallest set of most probable tokens whose mass reaches `top_p`, then all whose
    probability is below `options.min_p` times the largest. Giving `top_k` beside `top_p` is faster,
    since it spares a sort of the whole vocabulary at every position.

    Args:
      step: `(state, token [b]) -> (state, logits [b v])`.
      state: initial state; the first axis of every leaf is the batch.
      key: one random key, where row r draws from `fold_in(key, r)`; or keys [b], one a row.
      max_length: largest number of tokens in a sentence, EOS included.
      temperature: above 0; below 1 sharpens the distribution, above 1 flattens it.
      top_k: number of tokens to keep; None for all.
      top_p: probability mass to keep, in (0, 1]; None for all.
      options: such as `DecodingOptions(min_p=0.1)`; rules apply before the temperature.

    Returns:
      One sentence a row; its score is the model's log-probability at temperature 1, which no option
      changes.

    Raises:
      ValueError: an argument is out of its range, an option is of another search, or the leaves of
        `state` do not share an axis.

    Reference: Fan et al. 2018, arXiv:1805.04833 (top-k); Holtzman et al. 2020, arXiv:1904.09751
      (top-p); Nguyen et al. 2024, arXiv:2407.01082 (min-p).
    """
    rows = batch_size(state)
    if not is_typed_key(key) or key.shape not in ((), (rows,)):
        raise ValueError(
            f"`key` must be one random key, or one for each of {rows} rows; got {key!r}. "
            "Make it by `jax.random.key`."
        )
    loop = sample_loop(
        keys=key if key.ndim else jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(rows)),
        max_length=max_length,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        options=options,
    )
    return _run(loop, step, state)


@typed_calls
def beam(
    step: Step,
    state: State,
    *,
    max_length: int,
    beam_size: int = 5,
    length_penalty: float = 1.0,
    nbest: int = 1,
    options: DecodingOptions = _NONE,
) -> DecodingResult:
    """Beam search with a length penalty.

        score(y) = log p(y) / ((5 + |y|) / 6)^length_penalty
        score(y) = log p(y) / |y|^length_penalty    if options.length_form == "power"

    A sentence ends if its EOS ranks among the `beam_size` best continuations. Finished sentences
    are kept aside, and the search stops once no open prefix could still enter the `nbest` best of
    them, so stopping early changes no result. Prefixes still open at `max_length` rank after all
    finished sentences. With `beam_size=1` and `length_penalty=0` this is `greedy`.

    Args:
      step: `(state, token [b]) -> (state, logits [b v])`, called with `b * beam_size` rows. A leaf
        of the state that it returns untouched (the encoder's memory) is never copied.
      state: initial state; the first axis of every leaf is the batch.
      max_length: largest number of tokens in a sentence, EOS included.
      beam_size: prefixes kept for each row.
      length_penalty: 0 for none; a larger one prefers longer sentences.
      nbest: sentences returned for each row, at most `beam_size`.
      options: such as `DecodingOptions(min_length=3)`. As in Hugging Face's generation, rules apply
        to log-probabilities, which are not normalized again, and scores sum what they give. With
        `words`, `beam_size` prefixes are kept for each number of their tokens that a prefix may
        hold, and `step` sees as many more rows.

    Returns:
      `nbest` sentences a row, best first.

    Raises:
      ValueError: an argument is out of its range, an option is of another search, or the leaves of
        `state` do not share an axis.

    Reference: Wu et al. 2016, arXiv:1609.08144, section 7; "power" is the penalty of Hugging Face's
      `generate`, where |y| counts EOS too.
    """
    loop = beam_loop(
        max_length=max_length,
        beam_size=beam_size,
        length_penalty=length_penalty,
        nbest=nbest,
        options=options,
    )
    return _run(loop, step, state)


def greedy_loop(*, max_length: int, options: DecodingOptions = _NONE) -> Loop:
    """`greedy` as a loop."""
    options.refuse("min_p", search="greedy decoding", remedy="Use `sample`.")
    options.refuse("length_form", "words", search="greedy decoding", remedy="Use `beam`.")
    _require_length(max_length, options)

    def best(logits: Array, position: Array, keys: Array | None) -> Int[Array, " b"]:
        del position, keys
        return largest(logits, 1)[1][:, 0]

    return extension.loop(best, max_length=max_length, options=options)


def sample_loop(
    *,
    keys: Key[Array, " b"] | None = None,
    max_length: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    options: DecodingOptions = _NONE,
) -> Loop:
    """`sample` as a loop, with a random key for each row; None where it only goes on."""
    check_sampling(temperature, top_k, top_p)
    options.refuse("length_form", "words", search="sampling", remedy="Use `beam`.")
    _require_length(max_length, options)

    def draw(logits: Array, position: Array, keys: Array | None) -> Int[Array, " b"]:
        now = jax.vmap(lambda row_key: jax.random.fold_in(row_key, position))(keys)
        among, tokens = kept(logits / temperature, top_k, top_p, options.min_p)
        choice = jax.vmap(jax.random.categorical)(now, among)
        return choice if tokens is None else pick(tokens, choice)

    return extension.loop(draw, max_length=max_length, options=options, keys=keys)


def beam_loop(
    *,
    max_length: int,
    beam_size: int = 5,
    length_penalty: float = 1.0,
    nbest: int = 1,
    options: DecodingOptions = _NONE,
) -> Loop:
    """`beam` as a loop."""
    check_beam(beam_size, nbest, length_penalty)
    _require_length(max_length, options)
    options.refuse("min_p", search="beam search", remedy="Use `sample`.")
    divisor = partial(length_divisor, length_penalty=length_penalty, form=options.length_form)
    at_most = divisor(max_length)

    def advance(step: Step, path: Beams) -> Beams:
        length = (path.position + 1).astype(jnp.float32)
        return beams.advance(step, path, divisor(length), options)

    return Loop(
        partial(beams.start, k=beam_size, n=nbest, max_length=max_length, options=options),
        partial(beams.may_improve, at_most=at_most),
        advance,
        partial(beams.rank, penalty=at_most),
        max_length,
    )


def check_sampling(temperature: float, top_k: int | None, top_p: float | None) -> None:
    """Raises ValueError where an argument of `sample` is out of its range."""
    if not (temperature > 0 and math.isfinite(temperature)):
        raise ValueError(
            f"`temperature` must be above 0 and finite; got {temperature}. "
            "For the most probable token use `greedy`."
        )
    if top_k is not None:
        checks.positive("top_k", top_k)
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"`top_p` must lie in (0, 1]; got {top_p}. Use None to keep all tokens.")


def check_beam(beam_size: int, nbest: int, length_penalty: float) -> None:
    """Raises ValueError where an argument of `beam` is out of its range."""
    for name, count in (("beam_size", beam_size), ("nbest", nbest)):
        checks.positive(name, count)
    if nbest > beam_size:
        raise ValueError(
            f"`nbest` must be at most `beam_size`; got nbest={nbest}, beam_size={beam_size}. "
            f"Use `beam_size={nbest}` or more."
        )
    if not (length_penalty >= 0 and math.isfinite(length_penalty)):
        raise ValueError(
            f"`length_penalty` must be 0 or more and finite; got {length_penalty}. Use 0 for none."
        )


def _run(loop: Loop, step: Step, state: State) -> DecodingResult:
    require_room(state, loop.max_length)
    return loops.run(loop, step, state)


def _require_length(max_length: int, options: DecodingOptions) -> None:
    """Raises unless `max_length` tokens suffice for the options."""
    checks.positive("max_length", max_length)
    if max_length < options.least:
        raise ValueError(
            f"`max_length` must be at least {options.least}, EOS included, for "
            f"{' and '.join(options.changed(('min_length', 'prefix', 'words')))}; got "
            f"{max_length}. "
            f"Use `max_length={options.least}` or more."
        )
