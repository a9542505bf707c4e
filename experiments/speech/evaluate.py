"""Scores of transcripts, in training and after it."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from flax import nnx

from attention_jax.analysis import speech_alignment
from attention_jax.analysis.plots import run_plots
from attention_jax.analysis.plots.speech_alignment import alignment
from attention_jax.core import messages
from attention_jax.core.files import write_whole
from attention_jax.core.types import Params
from attention_jax.data.audio.batches import one as batch_of_one
from attention_jax.data.audio.corpus import Corpus, Utterance
from attention_jax.data.tokenizer import Tokenizer
from attention_jax.decoding.transcribe import Transcriber
from attention_jax.decoding.translate import Hypothesis
from attention_jax.evaluation import error_rates
from attention_jax.training.evaluate import loss_evaluator
from attention_jax.training.loop import Evaluate
from experiments.common import guesses, scoring
from experiments.common.experiment import Outcome, Run
from experiments.common.run_folder import next_command, size_and_time
from experiments.speech.config import SpeechConfig, attention_name, objective, transcriber
from experiments.speech.data import batches_of

SAMPLES = 4
Sample = tuple[Utterance, Hypothesis]


def validate(
    config: SpeechConfig, corpus: Corpus, vocabulary: Tokenizer, graphdef: nnx.GraphDef
) -> Evaluate:
    """`params -> scores` on the validation split; its transcripts are greedy."""
    search = config.decoding.search(config.run.seed, nbest=1)
    transcriber(config, vocabulary, graphdef, corpus.rate, search)  # refuses what cannot search
    losses = loss_evaluator(graphdef, objective(config))
    batches = batches_of(config, "validation", corpus, vocabulary)
    transcribe = transcriber(config, vocabulary, graphdef, corpus.rate)
    utterances = corpus.validation[: config.training.evaluate_sentences]

    def scores_of(params: Params) -> dict[str, float]:
        best = [found[0].text for found in transcribe(params, utterances)]
        rates = error_rates.rates(error_rates.counts(best, [u.transcript for u in utterances]))
        whole = rates.pop("accuracy") / 100
        return losses(params, batches) | rates | {"exact_match": whole}

    return scores_of


def evaluate(run: Run, corpus: Corpus, facts: dict[str, Any]) -> Outcome:
    """Scores the tests; writes transcripts.json, outcomes.json, samples.txt and figures."""
    config, folder = run.config, run.folder
    search = config.decoding.search(config.run.seed, nbest=1)
    transcribe = transcriber(config, run.tokenizer, run.graphdef, corpus.rate, search)
    scores, outcomes, transcripts, samples = {}, {}, {}, []
    for name, utterances in corpus.tests.items():
        line = messages.said("transcribing {count} recordings of {name} ...")
        print(line.format(count=len(utterances), name=messages.said(name)))
        best = [found[0] for found in transcribe(run.params, utterances)]
        said = [utterance.transcript for utterance in utterances]
        counted = error_rates.counts([one.text for one in best], said)
        scores[name] = error_rates.rates(counted)
        outcomes[name] = {measure: pairs.tolist() for measure, pairs in counted.items()}
        transcripts[name] = [one.text for one in best]
        # Evenly spread: recordings may stand in the order of what they say.
        spread = list(zip(utterances, best, strict=True))[:: max(1, len(best) // SAMPLES)]
        samples = samples or spread[:SAMPLES]
    summary = {
        "task": corpus.name,
        **facts,
        "attention": attention_name(config),
        "loss": config.listen.loss,
        "skipped": len(corpus.skipped),
        "tests": scores,
    }
    write_whole(folder / "samples.txt", "\n\n".join(sample_text(x, str) for x in samples) + "\n")
    draw(run, transcribe, samples)
    write_whole(folder / "transcripts.json", json.dumps(transcripts, indent=1) + "\n")
    write_whole(folder / "outcomes.json", json.dumps(outcomes) + "\n")
    return Outcome(summary, closing_text(run, summary, samples))


def scorer(config: SpeechConfig, corpus: Corpus, vocabulary: Tokenizer) -> scoring.Scorer:
    """Scores of transcripts, as outcomes.json counts them."""
    del config, vocabulary

    def guess(measure: str) -> guesses.Guess:
        return guesses.of_texts(
            [utterance.transcript for utterance in corpus.train],
            {test: [(x.transcript,) for x in own] for test, own in corpus.tests.items()},
            lambda said, wanted: error_rates.counts(said, [x[0] for x in wanted])[measure],
            lambda sums: sums[0] / sums[1],
            is_error=measure in scoring.ERRORS,
        )

    return scoring.of_outcomes(corpus.name, guess)


def sample_text(sample: Sample, say: Callable[[str], str] = messages.said) -> str:
    """One transcript beside what was said; `say` puts the names of the lines."""
    utterance, found = sample
    return f"{say('said'):<7}{utterance.transcript}\n{say('model'):<7}{found.text}"


def draw(run: Run, transcribe: Transcriber, samples: Sequence[Sample]) -> None:
    """Draws curves.png and, where the model attends, alignment_1.png and so on."""
    folder, settings = run.folder, transcribe.settings
    run_plots.curves(folder / "metrics.jsonl", folder / "curves.png")
    for number, (utterance, found) in enumerate(samples, 1):
        drawn = speech_alignment.alignment(transcribe, run.params, utterance, found.tokens)
        if drawn is None:
            continue
        weights, tokens, frames_per_position = drawn
        frames = batch_of_one([(utterance, ())], settings)
        alignment(
            frames.source[0][frames.source_mask[0]],
            weights,
            tokens,
            folder / f"alignment_{number}.png",
            frames_per_position=frames_per_position,
            seconds_per_frame=settings.hop / settings.rate,
            title=f"said: {utterance.transcript}\nmodel: {found.text}",
        )
        mean, said = np.mean(weights, axis=(0, 1)), "all tokens are heard at about one place"
        if speech_alignment.moves(mean):
            order = speech_alignment.order(mean)
            said = f"tokens and when they are heard correlate at {order:.3f}"
        print(f"alignment_{number}.png: {said}")


def closing_text(run: Run, summary: dict[str, Any], samples: Sequence[Sample]) -> str:
    """Samples, the table, and what to type next."""
    lines = ["", *(f"{sample_text(sample)}\n" for sample in samples)]
    heads = [messages.said(x) for x in ("test", "right", "wrong characters", "wrong words")]
    lines.append("{:<12}{:>9}{:>18}{:>13}".format(*heads))
    for name, rates in summary["tests"].items():
        right, characters, words = rates["accuracy"], rates["cer"], rates["wer"]
        lines.append(f"{messages.said(name):<12}{right:>8.2f}%{characters:>17.2f}%{words:>12.2f}%")
    lines.append(f"\n{size_and_time(summary)}")
    drawn = sorted(run.folder.glob("*.png"), reverse=True)
    lines.append(messages.said("figures: {paths}").format(paths=" ".join(map(str, drawn))))
    lines.append(next_command(run.folder, "--file=recording.wav"))
    return "\n".join(lines)
