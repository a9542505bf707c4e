"""First mistakes with public functions: each is answered by one line of ours that says what to do.

A row is a wrong call, and words that its answer must hold. Nothing is compiled.
"""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import attention_jax as aj
from attention_jax import (
    attention,
    decoding,
    explain,
    masks,
    nn,
    normalizers,
    plan,
    positions,
    scores,
    variants,
)
from attention_jax.core.types import Options

Q, K, V = (jax.ShapeDtypeStruct((2, 5, 4, 8), jnp.float32),) * 3
TABLE = jnp.ones((32, 4))
RNGS = nnx.Rngs(0)


def ask(**given):
    return lambda: plan(Q, K, V, **given)


def shapes(*given):
    return lambda: plan(*(jax.ShapeDtypeStruct(x, jnp.float32) for x in given))


def step(state, token):
    return state, jnp.zeros((1, 9))


def layer(**given):
    return lambda: nn.MultiHeadAttention(
        8, **({"heads": 2, "variant": "dot", "rngs": RNGS} | given)
    )


CALLS = {
    # Words of other libraries.
    "is_causal": (ask(is_causal=True), "mask=masks.causal"),
    "causal": (ask(causal=True), "mask=masks.causal"),
    "attn_mask": (ask(attn_mask=1), "masks.from_array"),
    "attention_mask": (ask(attention_mask=1), "masks.keys"),
    "key_padding_mask": (ask(key_padding_mask=1), "masks.keys"),
    "block_mask": (ask(block_mask=1), "mask="),
    "mask_mod": (ask(mask_mod=1), "mask="),
    "bias": (ask(bias=1), "score_mod=lambda"),
    "attn_bias": (ask(attn_bias=1), "score_mod=lambda"),
    "scale": (ask(scale=0.1), "score=lambda q, k: scale"),
    "sm_scale": (ask(sm_scale=0.1), "score=lambda"),
    "softmax_scale": (ask(softmax_scale=0.1), "score=lambda"),
    "dropout": (ask(dropout=0.1), "dropout_rate"),
    "dropout_p": (ask(dropout_p=0.1), "dropout_rate"),
    "dropout_rng": (ask(dropout_rng=1), "dropout_key"),
    "rng": (ask(rng=1), "dropout_key"),
    "deterministic": (ask(deterministic=True), "dropout_rate=0.0"),
    "training": (ask(training=True), "dropout_rate=0.0"),
    "return_weights": (ask(return_weights=True), "aj.explain"),
    "need_weights": (ask(need_weights=True), "aj.explain"),
    "output_attentions": (ask(output_attentions=True), "aj.explain"),
    "window": (ask(window=4), "masks.sliding_window"),
    "window_size": (ask(window_size=4), "masks.sliding_window"),
    "local_window_size": (ask(local_window_size=4), "masks.sliding_window"),
    "softcap": (ask(softcap=4), "jnp.tanh"),
    "logits_soft_cap": (ask(logits_soft_cap=4), "jnp.tanh"),
    "alibi_slopes": (ask(alibi_slopes=4), "positions.alibi"),
    "segment_ids": (ask(segment_ids=4), "masks.documents"),
    "key_value_seq_lengths": (ask(key_value_seq_lengths=4), "masks.lengths"),
    "enable_gqa": (ask(enable_gqa=True), "nothing"),
    "num_heads": (ask(num_heads=4), "third axis"),
    "precision": (ask(precision="high"), "float32"),
    "backend": (ask(backend="cudnn"), "implementation="),
    "misspelled": (ask(normaliser=normalizers.softmax), "Did you mean `normalizer`"),
    "unknown": (ask(colour=3), "It takes `score`"),
    "of attention": (lambda: attention(Q, K, V, is_causal=True), "mask=masks.causal"),
    "of explain": (lambda: explain(Q, K, V, scale=1.0), "score=lambda"),
    "misspelled in attention": (lambda: attention(Q, K, V, maks=None), "Did you mean `mask`"),
    "two arrays": (lambda: attention(Q, K), "missing a required argument: 'value'"),
    "four arrays": (lambda: attention(Q, K, V, V), "too many positional arguments"),
    # Shapes.
    "t d": (shapes((5, 8), (5, 8), (5, 8)), r"x\[None, :, None\]"),
    "t h d": (shapes((5, 4, 8), (5, 4, 8), (5, 4, 8)), r"x\[None\]"),
    "five axes": (shapes((1, 2, 5, 4, 8), (2, 5, 4, 8), (2, 5, 4, 8)), r"\[b t h d\]"),
    "batch": (shapes((2, 5, 4, 8), (3, 5, 4, 8), (3, 5, 4, 8)), "batch size"),
    "heads": (shapes((2, 5, 4, 8), (2, 5, 3, 8), (2, 5, 3, 8)), "divide"),
    "no width": (shapes((2, 5, 4, 0), (2, 5, 4, 0), (2, 5, 4, 8)), "at least 1 wide"),
    "lists": (lambda: attention([1.0], K, V), "`query` must be an array.*jnp.asarray"),
    "none": (lambda: attention(Q, None, V), "`key` must be an array"),
    "whole numbers": (lambda: plan(jnp.ones((2, 5, 4, 8), int), K, V), "floating-point"),
    # Normalizers.
    "normalizer by name": (ask(normalizer="softmax"), "Write `normalizers.softmax`"),
    "normalizer of jax": (ask(normalizer=jax.nn.softmax), "Write `normalizers.softmax`"),
    "normalizer not called": (ask(normalizer=normalizers.entmax), r"normalizers.entmax\(...\)"),
    "top_k not called": (ask(normalizer=normalizers.top_k), r"Call it first"),
    "no such normalizer": (ask(normalizer="sofmax"), "Use one of `normalizers`"),
    "no normalizer": (ask(normalizer=None), "must be a Normalizer; got None"),
    "entmax of a half": (lambda: normalizers.entmax(0.5), "`alpha` must be above 1; got 0.5"),
    "entmax of one": (lambda: normalizers.entmax(jnp.ones(4)), "above 1.*normalizers.softmax"),
    "entmax of text": (lambda: normalizers.entmax("1.5"), "`alpha` must be an array"),
    "entmax of nothing": (lambda: normalizers.entmax(), "missing a required argument: 'alpha'"),
    "top_k of a fraction": (lambda: normalizers.top_k(2.5), "`k` must be a whole number"),
    "top_k of zero": (lambda: normalizers.top_k(0), "at least 1; got 0"),
    "top_k by another word": (lambda: normalizers.top_k(n=3), "takes no `n`"),
    "sink of a number": (lambda: normalizers.softmax_with_sink(0.0), r"`sink` must be an array"),
    "lse of relu": (ask(normalizer=normalizers.relu, return_lse=True), "`return_lse` needs"),
    # Scores and modifiers.
    "score by name": (ask(score="dot"), "`scores.dot`"),
    "score of nothing": (ask(score=None), "must be a function of"),
    "score not called": (ask(score=scores.cosine), r"scores.cosine\(...\)"),
    "general not called": (ask(score=scores.general), "Call it first"),
    "score of three": (ask(score=lambda q, k, v: q @ k), r"called with \(query, key\)"),
    "score of a vector": (ask(score=lambda q, k: q * k), "Sum over the width"),
    "dot called": (lambda: scores.dot(), r"`scores.dot\(q, k\)`"),
    "temperature zero": (lambda: scores.cosine(temperature=0), "above 0"),
    "temperature text": (lambda: scores.cosine(temperature="hot"), "above 0"),
    "temperature misspelled": (lambda: scores.cosine(temperatur=1), "Did you mean `temperature`"),
    "cosine by position": (lambda: scores.cosine(0.5), "too many positional"),
    "width negative": (lambda: scores.distance(width=-1.0), "`width` must be above 0"),
    "general of a vector": (lambda: scores.general(jnp.ones(3)), r"\[d d\]"),
    "additive of two": (lambda: scores.additive(TABLE, TABLE), "missing a required argument: 'w'"),
    "modifier of three": (ask(score_mod=lambda s, i, j: s), r"\(score, b, h, i, j\)"),
    "modifier not called": (ask(score_mod=positions.alibi), r"positions.alibi\(...\)"),
    "t5 not called": (ask(score_mod=positions.t5_bias), "Call it first"),
    "modifier by name": (ask(score_mod="alibi"), "must be a function of"),
    "modifier with if": (ask(score_mod=lambda s, b, h, i, j: s if i > j else -s), "jnp.where"),
    "modifier with numpy": (ask(score_mod=lambda s, b, h, i, j: np.exp(s)), "jax.numpy"),
    "alibi of other heads": (ask(score_mod=positions.alibi(heads=8)), "Axis h must be 4"),
    "table of other heads": (ask(score_mod=positions.t5_bias(TABLE[:, :2])), "Axis h must be 4"),
    "modifier of nothing": (ask(score_mod=lambda s, b, h, i, j: None), "must return one array"),
    # Masks.
    "mask called": (lambda: masks.causal(), "mask=masks.causal"),
    "window not called": (ask(mask=masks.sliding_window), r"masks.sliding_window\(...\)"),
    "mask by name": (ask(mask="causal"), "must be a function"),
    "mask true": (ask(mask=True), "must be a function"),
    "mask array": (ask(mask=np.ones((5, 5), bool)), "masks.from_array"),
    "mask of two": (ask(mask=lambda i, j: j <= i), r"\(b, h, i, j\)"),
    "mask with and": (ask(mask=lambda b, h, i, j: j <= i and j > 0), "must not decide"),
    "and": (lambda: masks.causal and masks.full, "`&`"),
    "or": (lambda: masks.causal or masks.full, "`|`"),
    "not": (lambda: not masks.causal, "`~`"),
    "and a number": (lambda: masks.causal & 3, "got 3"),
    "or an array": (lambda: np.ones(3, bool) | masks.causal, "masks.from_array"),
    "and not called": (lambda: masks.causal & masks.chunks, r"masks.chunks\(...\)"),
    "size of a fraction": (lambda: masks.sliding_window(2.5), "whole number.*2.5"),
    "size of zero": (lambda: masks.sliding_window(0), "at least 1 position"),
    "size of text": (lambda: masks.sliding_window("4"), "whole number"),
    "no size": (lambda: masks.sliding_window(), "missing a required argument: 'size'"),
    "window word": (lambda: masks.sliding_window(window=4), "Did you mean `size`"),
    "dilation by position": (lambda: masks.sliding_window(4, 2), "too many positional"),
    "dilation zero": (lambda: masks.sliding_window(4, dilation=0), "`dilation`"),
    "stride of a fraction": (lambda: masks.strided(1.5), "`stride`"),
    "chunks huge": (lambda: masks.chunks(2**40), "at most 2147483647"),
    "along rows": (lambda: masks.axial(3, along="rows"), "'row', 'column', 'both'"),
    "neighborhood even": (lambda: masks.neighborhood(4, height=8, width=8), "odd"),
    "neighborhood alone": (lambda: masks.neighborhood(3), "missing a required"),
    "prefix of a fraction": (lambda: masks.prefix(2.5), "one whole number"),
    "prefix of many": (lambda: masks.prefix(jnp.array([1, 2])), "masks.lengths"),
    "lengths of a number": (lambda: masks.lengths(4), r"array of shape \[b\]"),
    "lengths of a list": (lambda: masks.lengths([4, 5]), "jnp.asarray"),
    "lengths of fractions": (lambda: masks.lengths(jnp.ones(2)), "whole numbers"),
    "keys of numbers": (lambda: masks.keys(jnp.ones((2, 5), int)), "visible != 0"),
    "keys of one row": (lambda: masks.keys(jnp.ones(5, bool)), r"\[b s\]"),
    "ids once": (lambda: masks.documents(jnp.ones((2, 5), int)), "missing a required"),
    "ids of fractions": (lambda: masks.documents(TABLE, TABLE), "whole numbers"),
    "array of two axes": (lambda: masks.from_array(jnp.ones((5, 5), bool)), "length 1"),
    "ids of another batch": (ask(mask=masks.lengths(jnp.array([1, 2, 3]))), "Axis b must be 2"),
    "keys too short": (ask(mask=masks.keys(jnp.ones((2, 4), bool))), "Axis s must be 5"),
    # Dropout, offsets and the rest.
    "dropout_key of a seed": (ask(dropout_rate=0.1, dropout_key=5), r"jax.random.key\(5\)"),
    "no dropout_key": (ask(dropout_rate=0.1), "jax.random.key"),
    "dropout of one": (ask(dropout_rate=1.0), r"in \[0, 1\)"),
    "dropout of text": (ask(dropout_rate="0.1"), r"in \[0, 1\)"),
    "offset of a fraction": (ask(query_offset=0.5), "one whole number"),
    "offset of none": (ask(query_offset=None), "one whole number; got None"),
    "offsets": (ask(key_offset=jnp.arange(2)), "jax.vmap"),
    "offset too far": (ask(query_offset=2**31 - 3), "2.30"),
    "return_lse of text": (ask(return_lse="yes"), "`return_lse` must be one of False, True"),
    "no such implementation": (ask(implementation="fast"), "must be one of None"),
    # Positions.
    "alibi of nothing": (lambda: positions.alibi(), "missing a required .*: 'heads'"),
    "alibi by position": (lambda: positions.alibi(8), "too many positional"),
    "alibi num_heads": (lambda: positions.alibi(num_heads=8), "Did you mean `heads`"),
    "alibi of zero": (lambda: positions.alibi(heads=0), "`heads`"),
    "odd width": (lambda: positions.sinusoidal(4, 7), "even.*8"),
    "bias of a vector": (lambda: positions.t5_bias(jnp.ones(3)), r"\[buckets h\]"),
    "rows of neither": (
        lambda: positions.by_distance(jnp.ones((1, 1, 1, 1)), rows="both"),
        "'queries', 'keys'",
    ),
    # Variants.
    "variant of none": (lambda: variants.resolve(None), "must be the name of a variant"),
    "variant of a number": (lambda: variants.get(3), "must be the name of a variant"),
    "variant of a function": (lambda: variants.resolve(scores.dot), "or a Variant"),
    "variant misspelled": (lambda: variants.get("aditive"), "Did you mean additive"),
    "option misspelled": (lambda: variants.get("sliding_window", sise=3), "Did you mean size"),
    "option of another type": (lambda: variants.get("sliding_window", size="3"), "whole number"),
    "option of zero": (lambda: variants.get("top_k", k=0), "at least 1"),
    "score of none": (lambda: aj.from_score(None), r"function of \(params\)"),
    "score itself": (lambda: aj.from_score(scores.dot), r"called with \(params\)"),
    "mask of none": (lambda: aj.from_mask(None), r"function of \(b, h, i, j\)"),
    "mask factory": (lambda: aj.from_mask(masks.strided), r"masks.strided\(...\)"),
    "options of a mask": (
        lambda: variants.get("dot").attend({}, Q, K, V, masks.causal),
        r"Options\(mask=...\)",
    ),
    "no head width": (
        lambda: variants.get("dot").init(RNGS.params(), heads=4, kv_heads=4, head_width=0),
        "`head_width`",
    ),
    "option word": (lambda: Options(is_causal=True), "mask=masks.causal"),
    # Layers and decoding.
    "num_heads of a layer": (layer(num_heads=2), "Did you mean `heads`"),
    "heads that do not divide": (layer(heads=3), "`heads` must divide `width`"),
    "layer without heads": (lambda: nn.MultiHeadAttention(8), "missing a required"),
    "layer's variant": (layer(variant=None), "must be the name of a variant"),
    "x of two axes": (lambda: layer()()(jnp.ones((5, 8))), r"\[b t m\].*x\[None\]"),
    "x of a list": (lambda: layer()()([1.0]), "`x` must be an array"),
    "is_causal of a layer": (lambda: layer()()(jnp.ones((1, 5, 8)), is_causal=True), "is_causal"),
    "n_layers": (lambda: nn.TransformerConfig(9, n_layers=2), "Did you mean `layers`"),
    "d_model": (lambda: nn.TransformerConfig(9, d_model=2), "Did you mean `width`"),
    "config of nothing": (lambda: nn.TransformerConfig(), "vocabulary_size"),
    "greedy without length": (lambda: decoding.greedy(step, jnp.zeros(1)), "max_length"),
    "greedy of zero": (
        lambda: decoding.greedy(step, jnp.zeros(1), max_length=0),
        "at least 1; got 0",
    ),
    "num_beams": (
        lambda: decoding.beam(step, jnp.zeros(1), max_length=3, num_beams=2),
        "Did you mean `beam_size`",
    ),
    "nbest above the beam": (
        lambda: decoding.beam(step, jnp.zeros(1), max_length=3, nbest=9),
        "at most `beam_size`",
    ),
    "sample of a seed": (
        lambda: decoding.sample(step, jnp.zeros(1), key=3, max_length=3),
        "jax.random.key",
    ),
    "temperature of zero": (
        lambda: decoding.sample(
            step, jnp.zeros(1), key=jax.random.key(0), max_length=3, temperature=0
        ),
        "`greedy`",
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_one_line_says_what_to_write(name, users_errors):
    call, words = CALLS[name]
    with pytest.raises((ValueError, TypeError), match=words) as caught:
        call()
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600
    # The last frame is ours, so the words are too.
    assert "attention_jax" in str(caught.traceback[-1].path)


def test_there_are_many():
    assert len(CALLS) >= 150


MAKERS = {
    f"{module.__name__.rpartition('.')[2]}.{name}": function
    for module in (masks, normalizers, positions, scores)
    for name, function in vars(module).items()
    if inspect.isfunction(function) and function.__module__ == module.__name__ and name[0] != "_"
}


@pytest.mark.parametrize("name", MAKERS)
def test_an_argument_that_there_is_not_is_named_beside_those_that_there_are(name):
    with pytest.raises(TypeError, match=f"^`{name}` takes no `no_such`. It takes `.*`.$"):
        MAKERS[name](no_such=1)
