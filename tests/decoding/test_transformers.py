"""Decoding held against Hugging Face's `transformers`, where it is installed."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax.data.types import BOS, EOS, PAD
from attention_jax.decoding.logits import kept
from attention_jax.decoding.options import DecodingOptions
from tests.support.prefix_tables import LENGTH, VOCABULARY, decode, sentences, start, step

torch = pytest.importorskip("torch", reason="torch, which transformers runs on, is not installed")
transformers = pytest.importorskip("transformers", reason="transformers is not installed")
processors = pytest.importorskip("transformers.generation.logits_process")

pytestmark = pytest.mark.slow
V, ROOM = 11, 8


def theirs(processor, past: np.ndarray, logits: np.ndarray) -> np.ndarray:
    return processor(torch.tensor(past), torch.tensor(logits)).numpy()


@pytest.mark.parametrize("length", [0, 1, 4, 8])
@pytest.mark.parametrize(
    "options, processor",
    [
        (
            DecodingOptions(repetition_penalty=1.3),
            lambda: processors.RepetitionPenaltyLogitsProcessor(1.3),
        ),
        (
            DecodingOptions(no_repeat_ngram=1),
            lambda: processors.NoRepeatNGramLogitsProcessor(1),
        ),
        (
            DecodingOptions(no_repeat_ngram=2),
            lambda: processors.NoRepeatNGramLogitsProcessor(2),
        ),
        (
            DecodingOptions(min_length=4),
            lambda: processors.MinNewTokensLengthLogitsProcessor(0, 4, EOS, device="cpu"),
        ),
    ],
)
def test_rules_are_those_of_logits_processors(options, processor, length):
    random = np.random.default_rng(length)
    past = random.integers(EOS + 1, 6, size=(16, length))
    logits = random.normal(size=(16, V)).astype(np.float32)
    room = np.zeros((16, ROOM), np.int32)
    room[:, :length] = past
    ours = jax.jit(options.rule)(logits, room, length)
    np.testing.assert_allclose(ours, theirs(processor(), past, logits), rtol=1e-6)


@pytest.mark.parametrize(
    "temperature, top_k, top_p, min_p",
    [
        (1.0, 4, None, None),
        (1.0, None, 0.8, None),
        (1.0, None, None, 0.2),
        (0.7, 6, 0.9, 0.1),
        (1.4, None, 0.95, 0.3),
    ],
)
def test_filtered_distributions_are_those_of_logits_warpers(temperature, top_k, top_p, min_p):
    logits = np.random.default_rng(5).normal(size=(64, V)).astype(np.float32) * 2
    among, tokens = jax.jit(lambda x: kept(x / temperature, top_k, top_p, min_p))(logits)
    ours = np.zeros((64, V))
    places = np.broadcast_to(np.arange(V), (64, V)) if tokens is None else np.asarray(tokens)
    np.put_along_axis(ours, places, np.asarray(jax.nn.softmax(among, axis=-1)), axis=1)
    expected = theirs(processors.TemperatureLogitsWarper(temperature), np.zeros((64, 1)), logits)
    for kind, value in (("TopK", top_k), ("TopP", top_p), ("MinP", min_p)):
        if value is not None:
            warp = getattr(processors, f"{kind}LogitsWarper")(value)
            expected = theirs(warp, np.zeros((64, 1)), expected)
    np.testing.assert_allclose(ours, jax.nn.softmax(jnp.asarray(expected), axis=-1), atol=1e-5)


def ended(tokens: list[int]) -> tuple[int, ...]:
    """The tokens up to the first EOS; generate fills up with more of them."""
    return tuple(tokens[: tokens.index(EOS) + 1] if EOS in tokens else tokens)


@pytest.fixture(scope="module")
def models():
    """Tiny GPT-2 models of random weights, and their logits after every prefix there can be."""
    config = transformers.GPT2Config(
        vocab_size=VOCABULARY,
        n_positions=LENGTH + 1,
        n_embd=16,
        n_layer=1,
        n_head=2,
        bos_token_id=BOS,
        eos_token_id=EOS,
        pad_token_id=PAD,
        initializer_range=0.8,
    )
    found = []
    for seed in range(6):
        torch.manual_seed(seed)
        model = transformers.GPT2LMHeadModel(config).eval()
        table = np.zeros((VOCABULARY ** (LENGTH + 1), VOCABULARY), np.float32)
        for length in range(LENGTH):
            pasts = np.array(list(itertools.product([BOS], *[range(VOCABULARY)] * length)))
            codes = pasts @ (VOCABULARY ** np.arange(length, -1, -1))
            with torch.no_grad():
                table[codes] = model(torch.tensor(pasts)).logits[:, -1].numpy()
        found.append((model, table))
    return found


@pytest.mark.parametrize(
    "options, asked",
    [
        (DecodingOptions(), {}),
        (DecodingOptions(min_length=2), {"min_new_tokens": 2}),
        (DecodingOptions(no_repeat_ngram=2), {"no_repeat_ngram_size": 2}),
        (DecodingOptions(repetition_penalty=1.4), {"repetition_penalty": 1.4}),
        (
            DecodingOptions(repetition_penalty=1.2, min_length=1, no_repeat_ngram=1),
            {"repetition_penalty": 1.2, "min_new_tokens": 1, "no_repeat_ngram_size": 1},
        ),
        (
            DecodingOptions(prefix=(4, 4)),
            {"prefix_allowed_tokens_fn": lambda row, past: [4] if len(past) < 3 else [2, 3, 4]},
        ),
    ],
)
@pytest.mark.parametrize("length_penalty", [0.0, 1.0, 2.0])
def test_beam_search_is_that_of_generate(models, options, asked, length_penalty):
    """Finished sentences have the same tokens and scores, in the same order."""
    options = dataclasses.replace(options, length_form="power")
    tables = np.stack([table for _, table in models])
    ours = decode(
        "beam",
        step,
        start(tables),
        max_length=LENGTH,
        beam_size=3,
        nbest=3,
        length_penalty=length_penalty,
        options=options,
    )
    compared = 0
    for row, (model, _) in enumerate(models):
        found = model.generate(
            torch.tensor([[BOS]]),
            attention_mask=torch.ones(1, 1, dtype=torch.long),
            max_new_tokens=LENGTH,
            num_beams=3,
            num_return_sequences=3,
            length_penalty=length_penalty,
            early_stopping="never",
            do_sample=False,
            suppress_tokens=[PAD, BOS],
            return_dict_in_generate=True,
            output_scores=True,
            **asked,
        )
        told = [ended(tokens[1:]) for tokens in found.sequences.tolist()]
        scored = zip(told, found.sequences_scores.tolist(), strict=True)
        expected = [(y, score) for y, score in scored if y[-1:] == (EOS,)]
        pairs = zip(sentences(ours, row), ours.scores[row].tolist(), strict=True)
        got = [(y, score) for y, score in pairs if y[-1:] == (EOS,)]
        assert [y for y, _ in got[: len(expected)]] == [y for y, _ in expected]
        for (_, score), (_, other) in zip(got, expected, strict=False):
            assert score == pytest.approx(other, abs=1e-5)
        compared += len(expected)
    assert compared >= len(models)
