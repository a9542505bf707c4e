"""Flags of decoding: what they ask of a search, what they print, and what they refuse."""

import pytest
from flax import nnx

from attention_jax.data.tokenizer import Tokenizer
from attention_jax.decoding.batched import Hypothesis
from attention_jax.decoding.options import DecodingOptions
from experiments.common.asked_search import asked, token_scores
from experiments.common.config import DecodingFlags
from experiments.common.experiment import PredictFlags, Run
from experiments.language import EXPERIMENT as LANGUAGE
from experiments.language import config as language
from experiments.language import predict as texts
from experiments.speech import EXPERIMENT as SPEECH
from experiments.speech import data as speech
from experiments.speech import predict as recordings
from experiments.speech.config import ListenFlags
from experiments.translation import EXPERIMENT
from experiments.translation.predict import shown

TOKENIZER = Tokenizer.learn(["el pez come"], kind="word")


def run_of(experiment, **decoding) -> Run:
    config = experiment.config._replace(decoding=DecodingFlags(**decoding))
    return Run(experiment, config, None, TOKENIZER, nnx.graphdef(nnx.Dropout(0.1)), {})


def test_flags_become_options():
    run = run_of(EXPERIMENT, beam=3, min_length=2, repetition_penalty=1.5, length_form="power")
    search = asked(run, PredictFlags(prefix="el pez", token_scores=True))
    prefix = tuple(TOKENIZER.encode("el pez"))
    assert search.token_scores and search.beam_size == 3
    assert search.options == DecodingOptions(1.5, 0, 2, prefix, length_form="power")
    held = asked(run_of(EXPERIMENT, beam=3), PredictFlags(words=("come", "el pez")))
    assert held.options == DecodingOptions(words=(tuple(TOKENIZER.encode("come")), prefix))
    drawn = asked(run_of(EXPERIMENT, sample=True, min_p=0.1, no_repeat_ngram=3), PredictFlags())
    assert drawn.options == DecodingOptions(no_repeat_ngram=3, min_p=0.1)


def test_tokens_are_shown_with_their_scores():
    ids = (*TOKENIZER.encode("el pez"), 2)
    one = Hypothesis("el pez", ids, -1.0, -1.5, False, (-0.5, -0.25, -0.75))
    assert token_scores(one, TOKENIZER.tokens) == "el:-0.5000 pez:-0.2500 <eos>:-0.7500"
    lines = shown([one], nbest=2, scores=True, ranked=True, label=TOKENIZER.tokens)
    assert list(lines) == [
        "1\t-1.0000\t-1.5000\tel pez\tel:-0.5000 pez:-0.2500 <eos>:-0.7500",
        "2\t0.0000\t0.0000\t\t",
    ]


@pytest.mark.parametrize(
    "decoding, given, message",
    [
        ({}, {"prefix": "el perro"}, "`--prefix` must be text that the .* 'perro' was never seen"),
        ({}, {"prefix": ""}, "`--prefix` must be text that the run can write; got ''. Leave it"),
        ({}, {"words": ("el",)}, "--words goes with --beam; add --beam=5, or leave --words out"),
        ({}, {"coverage_penalty": 0.2}, "--coverage_penalty goes with --beam; add --beam=5, or"),
        (
            {"beam": 3},
            {"words": ("el", "")},
            "`--words` must be text that the run can write; got '",
        ),
        ({"beam": 3}, {"words": ("el", "el")}, "`words` must differ; got"),
        ({"repetition_penalty": 0.0}, {}, "`repetition_penalty` must be above 0; got 0.0"),
        ({"min_p": 0.1}, {}, "--min_p goes with --sample; add it, or leave --min_p out"),
        ({"sample": True, "min_p": 0.0}, {}, r"`min_p` must lie in \(0, 1\]; got 0.0"),
    ],
)
def test_what_cannot_be_searched_for_is_refused(decoding, given, message):
    with pytest.raises(ValueError, match=message) as caught:
        asked(run_of(EXPERIMENT, **decoding), PredictFlags(**given))
    assert "\n" not in str(caught.value)


def test_runs_refuse_what_their_models_do_not_write():
    """Before training, and before a model is called."""
    own = LANGUAGE.config._replace(decoding=DecodingFlags(min_length=3, sample=True))
    with pytest.raises(ValueError, match="`min_length` does not go with text generation"):
        language.load(own)
    ctc = SPEECH.config._replace(
        decoding=DecodingFlags(no_repeat_ngram=2), listen=ListenFlags(loss="ctc")
    )
    with pytest.raises(ValueError, match="`no_repeat_ngram` does not go with --loss=ctc"):
        speech.load(ctc)
    with pytest.raises(ValueError, match="`--prefix` does not go with a run of experiments.lang"):
        list(texts.predict(run_of(LANGUAGE, sample=True), PredictFlags(text="a", prefix="el")))
    with pytest.raises(
        ValueError, match="`--coverage_penalty` does not go with a run of exper.*ch"
    ):
        list(recordings.predict(run_of(SPEECH), PredictFlags(coverage_penalty=0.2)))
