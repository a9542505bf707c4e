"""Texts that a language model writes: against its own logits, and what is refused."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attention_jax.data.tokenizer import Tokenizer
from attention_jax.data.types import EOS
from attention_jax.decoding import DecodingConfig, TextGenerator
from attention_jax.decoding.generate import Draw
from attention_jax.models import language
from attention_jax.nn.recurrent import RNNConfig
from attention_jax.nn.transformer import TransformerConfig

VOCABULARY = Tokenizer.learn(["abcdefgh\n"], kind="character")


def build(kind):
    sizes = {"vocabulary_size": VOCABULARY.size, "width": 8, "layers": 1, "dropout_rate": 0.0}
    if kind == "rnn":
        return language.RNNLM(RNNConfig(**sizes, attention="none"), rngs=nnx.Rngs(0))
    config = TransformerConfig(**sizes, heads=2, feed_forward=8, positions="learned", max_length=8)
    return language.TransformerLM(config, rngs=nnx.Rngs(0))


@pytest.fixture(params=["transformer", "rnn"], scope="module")
def model(request):
    # Large weights, so that the answer depends on what was read.
    model = build(request.param)
    graphdef, params = nnx.split(model)
    moved = jax.tree.map(lambda x: 4 * x, nnx.as_pure(params))
    return nnx.merge(graphdef, moved), graphdef, moved


def greedily(model, ids, length, context, stop_at_end=False):
    """By the definition: the whole window anew for each token, until the text ends, if it may."""
    ids, start = list(ids), 0
    # What is read ends with padding, so that one program reads all lengths: a model of language
    # does not look ahead.
    logits_of = nnx.jit(lambda model, ids: model.logits(ids[None])[0])
    longest = len(ids) + length - 1 if context is None else context
    for _ in range(length):
        if context is not None and len(ids) - start >= context:
            start = len(ids) - context // 2
        read = np.zeros(longest, np.int32)
        read[: len(ids) - start] = ids[start:]
        logits = np.asarray(logits_of(model, jnp.asarray(read)))[len(ids) - start - 1]
        if stop_at_end and logits[EOS] > logits[4:].max():
            break
        ids.append(4 + int(logits[4:].argmax()))
    return ids


@pytest.mark.sampled(1)
@pytest.mark.parametrize("length", [1, 17])
def test_greedy_text_is_that_of_the_definition(model, length):
    model, graphdef, params = model
    writer = TextGenerator(graphdef, VOCABULARY, DecodingConfig("greedy"), context=model.context)
    expected = greedily(model, VOCABULARY.encode("abd"), length, model.context)
    assert writer(params, "abd", length) == VOCABULARY.decode(expected)


@pytest.mark.sampled(1)
def test_samples_follow_their_seed_and_keep_to_the_text(model):
    model, graphdef, params = model
    write = {
        seed: TextGenerator(
            graphdef, VOCABULARY, DecodingConfig("sample", seed=seed), context=model.context
        )
        for seed in (0, 1)
    }
    text = write[0](params, "a\n", 40)
    assert text == write[0](params, "a\n", 40) != write[1](params, "a\n", 40)
    assert len(text) == 42 and text.startswith("a\n") and set(text) <= set("abcdefgh\n")


LONG = "abcdefgh" * 20


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["scaled_dot", "linear", "rnn"])
def test_a_long_prompt_is_read_in_chunks(kind):
    """Lengths around the chunks, against the whole text read anew for each token."""
    sizes: dict[str, Any] = {"vocabulary_size": VOCABULARY.size, "width": 8, "layers": 1}
    if kind == "rnn":
        made = language.RNNLM(RNNConfig(**sizes, attention="additive"), rngs=nnx.Rngs(0))
    else:
        config = TransformerConfig(**sizes, heads=2, feed_forward=8, attention=kind)
        made = language.TransformerLM(config, rngs=nnx.Rngs(0))
    graphdef, params = nnx.split(made)
    params = jax.tree.map(lambda x: 4 * x, nnx.as_pure(params))
    writer = TextGenerator(graphdef, VOCABULARY, DecodingConfig("greedy"), context=None)
    for length in (1, 8, 9, 63, 65, 74, 137):
        expected = greedily(nnx.merge(graphdef, params), VOCABULARY.encode(LONG[:length]), 3, None)
        assert writer(params, LONG[:length], 3) == VOCABULARY.decode(expected)


def test_prompts_of_similar_lengths_share_a_program():
    graphdef, params = nnx.split(build("rnn"))
    writer = TextGenerator(graphdef, VOCABULARY, context=None)
    program: Any = writer._write
    for length, more in ((17, 5), (18, 5), (24, 8), (19, 1)):
        assert len(writer(params, LONG[:length], more)) == length + more
    assert program._cache_size() == 1
    writer(params, LONG[:25], 5)
    assert program._cache_size() == 2


@pytest.mark.parametrize("prompt", ["", "a?"])
def test_a_prompt_that_cannot_be_read_is_refused(model, prompt):
    with pytest.raises(ValueError, match="`prompt` must be text of the characters"):
        TextGenerator(model[1], VOCABULARY, context=8)(model[2], prompt, 3)
    with pytest.raises(ValueError, match="`method` must be one of 'greedy'"):
        TextGenerator(model[1], VOCABULARY, DecodingConfig("beam"), context=8)


def test_without_a_context_all_positions_of_the_model_serve():
    model = build("transformer")
    graphdef, params = nnx.split(model)
    write = TextGenerator(graphdef, VOCABULARY, DecodingConfig("greedy"), context=None)
    ids = VOCABULARY.encode("abcd")
    assert write(params, "abcd", 5) == VOCABULARY.decode(greedily(model, ids, 5, None))
    with pytest.raises(ValueError, match="got 4 and 6 tokens for 8. Set `context=8`."):
        write(params, "abcd", 6)


PROMPTS = ["a", "bcd", "hgfedcba" * 2, "d\n", "abdabdabd"]
DRAWS = [Draw(7, 0.7), Draw(0, 1.0), Draw(2**32 - 1, 2.0), Draw(7, 1.5), Draw(3, 0.1)]


@pytest.mark.sampled(1)
def test_several_texts_are_those_of_calls_by_themselves(model):
    """Prompts of all lengths, seeds and temperatures; a text that is longer than the context."""
    model, graphdef, params = model
    writer = TextGenerator(graphdef, VOCABULARY, context=model.context)
    found = writer.several(params, PROMPTS, 19, draws=DRAWS, rows=2)
    for prompt, draw, text in zip(PROMPTS, DRAWS, found, strict=True):
        own = DecodingConfig("sample", seed=draw.seed, temperature=draw.temperature)
        assert text == TextGenerator(graphdef, VOCABULARY, own, context=model.context)(
            params, prompt, 19
        )


@pytest.mark.sampled(1)
def test_a_text_does_not_depend_on_those_beside_it_and_compiles_nothing(model):
    model, graphdef, params = model
    for search in ("sample", "greedy"):
        writer = TextGenerator(graphdef, VOCABULARY, DecodingConfig(search), context=model.context)
        together = writer.several(params, PROMPTS, 9, draws=DRAWS, rows=4)
        program: Any = writer._write_rows
        compiled = program._cache_size()
        alone = [
            writer.several(params, [prompt], 9, draws=[draw], rows=4)[0]
            for prompt, draw in zip(PROMPTS, DRAWS, strict=True)
        ]
        assert alone == together and program._cache_size() == compiled


def test_texts_end_where_the_definition_ends_them(model):
    """By themselves and together; some end at once, some in a later piece, some not at all."""
    model, graphdef, params = model
    search, length = DecodingConfig("greedy"), 19
    write = TextGenerator(graphdef, VOCABULARY, search, context=8, stop_at_end=True)
    prompts = [*PROMPTS, *"abcdefgh"]
    wanted = [greedily(model, VOCABULARY.encode(x), length, 8, stop_at_end=True) for x in prompts]
    added = {len(ids) - len(x) for ids, x in zip(wanted, prompts, strict=True)}
    assert min(added) < length == max(added)
    together = write.several(params, prompts, length, draws=[Draw()] * len(prompts), rows=3)
    assert together == [VOCABULARY.decode(ids) for ids in wanted]
    assert [write(params, x, length) for x in prompts[:5]] == together[:5]


@pytest.mark.slow
@pytest.mark.sampled(1)
def test_samples_end_alike_by_themselves_and_together(model):
    model, graphdef, params = model
    params = jax.tree.map(lambda x: x / 4, params)  # so that any token may come, and the end
    settings: dict[str, Any] = {"context": model.context, "stop_at_end": True}
    write = TextGenerator(graphdef, VOCABULARY, **settings)
    found = write.several(params, PROMPTS, 30, draws=DRAWS, rows=2)
    for prompt, draw, text in zip(PROMPTS, DRAWS, found, strict=True):
        own = DecodingConfig("sample", seed=draw.seed, temperature=draw.temperature)
        assert text == TextGenerator(graphdef, VOCABULARY, own, **settings)(params, prompt, 30)
    lengths = [len(text) - len(prompt) for text, prompt in zip(found, PROMPTS, strict=True)]
    assert min(lengths) < 8


def test_several_texts_are_refused_as_one_is(model):
    writer = TextGenerator(model[1], VOCABULARY, context=8)
    with pytest.raises(ValueError, match="`temperature` must be above 0 and finite; got 0.0"):
        writer.several(model[2], ["a"], 3, draws=[Draw(0, 0.0)], rows=1)
    with pytest.raises(ValueError, match="`prompt` must be text of the characters"):
        writer.several(model[2], ["a", "?"], 3, draws=[Draw(), Draw()], rows=1)
