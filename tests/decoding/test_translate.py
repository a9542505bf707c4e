"""Translation does not depend on company, and its scores are those of the formulas."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attention_jax.data.batching import BucketedBatches, encode_examples
from attention_jax.data.tokenizer import Tokenizer
from attention_jax.data.types import Example
from attention_jax.decoding import DecodingConfig, Translator
from attention_jax.models import seq2seq_rnn, seq2seq_transformer
from attention_jax.nn import recurrent, transformer
from attention_jax.training import evaluate

SENTENCES = ["1 2 3", "4", "5 6 7 8 9 1 2 3 4", "2 2"]


@pytest.fixture(scope="module")
def vocabulary():
    return Tokenizer.learn(SENTENCES, kind="word")


@pytest.fixture(scope="module", params=["transformer", "rnn", "rnn without attention"])
def model(request, vocabulary):
    rngs = nnx.Rngs(0)
    if request.param == "transformer":
        config = transformer.TransformerConfig(
            vocabulary.size, width=8, heads=2, layers=1, feed_forward=8
        )
        return nnx.split(seq2seq_transformer.Seq2SeqTransformer(config, rngs=rngs))
    attention = "none" if "without" in request.param else "additive"
    config = recurrent.RNNConfig(vocabulary.size, width=8, attention=attention)
    return nnx.split(seq2seq_rnn.Seq2SeqRNN(config, rngs=rngs))


@pytest.mark.slow
def test_a_translation_does_not_depend_on_its_company(model, vocabulary):
    graphdef, params = model[0], nnx.as_pure(model[1])
    search = DecodingConfig("beam", beam_size=3, nbest=2)
    translate = Translator(graphdef, vocabulary, search, rows=4)
    together = translate(params, SENTENCES)
    assert [len(found) for found in together] == [2] * 4
    for sentence, found in zip(SENTENCES, together, strict=True):
        for alone, own in zip(translate(params, [sentence])[0], found, strict=True):
            assert alone.tokens == own.tokens
            assert alone.score == pytest.approx(own.score, rel=1e-5)  # products of other sizes


@pytest.mark.slow
def test_few_sentences_run_in_small_programs(vocabulary):
    """Powers of two of rows, at most those of a batch, and none is compiled twice."""
    config = transformer.TransformerConfig(
        vocabulary.size, width=8, heads=2, layers=1, feed_forward=8
    )
    graphdef, params = nnx.split(seq2seq_transformer.Seq2SeqTransformer(config, rngs=nnx.Rngs(0)))
    translate = Translator(graphdef, vocabulary, rows=6)
    program: Any = translate._decode._start
    counts = []
    for count in (1, 1, 2, 3, 4, 5, 6, 7):
        translate(params, ["1 2 3"] * count)
        counts.append(program._cache_size())
    assert counts == [1, 1, 2, 3, 3, 4, 4, 4]
    few = Translator(graphdef, vocabulary, rows=6, fewest_rows=4)
    program = few._decode._start
    for count in (1, 3, 4, 5, 6):
        assert len(few(params, ["1 2 3"] * count)) == count
    assert program._cache_size() == 2
    assert few(params, ["1 2 3"])[0][0].text == translate(params, ["1 2 3"])[0][0].text


def test_the_fewest_rows_are_at_most_the_most(vocabulary):
    with pytest.raises(ValueError, match="`fewest_rows` must be at most `rows`; got fewest_rows=8"):
        Translator(nnx.graphdef(nnx.Dropout(0.1)), vocabulary, rows=4, fewest_rows=8)


@pytest.mark.sampled(1)
def test_losses_are_those_of_the_definition(model, vocabulary):
    graphdef, params = model[0], nnx.as_pure(model[1])
    examples = [Example(text, (text,)) for text in SENTENCES]
    pairs = encode_examples(examples, vocabulary)
    batches = BucketedBatches(pairs, tokens_per_batch=32, max_length=16, shuffle=False)
    got = evaluate.loss_evaluator(graphdef)(params, batches)
    total, right, count = 0.0, 0, 0

    @jax.jit
    def logits_of(params, source, mask, target_in):
        merged = nnx.merge(graphdef, params)
        return merged.decode(target_in, merged.encode(source, mask))

    for batch in batches.epoch():
        logits = logits_of(params, *(jnp.asarray(x) for x in batch[:3]))
        logits = np.asarray(logits, np.float64)
        for place in zip(*np.nonzero(batch.weights), strict=True):
            target = batch.target_out[place]
            total += np.log(np.exp(logits[place]).sum()) - logits[place][target]
            right += logits[place].argmax() == target
            count += 1
    assert count == sum(len(target) + 1 for _, target in pairs)
    np.testing.assert_allclose(got["loss"], total / count, rtol=1e-5)
    np.testing.assert_allclose(got["perplexity"], np.exp(total / count), rtol=1e-5)
    assert got["accuracy"] == right / count


def test_an_unknown_search_is_named(vocabulary):
    with pytest.raises(ValueError, match="`method` must be one of 'greedy'"):
        Translator(nnx.graphdef(nnx.Dropout(0.1)), vocabulary, DecodingConfig("guess"))
