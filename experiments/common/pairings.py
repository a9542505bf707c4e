"""Which attentions a kind of model can have: each rule gives a reason, empty where it can."""

from functools import partial

import jax

from attention_jax import variants
from attention_jax.models import seq2seq_rnn


def decode(model: str, attention: str) -> str:
    """Of models that write: in a Transformer, scaled dot stands where another cannot."""
    if model == "transformer":
        return ""
    if seq2seq_rnn.serves(variants.resolve(attention)):
        return ""
    return (
        "An RNN needs the score of one query and one key, or what goes from one query to the next; "
        f"{attention} is neither."
    )


def pool(model: str, attention: str) -> str:
    """Of models that read images: an RNN asks one question of its states."""
    if model == "transformer":
        return ""
    if "cross" in variants.resolve(attention).roles:
        return _one_head(attention)
    return (
        "An RNN asks one question of all states of a picture; "
        f"{attention} does not serve between two sequences."
    )


def look_back(model: str, attention: str) -> str:
    """Of language models, in which nothing else stands in."""
    for one in variants.pattern(attention):
        if "causal" not in variants.resolve(one).roles:
            return f"A language model sees what came before; {one} cannot look back only."
    return "" if model == "transformer" else _one_head(attention)


def _one_head(attention: str) -> str:
    """Of RNNs that take any variant, but have one head, which some cannot do with."""
    init = partial(variants.resolve(attention).init, heads=1, kv_heads=1, head_width=64)
    try:
        jax.eval_shape(init, jax.random.key(0))
    except ValueError as error:
        return f"An RNN attends with one head. {error}"
    return ""
