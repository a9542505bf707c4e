"""Runs as they are served: against decoding itself, alone and together."""

import numpy as np
import pytest

from attention_jax.analysis import attention_maps
from attention_jax.data.types import EOS
from attention_jax.decoding import DecodingConfig, TextGenerator, Translator
from experiments.common.experiment import find, names
from experiments.common.load_run import load_run
from experiments.common.served import Attends, Pair, Prompt, Translates, Writes
from experiments.serve import answers
from tests.support.served_runs import TEXTS

PROMPTS = ["the", "cat sees the dog.", "d", "og. the cat sees the dog. the cat"]


@pytest.fixture(scope="module")
def translation(runs):
    return runs["translation"].experiment.serve(runs["translation"], 4)


@pytest.fixture(scope="module")
def language(runs):
    return runs["language"].experiment.serve(runs["language"], 4)


def test_runs_serve_what_they_can(translation, language):
    assert isinstance(translation, Translates) and isinstance(translation, Attends)
    assert answers.endpoints(translation) == ("translate", "attention")
    assert isinstance(language, Writes) and answers.endpoints(language) == ("generate",)
    assert {name for name in names() if find(name).serve} == {"translation", "language"}


@pytest.mark.parametrize(
    "beam", [None, pytest.param(1, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.slow)]
)
def test_translations_are_those_of_the_translator(translation, runs, beam):
    run = runs["translation"]
    search = DecodingConfig("beam", beam_size=beam) if beam and beam > 1 else DecodingConfig()
    direct = Translator(run.graphdef, run.tokenizer, search, rows=1)(run.params, TEXTS)
    found = translation.translate(TEXTS, beam)
    assert found == [best.text for best, *_ in direct] and len(set(found)) > 1


def test_a_translation_does_not_depend_on_those_beside_it(translation):
    """To the last digit of its score: the rows of a program are always as many."""
    translate = translation._translator(3)
    params = translation._run.params
    together = translate(params, TEXTS)
    for text, found in zip(TEXTS, together, strict=True):
        assert translate(params, [text]) == [found]
        assert translate(params, ["4 4", text, "2"])[1] == found


def test_texts_of_one_bucket_share_a_program(translation):
    lengths = [translation.length(text) for text in TEXTS]
    assert lengths == [3, 7, 7, 1, 10]
    assert [translation.bucket(text) for text in TEXTS] == [8, 8, 8, 8, 16]


def test_attention_is_that_of_the_model(translation, runs):
    run = runs["translation"]
    source, target = run.tokenizer.encode("3 1 2"), [*run.tokenizer.encode("2 1"), EOS]
    wanted = attention_maps.sentence(run.model, source, target)
    found = translation.attention(Pair("3 1 2", "2 1"))
    assert found.source_tokens == ["3", "1", "2", "<eos>"]
    assert found.target_tokens == ["2", "1", "<eos>"] and found.target == "2 1"
    assert set(found.maps) == {"encoder", "decoder", "cross"}
    for name, own in wanted.items():
        assert own.is_exact.all()
        np.testing.assert_array_equal(found.maps[name], own.weights)
    assert found.maps["cross"].shape == (1, 2, 3, 4)


@pytest.mark.slow
def test_attention_without_a_target_is_of_the_translation(translation):
    found = translation.attention(Pair("3 1 2"))
    assert found.target == translation.translate(["3 1 2"], None)[0]
    again = translation.attention(Pair("3 1 2", found.target))
    for name, own in found.maps.items():
        np.testing.assert_array_equal(own, again.maps[name])


def test_a_head_without_weights_is_null():
    maps = {"cross": np.array([[[[0.123456789, 1.0]], [[np.nan, 0.0]]]], np.float32)}
    found = answers.as_json(answers.Attention("a", ["a", "<eos>"], ["a"], maps))
    assert found["maps"] == {"cross": [[[[0.12346, 1.0]], None]]}
    assert found["target"] == "a" and found["source_tokens"] == ["a", "<eos>"]


@pytest.mark.slow
def test_texts_are_those_of_the_generator(language, runs):
    run = runs["language"]
    prompts = [Prompt(text, seed, 0.5 + seed) for seed, text in enumerate(PROMPTS)]
    found = language.generate(prompts, 20)
    for prompt, text in list(zip(prompts, found, strict=True))[1:3]:
        own = DecodingConfig("sample", seed=prompt.seed, temperature=prompt.temperature)
        write = TextGenerator(run.graphdef, run.tokenizer, own, context=16)
        assert text == write(run.params, prompt.text, 20)
        assert language.generate([prompt], 20) == [text]
    assert len(found[0]) == len("the") + 20


@pytest.mark.slow
def test_a_prompt_has_the_seed_and_temperature_of_the_run(runs):
    run = load_run(runs["language"].folder, ["--seed=5", "--temperature=0.3"])
    language = run.experiment.serve(run, 4)
    assert language.written == 12 and language.takes == {"temperature", "seed"}
    found = language.generate([Prompt("the"), Prompt("the", 5, 0.3), Prompt("the", 6)], 20)
    assert found[0] == found[1] != found[2]


def test_what_a_search_does_not_have_is_not_taken(runs):
    drawn = load_run(runs["translation"].folder, ["--sample"])
    assert drawn.experiment.serve(drawn, 4).takes == frozenset()
    greedy = load_run(runs["language"].folder, ["--nosample"])
    assert greedy.experiment.serve(greedy, 4).takes == frozenset()


@pytest.mark.parametrize(
    ("text", "said"), [("", "must be text of the characters"), ("the z", "with 'z'. Leave it out")]
)
def test_a_prompt_that_the_model_never_read_is_refused(language, text, said):
    with pytest.raises(ValueError, match=f"`prompts` .*{said}"):
        language.length(text)


@pytest.mark.slow
def test_programs_are_compiled_for_each_bucket(translation, language):
    assert answers.warm_up(translation, tokens=16, written=0) == [1, 8, 16]
    (program,) = (translation._translators[beam]._decode._start for beam in (1,))
    before = program._cache_size()
    translation.translate(TEXTS, None)
    assert program._cache_size() == before
    assert answers.warm_up(language, tokens=20, written=4) == [1]  # it reads 8 at most
    assert answers.warm_up(language, tokens=0, written=4) == []
