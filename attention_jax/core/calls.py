"""Calls that do not fit a signature, answered in one line: the argument, and what to write."""

import difflib
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
Tuple = TypeVar("Tuple", bound=tuple)

_LONGEST = 300  # characters of a signature
# The words of other libraries for what `attention` takes.
ATTENTION_WORDS = {
    "is_causal": "`mask=masks.causal`",
    "causal": "`mask=masks.causal`",
    "attn_mask": "`mask=masks.from_array(visible)`, an array that is True where visible",
    "attention_mask": "`mask=masks.keys(visible)`, an array [b s] that is True where visible",
    "key_padding_mask": "`mask=masks.keys(~padding)`",
    "block_mask": "`mask=`, a function of (b, h, i, j)",
    "mask_mod": "`mask=`, a function of (b, h, i, j)",
    "bias": "`score_mod=lambda score, b, h, i, j: score + bias[b, h, i, j]`",
    "attn_bias": "`score_mod=lambda score, b, h, i, j: score + bias[b, h, i, j]`",
    "scale": "`score=lambda q, k: scale * (q @ k)`",
    "sm_scale": "`score=lambda q, k: scale * (q @ k)`",
    "softmax_scale": "`score=lambda q, k: scale * (q @ k)`",
    "dropout": "`dropout_rate=` and `dropout_key=`",
    "dropout_p": "`dropout_rate=` and `dropout_key=`",
    "dropout_rng": "`dropout_key=`",
    "rng": "`dropout_key=`",
    "deterministic": "`dropout_rate=0.0` where nothing is dropped",
    "training": "`dropout_rate=0.0` where nothing is dropped",
    "return_weights": "`aj.explain(q, k, v)`, which returns the weights too",
    "need_weights": "`aj.explain(q, k, v)`, which returns the weights too",
    "output_attentions": "`aj.explain(q, k, v)`, which returns the weights too",
    "return_attn_probs": "`aj.explain(q, k, v)`, which returns the weights too",
    "return_residual": "`return_lse=True`",
    "window": "`mask=masks.sliding_window(size)`",
    "window_size": "`mask=masks.sliding_window(size)`",
    "local_window_size": "`mask=masks.sliding_window(size)`",
    "softcap": "`score_mod=lambda score, b, h, i, j: cap * jnp.tanh(score / cap)`",
    "logits_soft_cap": "`score_mod=lambda score, b, h, i, j: cap * jnp.tanh(score / cap)`",
    "alibi_slopes": "`score_mod=positions.alibi(heads=h)`",
    "segment_ids": "`mask=masks.documents(query_ids, key_ids)`",
    "key_value_seq_lengths": "`mask=masks.lengths(key_lengths)`",
    "kv_lengths": "`mask=masks.lengths(key_lengths)`",
    "query_seq_lengths": "nothing: rows of padding are not read",
    "enable_gqa": "nothing: key heads that divide the query's are shared",
    "num_heads": "nothing: heads are the third axis of the arrays [b t h d]",
    "precision": "nothing: sums are in float32; set `jax_default_matmul_precision`",
    "dtype": "nothing: the output has the query's dtype",
    "backend": "`implementation=`",
}
# The words of other libraries for parameters, each where a function has one of the second name.
SYNONYMS = {
    **dict.fromkeys(("num_heads", "n_heads", "nhead", "n_head", "attention_heads"), "heads"),
    **dict.fromkeys(("d_model", "embed_dim", "dim", "hidden_size", "in_features"), "width"),
    **dict.fromkeys(("num_kv_heads", "n_kv_heads", "num_key_value_heads"), "kv_heads"),
    **dict.fromkeys(("num_layers", "n_layers", "depth", "n_layer"), "layers"),
    **dict.fromkeys(("d_ff", "ffn_dim", "dim_feedforward", "mlp_dim"), "feed_forward"),
    **dict.fromkeys(("vocab_size", "num_embeddings"), "vocabulary_size"),
    **dict.fromkeys(("dropout", "dropout_p", "drop"), "dropout_rate"),
    **dict.fromkeys(("window", "window_size", "radius"), "size"),
    **dict.fromkeys(("max_len", "max_new_tokens", "max_steps"), "max_length"),
    **dict.fromkeys(("num_beams", "beam_width", "beams"), "beam_size"),
    **dict.fromkeys(("rng", "seed", "rng_key"), "key"),
    **dict.fromkeys(("n", "num"), "count"),
}


def clear_calls(function: Callable[P, R]) -> Callable[P, R]:
    """The function, whose wrong calls raise a TypeError of one line that says what to write."""
    return clear_calls_of("")(function)


def clear_calls_of(
    name: str, *, bound: int = 0, words: Mapping[str, str] | None = None
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """`clear_calls`, for a function that users know otherwise.

    Args:
      name: that users know; empty for its own.
      bound: how many of its first arguments are not the user's.
      words: keywords that it does not take, and what to write instead.
    """

    def clear(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                return function(*args, **kwargs)
            except TypeError:
                own = functools.partial(function, *args[:bound]) if bound else function
                line = misfit(own, args[bound:], kwargs, name=name, words=words)
                if line is None:
                    raise
            raise TypeError(line)

        return call

    return clear


def clear_fields(made: type[Tuple]) -> type[Tuple]:
    """A NamedTuple whose wrong fields raise a TypeError of one line."""
    plain: Any = made.__new__

    @functools.wraps(plain)
    def new(cls: type[Tuple], *args: object, **kwargs: object) -> Tuple:
        try:
            return plain(cls, *args, **kwargs)
        except TypeError:
            line = misfit(plain, (cls, *args), kwargs, name=made.__name__)
            if line is None:
                raise
        raise TypeError(line)

    setattr(made, "__new__", new)  # noqa: B010  # type checkers know no such assignment
    return made


def misfit(
    function: Callable[..., object],
    args: tuple[object, ...],
    kwargs: Mapping[str, object],
    *,
    name: str = "",
    words: Mapping[str, str] | None = None,
) -> str | None:
    """One line about a call that does not fit; None where it fits.

    Args:
      name: of the function, where it is not its own.
      words: keywords that it does not take, and what to write instead.
    """
    signature = inspect.signature(function)
    try:
        signature.bind(*args, **kwargs)
        return None
    except TypeError as error:
        name = name or name_of(function)
        known = [x for x in signature.parameters if x not in ("self", "cls", "_cls")]
        unknown = [word for word in kwargs if word not in signature.parameters]
        if unknown:
            if words and unknown[0] in words:
                return f"`{name}` takes no `{unknown[0]}`; write {words[unknown[0]]}."
            return unknown_word(name, unknown[0], known)
        shown = f"`{name}({_short(_shown(signature))})`"
        return f"A call of `{name}` does not fit: {error}. It is {shown}."


def unknown_word(name: str, word: str, known: list[str]) -> str:
    """One line about a keyword that a function does not have."""
    attends = name in ("attention", "plan", "explain", "Options")
    if attends and word in ATTENTION_WORDS:
        return f"`{name}` takes no `{word}`; write {ATTENTION_WORDS[word]}."
    close = difflib.get_close_matches(word, known, n=1)
    meant = SYNONYMS.get(word, "")
    guess = meant if meant in known else close[0] if close else None
    if guess:
        return f"`{name}` takes no `{word}`. Did you mean `{guess}`?"
    return f"`{name}` takes no `{word}`. It takes {', '.join(f'`{x}`' for x in known)}."


def name_of(function: Callable[..., object]) -> str:
    """As users write it: `masks.sliding_window`, `MultiHeadAttention`, `attention`."""
    name = getattr(function, "__qualname__", type(function).__name__)
    name = name.removesuffix(".__init__").removesuffix(".__call__")
    room = getattr(function, "__module__", "").split(".")[-1]
    return f"{room}.{name}" if room in ("masks", "normalizers", "positions", "scores") else name


def _short(arguments: Iterable[str]) -> str:
    """The first arguments, as many as a line bears; dots stand for the others."""
    found = ", ".join(arguments)
    return found if len(found) <= _LONGEST else f"{found[:_LONGEST].rpartition(', ')[0]}, ..."


def _shown(signature: inspect.Signature) -> list[str]:
    """The parameters as a signature has them, without annotations and long defaults."""
    shown = []
    for parameter in signature.parameters.values():
        if parameter.name in ("self", "cls", "_cls"):
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not any(x[0] == "*" for x in shown):
            shown.append("*")
        shown.append(_one(parameter))
    return shown


def _one(parameter: inspect.Parameter) -> str:
    if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
        return str(parameter.replace(annotation=parameter.empty))
    if parameter.default is parameter.empty:
        return parameter.name
    text = repr(parameter.default)
    return f"{parameter.name}={text}" if len(text) < 20 else f"{parameter.name}=..."
