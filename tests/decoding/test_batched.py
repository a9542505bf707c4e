"""Batched decoding: grouping by length, and results in the order of the call."""

import jax.numpy as jnp
import pytest
from flax import nnx

from attention_jax.data.tokenizer import Tokenizer
from attention_jax.data.types import EOS
from attention_jax.decoding.batched import BatchedDecoder, DecodingConfig, hypotheses, in_batches
from attention_jax.decoding.options import DecodingOptions
from attention_jax.decoding.search import DecodingResult


def test_groups_have_one_length_and_no_more_rows_than_allowed():
    lengths = [8, 16, 8, 8, 24, 16, 8, 8]
    calls = []

    def run(group, length):
        calls.append((group, length))
        return [f"{item} of {length}" for item in group]

    found = in_batches(list(range(8)), lengths, run, rows=3)
    assert found == [f"{i} of {length}" for i, length in enumerate(lengths)]
    assert calls == [([0, 2, 3], 8), ([6, 7], 8), ([1, 5], 16), ([4], 24)]


def test_nothing_to_decode_is_no_call():
    assert in_batches([], [], lambda group, length: pytest.fail("called"), rows=3) == []


def test_a_group_must_give_a_result_for_each_item():
    with pytest.raises(ValueError, match="zip"):
        in_batches(["a", "b"], [1, 1], lambda group, length: group[:1], rows=2)


def test_hypotheses_end_where_their_lengths_do():
    tokenizer = Tokenizer.learn(["a b"], kind="word")
    a, b = tokenizer.encode("a b")
    decoded = DecodingResult(
        jnp.array([[[a, b, EOS], [b, EOS, 0]]]), jnp.array([[-0.5, -1.5]]), jnp.array([[3, 2]])
    )
    first, second = hypotheses(decoded, tokenizer)[0]
    assert first == ("a b", (a, b, EOS), -0.5, -0.5, False, None)
    assert second == ("b", (b, EOS), -1.5, -1.5, False, None)
    assert {type(token) for token in first.tokens} == {int}
    shorter = decoded._replace(lengths=jnp.array([[2, 2]]))
    for form, divisor in (("wu", (7 / 6) ** 2), ("power", 2.0**2)):
        options = DecodingOptions(length_form=form)
        config = DecodingConfig("beam", length_penalty=2.0, options=options)
        cut, _ = hypotheses(shorter, tokenizer, config)[0]
        assert cut.is_cut and cut.score == -0.5
        assert cut.log_probability == pytest.approx(-0.5 * divisor)


def test_penalized_sentences_have_the_log_probability_of_the_model():
    """A repetition penalty changes the sum that ranks; the log-probability is that of tokens."""
    tokenizer = Tokenizer.learn(["a b"], kind="word")
    a, b = tokenizer.encode("a b")
    decoded = DecodingResult(jnp.array([[[a, b, EOS]]]), jnp.array([[-9.0]]), jnp.array([[3]]))
    config = DecodingConfig("beam", options=DecodingOptions(repetition_penalty=2.0))
    each = jnp.array([[[-0.5, -0.25, -1.0]]])
    assert config.rescores
    (one,) = hypotheses(decoded, tokenizer, config, token_scores=each)[0]
    assert (one.score, one.log_probability, one.token_scores) == (-9.0, -1.75, None)
    asked = config._replace(token_scores=True)
    (one,) = hypotheses(decoded, tokenizer, asked, token_scores=each)[0]
    assert one.token_scores == (-0.5, -0.25, -1.0)


def test_an_unknown_method_is_named():
    graphdef, tokenizer = nnx.graphdef(nnx.Dropout(0.1)), Tokenizer.learn(["a"], kind="word")
    with pytest.raises(ValueError, match="`method` must be one of 'greedy'.*'guess'"):
        BatchedDecoder(graphdef, tokenizer, DecodingConfig("guess"))
