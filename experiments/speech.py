"""Trains a model to write down what it hears, and scores it on recordings it never heard.

    python -m experiments.speech                                       # tones that spell words
    python -m experiments.speech --flagfile=experiments/presets/fsdd_joined_transformer.flags
    python -m experiments.speech --model=rnn --attention=location_aware      # listen, attend, spell
    python -m experiments.speech --sounds=my_recordings --rate=16000 --loss=ctc --skip_bad

A run's folder is that of experiments.translation, with transcripts.json, and alignment_1.png and so
on: where the model listens, under the spectrogram. Killed, it goes on by --resume.
"""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from attention_jax.analysis import speech_alignment
from attention_jax.analysis.plots import run_plots
from attention_jax.analysis.plots.speech_alignment import alignment
from attention_jax.data.audio.batches import make
from attention_jax.data.audio.batches import one as batches_one
from attention_jax.data.audio.corpus import Corpus, Skipped, Utterance
from attention_jax.data.batching import BucketedBatches
from attention_jax.data.tokenizer import Tokenizer
from attention_jax.decoding.transcribe import Transcriber
from attention_jax.decoding.translate import Hypothesis
from attention_jax.evaluation import error_rates
from attention_jax.training import loop
from attention_jax.training.evaluate import loss_evaluator
from experiments import common, listening, run_folders, trained

FLAGS = flags.FLAGS
common.define_run_flags()
common.define_data_flags()
common.define_model_flags()
common.define_training_flags(common.OF_SPEECH)
common.define_search_flags()
common.define_device_flags()
listening.define_flags()
flags.adopt_module_key_flags(common)
flags.adopt_module_key_flags(listening)
FLAGS.set_default("cell", "lstm")

SAMPLES = 4


def main() -> None:
    """Trains, scores, draws."""
    if FLAGS.list:
        print(f"sounds: {', '.join(listening.SOUNDS)}\n{common.list_names()}")
        return
    search = common.search(nbest=1)
    corpus = listening.load_corpus()
    vocabulary = learn_vocabulary(corpus)
    corpus = without_unusable(corpus, vocabulary)
    build, objective = listening.builder(vocabulary.size), listening.objective()
    graphdef = trained.graphdef_of(build)
    # What cannot be honoured is refused before there is a folder.
    transcriber = listening.transcriber(graphdef, vocabulary, corpus.rate, search)
    batches = make_batches("train", corpus, vocabulary)
    evaluate = evaluator(graphdef, vocabulary, corpus)
    folder = run_folders.open_run(corpus.name)
    run_folders.keep_vocabulary(vocabulary, folder)
    note = listening.attention_line()
    if note:
        print(note)
    result = loop.fit(
        build,
        batches,
        evaluate,
        folder,
        common.settings(),
        objective=objective,
        resume=FLAGS.resume,
        on_accepted=partial(run_folders.accepted, folder),
    )
    report(result, corpus, transcriber, folder)


def learn_vocabulary(corpus: Corpus) -> Tokenizer:
    """The tokens of the training transcripts."""
    kind = FLAGS.transcript_tokens or corpus.tokenizer
    return Tokenizer.learn((utterance.transcript for utterance in corpus.train), kind=kind)


def without_unusable(corpus: Corpus, vocabulary: Tokenizer) -> Corpus:
    """The corpus without recordings that are too short; says how many were left out in all.

    Raises:
      ValueError: one is, and bad ones are not left out; or none is left of a split.
    """
    bad, settings = Skipped(FLAGS.skip_bad), listening.spectrogram(corpus.rate)
    read = listening.transcriber(None, vocabulary, corpus.rate).padded_length
    learn = partial(listening.learnable, vocabulary=vocabulary, settings=settings)
    train = listening.passing(corpus.train, learn, bad)
    validation = listening.passing(listening.passing(corpus.validation, learn, bad), read, bad)
    tests: dict[str, Sequence[Utterance]] = {
        name: listening.passing(own, read, bad) for name, own in corpus.tests.items()
    }
    for name, kept in {"train": train, "validation": validation, **tests}.items():
        if bad.reasons and not kept:
            raise ValueError(
                f"`--skip_bad` must leave a recording of each split; it left none of {name}. The "
                f"first that is bad: {bad.reasons[0]}"
            )
    skipped = (*corpus.skipped, *bad.reasons)
    if skipped:
        print(f"{len(skipped)} recordings are bad, and left out; the first: {skipped[0]}")
    return corpus._replace(train=train, validation=validation, tests=tests, skipped=skipped)


def make_batches(split: str, corpus: Corpus, vocabulary: Tokenizer) -> BucketedBatches:
    """Batches of a split; says how many recordings are too long."""
    utterances = corpus.train if split == "train" else corpus.validation
    batches = make(
        utterances,
        vocabulary,
        listening.spectrogram(corpus.rate),
        frames_per_batch=FLAGS.frames_per_batch,
        max_frames=FLAGS.max_frames,
        buckets=FLAGS.buckets,
        seed=FLAGS.seed,
        shuffle=split == "train",
    )
    if batches.too_long:
        print(
            f"{split}: {batches.too_long} of {len(utterances)} recordings are longer than "
            f"--max_frames={FLAGS.max_frames} and left out"
        )
    return batches


def evaluator(graphdef: Any, vocabulary: Tokenizer, corpus: Corpus) -> Any:
    """`params -> scores` on the validation split; its transcripts are greedy."""
    losses = loss_evaluator(graphdef, listening.objective())
    batches = make_batches("validation", corpus, vocabulary)
    transcriber = listening.transcriber(graphdef, vocabulary, corpus.rate)
    utterances = corpus.validation[: FLAGS.evaluate_sentences]

    def evaluate(params: Any) -> dict[str, float]:
        best = [found[0].text for found in transcriber(params, utterances)]
        rates = error_rates.rates(error_rates.counts(best, [u.transcript for u in utterances]))
        whole = rates.pop("accuracy") / 100
        return losses(params, batches) | rates | {"exact_match": whole}

    return evaluate


def report(result: loop.Result, corpus: Corpus, transcriber: Transcriber, folder: Path) -> None:
    """Scores the tests and writes result.json, outcomes.json, samples.txt and the pictures."""
    facts = trained.end_training(result, folder)
    scores, outcomes, transcripts, samples = {}, {}, {}, []
    for name, utterances in corpus.tests.items():
        print(f"transcribing {len(utterances)} recordings of {name} ...")
        best = [found[0] for found in transcriber(result.params, utterances)]
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
        "attention": listening.attention_name(),
        "loss": FLAGS.loss,
        "skipped": len(corpus.skipped),
        "tests": scores,
    }
    (folder / "samples.txt").write_text("\n\n".join(map(sample_text, samples)) + "\n")
    draw(result, transcriber, samples, folder)
    (folder / "transcripts.json").write_text(json.dumps(transcripts, indent=1) + "\n")
    (folder / "outcomes.json").write_text(json.dumps(outcomes) + "\n")
    trained.write_result(folder, summary)
    show(summary, samples, folder)


def sample_text(sample: tuple[Utterance, Hypothesis]) -> str:
    """One transcript beside what was said."""
    utterance, found = sample
    return f"said   {utterance.transcript}\nmodel  {found.text}"


def draw(
    result: loop.Result,
    transcriber: Transcriber,
    samples: Sequence[tuple[Utterance, Hypothesis]],
    folder: Path,
) -> None:
    """Writes curves.png and, where the model attends, alignment_1.png and so on."""
    run_plots.curves(folder / "metrics.jsonl", folder / "curves.png")
    settings = transcriber.settings
    for number, (utterance, found) in enumerate(samples, 1):
        drawn = speech_alignment.alignment(transcriber, result.params, utterance, found.tokens)
        if drawn is None:
            continue
        weights, tokens, frames_per_position = drawn
        frames = batches_one([(utterance, ())], settings)
        alignment(
            frames.source[0][frames.source_mask[0]],
            weights,
            tokens,
            folder / f"alignment_{number}.png",
            frames_per_position=frames_per_position,
            seconds_per_frame=settings.hop / settings.rate,
            title=f"said: {utterance.transcript}\nmodel: {found.text}",
        )
        order = speech_alignment.order(np.mean(weights, axis=(0, 1)))
        print(f"alignment_{number}.png: tokens and when they are heard correlate at {order:.3f}")


def show(
    summary: dict[str, Any], samples: Sequence[tuple[Utterance, Hypothesis]], folder: Path
) -> None:
    """Prints the table and the samples."""
    print()
    for sample in samples:
        print(sample_text(sample), end="\n\n")
    print(f"{'test':<12}{'right':>9}{'wrong characters':>18}{'wrong words':>13}")
    for name, rates in summary["tests"].items():
        print(f"{name:<12}{rates['accuracy']:>8.2f}%{rates['cer']:>17.2f}%{rates['wer']:>12.2f}%")
    print(f"\n{summary['parameters']:,} parameters, {summary['seconds']:.0f} s of training")
    drawn = sorted(folder.glob("*.png"), reverse=True)
    print("pictures:", *drawn)
    print(f"next: {common.python()} -m experiments.predict --run={folder} --file=recording.wav")


if __name__ == "__main__":
    common.launch(main)
