"""Scores of language models, in training and after it, and what they write."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flax import nnx

from attention_jax.analysis.plots import run_plots
from attention_jax.core.files import write_whole
from attention_jax.core.messages import said
from attention_jax.core.types import Params
from attention_jax.data.text_windows import AllWindows
from attention_jax.data.tokenizer import Tokenizer
from attention_jax.evaluation.language import outcomes, surprisals
from attention_jax.training import objectives
from attention_jax.training.evaluate import loss_evaluator
from attention_jax.training.loop import Evaluate
from experiments.common import guesses, samples, scoring
from experiments.common.experiment import Outcome, Run
from experiments.common.run_folder import next_command, size_and_time
from experiments.common.scoring import Counts, Scorer, read_json
from experiments.language import characters
from experiments.language.config import LanguageConfig, Text, unit, writer

VALIDATION_ROWS = 64
BEGINNING = 100  # tokens among which a beginning is sought


def validate(
    config: LanguageConfig, text: Text, vocabulary: Tokenizer, graphdef: nnx.GraphDef
) -> Evaluate:
    """`params -> scores` on all of the part for validation."""
    beginning(vocabulary, text.validation)
    batches, losses = windows(config, text), loss_evaluator(graphdef, objectives.next_token)
    show = continuations(config, text, vocabulary, graphdef)
    ids, written = text.validation, text.written[1]
    factor = None
    if characters.gives_back(vocabulary, ids, written):
        factor = characters.a_token(vocabulary, ids, written)

    def scores_of(params: Params) -> dict[str, float]:
        samples.show(show(params))
        found = losses(params, batches)
        return found if factor is None else found | {characters.MEASURE: factor * found["loss"]}

    return scores_of


def continuations(
    config: LanguageConfig, text: Text, vocabulary: Tokenizer, graphdef: nnx.GraphDef
) -> Callable[[Params], Iterator[str]]:
    """`params -> samples`: places of the text, how it goes on, and how the model does.

    As many as --samples, evenly spread; a window's first half is read, and its second written.
    """
    context, count, tokens = config.data.context, config.shown.samples, text.validation
    half = context // 2
    starts = [number * (len(tokens) - context) // max(count, 1) for number in range(count)]
    cut = ((tokens[i : i + half], tokens[i + half : i + context]) for i in starts)
    pairs = [tuple(vocabulary.decode(part.tolist()) for part in parts) for parts in cut]
    # A tokenizer that does not know the text may leave nothing to read.
    pairs = [(a, b) for a, b in pairs if vocabulary.encode(a) and not vocabulary.unknown(a)]
    write = writer(config, vocabulary, graphdef)

    def show(params: Params) -> Iterator[str]:
        for given, wanted in pairs:
            read = vocabulary.decode(vocabulary.encode(given))
            found = write(params, given, context - half)[len(read) :]
            lines = ("text", given), ("goes on", wanted), ("model", found)
            yield "\n".join(f"{said(name):<9}{line!r}" for name, line in lines)

    return show


def windows(config: LanguageConfig, text: Text) -> AllWindows:
    """The part for validation, in windows side by side."""
    return AllWindows(text.validation, rows=VALIDATION_ROWS, length=config.data.context)


def evaluate(run: Run, text: Text, facts: dict[str, Any]) -> Outcome:
    """Scores the part for validation; writes samples.txt, outcomes.json and curves.png."""
    config, vocabulary, folder = run.config, run.tokenizer, run.folder
    batches = windows(config, text)
    losses = loss_evaluator(run.graphdef, objectives.next_token)
    scores = {"validation": losses(run.params, batches)}
    found: dict[str, list] = {"accuracy": outcomes(run.graphdef)(run.params, batches)}
    if characters.gives_back(vocabulary, text.validation, text.written[1]):
        nats = surprisals(run.graphdef)(run.params, batches)
        own = characters.counts(vocabulary, text.validation, text.written[1], nats)
        found[characters.MEASURE] = own
    write_whole(folder / "outcomes.json", json.dumps({"validation": found}) + "\n")
    first = beginning(vocabulary, text.validation)
    write = writer(config, vocabulary, run.graphdef)
    sample = write(run.params, first, config.data.characters)
    write_whole(folder / "samples.txt", sample + "\n")
    run_plots.curves(folder / "metrics.jsonl", folder / "curves.png")
    summary = {"task": text.name, **facts, "tests": scores}
    own, noun = scores["validation"], unit(vocabulary)
    lines = [
        f"{sample}\n\n{_of_validation(len(text.validation) - 1, noun, own)}",
        size_and_time(summary),
        said("figure: {path}").format(path=f"{folder}/curves.png"),
        next_command(folder, f"--text={first}"),
    ]
    return Outcome(summary, "\n".join(lines))


def scorer(text: Text, vocabulary: Tokenizer) -> Scorer:
    """Scores of all of the part for validation: right tokens, or bits a character."""
    training, written = text.written

    def check(measure: str) -> None:
        if measure == characters.MEASURE:
            characters.check(vocabulary, text.validation, written, name=text.name)

    def counts(folder: Path, measure: str) -> Counts:
        found = read_json(folder / "outcomes.json")["validation"]
        if measure not in found:
            raise ValueError(
                f"`--score={measure}` needs runs that were scored by it; {folder} was not, by an "
                "earlier version. Train it in another folder."
            )
        return {"validation": np.array(found[measure], float)}

    def score(measure: str, sums: np.ndarray) -> Any:
        factor = 1.0 if measure == characters.MEASURE else 100.0
        return np.asarray(factor * sums[..., 0] / sums[..., 1])

    def guess(measure: str) -> guesses.Guess:
        if measure == characters.MEASURE:
            return {"validation": characters.guess(training, written)}
        return guesses.of_classes(text.training, {"validation": text.validation[1:]})

    own = scoring.of_outcomes(text.name, guess)
    return own._replace(counts=counts, score=score, check=check)


def _of_validation(count: int, noun: str, own: Mapping[str, float]) -> str:
    """The line of the part for validation; `noun` is a character or a token."""
    lines = {
        "character": "validation, all {count:,} characters: {loss:.4f} nats a character, "
        "{accuracy:.1%} right",
        "token": "validation, all {count:,} tokens: {loss:.4f} nats a token, {accuracy:.1%} right",
    }
    return said(lines[noun]).format(count=count, loss=own["loss"], accuracy=own["accuracy"])


def beginning(vocabulary: Tokenizer, tokens: np.ndarray) -> str:
    """The shortest beginning of a text that a model can go on with: of characters the first."""
    for length in range(1, 1 + min(len(tokens), BEGINNING)):
        text = vocabulary.decode(tokens[:length].tolist())
        # A token may be a part of a character, or a space that is no text by itself.
        is_whole = vocabulary.encode(text) and "\ufffd" not in text
        if is_whole and not vocabulary.unknown(text):
            return text
    raise ValueError(
        f"`--tokenizer_file` must have tokens for the text; of its first {BEGINNING} tokens of "
        "validation none is known. Give a tokenizer of the text's language."
    )
