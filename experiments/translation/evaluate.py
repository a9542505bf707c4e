"""Scores of translations, in training and after it."""

import json
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from flax import nnx

from attention_jax.analysis import attention_entropy
from attention_jax.analysis.plots import run_plots
from attention_jax.core.files import write_whole
from attention_jax.core.messages import said
from attention_jax.core.types import Params
from attention_jax.data.batching import encode_examples
from attention_jax.data.tokenizer import Tokenizer
from attention_jax.data.types import Example, Task
from attention_jax.decoding.shrinking import fitting
from attention_jax.decoding.translate import Translator
from attention_jax.evaluation import text
from attention_jax.evaluation.translation import score
from attention_jax.training.evaluate import loss_evaluator
from attention_jax.training.loop import Evaluate
from experiments.common import guesses, samples
from experiments.common.experiment import Outcome, Run
from experiments.common.run_folder import next_command, size_and_time
from experiments.common.scoring import Counts, Scorer, read_json
from experiments.translation.config import TranslationConfig, batches_of

SAMPLES = 5
ROWS = 64  # sentences translated at once in validation
_COLUMNS = {"BLEU": "bleu", "chrF": "chrf", "chrF++": "chrf++", "TER": "ter"}
FOCUSED = 64  # sentences over which attention's entropy is averaged


def validate(
    config: TranslationConfig, task: Task, vocabulary: Tokenizer, graphdef: nnx.GraphDef
) -> Evaluate:
    """`params -> scores` on the validation split; its translations are greedy.

    The first of them are shown, where --samples asks for some.

    Raises:
      ValueError: more samples than translated sentences.
    """
    shown, translated = config.shown.samples, config.training.evaluate_sentences
    if shown > translated:
        raise ValueError(
            f"`--samples` must be at most --evaluate_sentences={translated}, those that are "
            f"translated; got {shown}. Raise that one, or lower --samples."
        )
    batches = batches_of(config, "validation", task.validation, vocabulary)
    losses = loss_evaluator(graphdef)
    examples = task.validation[:translated]
    rows = fitting(len(examples), ROWS)
    # Batches that shrink would compile more programs at each validation than they spare time.
    translator = Translator(graphdef, vocabulary, rows=rows, fewest_rows=rows)

    def scores_of(params: Params) -> dict[str, float]:
        scores, found = score(
            translator,
            params,
            examples,
            lowercase=task.lowercase,
            tokenizer=config.data.bleu_tokenizer,
        )
        samples.show(map(sample_text, zip(examples[:shown], found[:shown], strict=True)))
        numbers = {name: x for name, x in scores.items() if isinstance(x, float)}
        return losses(params, batches) | numbers

    return scores_of


def evaluate(run: Run, task: Task, facts: dict[str, Any]) -> Outcome:
    """Scores the test splits; writes samples.txt, translations.json and figures."""
    search = run.config.decoding.search(run.config.run.seed, nbest=1)
    translator = Translator(run.graphdef, run.tokenizer, search)
    scores, translations = {}, {}
    for name, examples in task.tests.items():
        line = said("translating {count} sentences of {name} ...")
        print(line.format(count=len(examples), name=said(name)))
        scores[name], translations[name] = score(
            translator,
            run.params,
            examples,
            lowercase=task.lowercase,
            tokenizer=run.config.data.bleu_tokenizer,
            more=True,
        )
    first = next(iter(task.tests))
    summary = {
        "task": task.name,
        **facts,
        "tests": scores,
        "focus": focus(run, task.tests[first]),
    }
    samples = list(zip(task.tests[first], translations[first], strict=True))[:SAMPLES]
    # Files of a run are the same in any language.
    written = "\n\n".join(sample_text(sample, say=str) for sample in samples)
    write_whole(run.folder / "samples.txt", f"{written}\n")
    draw(run, Translator(run.graphdef, run.tokenizer, search, rows=8), samples)
    write_whole(run.folder / "translations.json", json.dumps(translations, indent=1) + "\n")
    return Outcome(summary, closing_text(run, summary, samples))


def focus(run: Run, examples: Sequence[Example]) -> dict[str, float] | None:
    """Effective tokens of attention while the model writes the references of a few sentences."""
    pairs = encode_examples(examples, run.tokenizer)
    short = [pair for pair in pairs if max(map(len, pair)) < run.config.data.max_length]
    if not short:
        return None
    found = attention_entropy.effective_tokens(run.graphdef, run.params, short[:FOCUSED])
    return None if found is None else found._asdict()


def sample_text(sample: tuple[Example, str], *, say: Callable[[str], str] = said) -> str:
    """One translation beside its source and reference; `say` puts the names of the lines."""
    example, translation = sample
    lines = {"source": example.source, "reference": example.references[0], "model": translation}
    return "\n".join(f"{say(name):<11}{text}" for name, text in lines.items())


def draw(run: Run, translate: Translator, samples: Sequence[tuple[Example, str]]) -> None:
    """Draws curves.png and, where the model attends, attention_1.png and so on."""
    folder, sources = run.folder, [example.source for example, _ in samples]
    run_plots.curves(folder / "metrics.jsonl", folder / "curves.png")
    for number, (source, found) in enumerate(
        zip(sources, translate(run.params, sources), strict=True), 1
    ):
        drawn = attention_entropy.alignment(
            run.graphdef, run.params, run.tokenizer, source, found[0].tokens
        )
        if drawn is not None:
            path = folder / f"attention_{number}.png"
            run_plots.attention_heatmap(*drawn, path, title=f"{source}\n{found[0].text}")


def closing_text(run: Run, summary: dict[str, Any], samples: Sequence[tuple[Example, str]]) -> str:
    """Samples, the table, and what to type next."""
    lines = ["", *(f"{sample_text(sample)}\n" for sample in samples)]
    head = f"{said('test'):<16}{said('exact match'):>12}"
    lines.append(head + "".join(f"{x:>8}" for x in _COLUMNS))
    scores: dict[str, Any] = {}
    for name, scores in summary["tests"].items():
        own = "".join(f"{scores[key]:>8.2f}" for key in _COLUMNS.values())
        lines.append(f"{said(name):<16}{scores['exact_match']:>12.2%}{own}")
    lines += ["", *(scores[f"{key}_signature"] for key in _COLUMNS.values())]
    lines.append(f"\n{size_and_time(summary)}")
    attends = "none" not in (run.experiment.named(run.config)[1], run.config.model.cross_attention)
    drawn = [f"{run.folder}/curves.png", *([f"{run.folder}/attention_1.png"] if attends else [])]
    lines.append(said("figures: {paths}").format(paths=" ".join(drawn)))
    lines.append(next_command(run.folder, f"--text={samples[0][0].source}"))
    return "\n".join(lines)


def _counted(
    measure: str,
    answers: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    lowercase: bool,
    tokenizer: str | None,
) -> np.ndarray:
    """Counts of each sentence, with the measure first."""
    options = {"lowercase": lowercase, "tokenizer": tokenizer}
    return text.sentence_counts(measure, answers, references, **options)


def scorer(config: TranslationConfig, task: Task, vocabulary: Tokenizer) -> Scorer:
    """Scores of sentences: translations.json against the task's references."""

    counted = partial(_counted, lowercase=task.lowercase, tokenizer=config.data.bleu_tokenizer)

    def counts(folder: Path, measure: str) -> Counts:
        translations = read_json(folder / "translations.json")
        return {
            test: counted(measure, translations[test], [example.references for example in examples])
            for test, examples in task.tests.items()
        }

    def lengths(examples: Iterable[Example]) -> np.ndarray:
        return np.array([len(vocabulary.encode(example.source)) for example in examples])

    def all_lengths(folder: Path) -> tuple[dict[str, np.ndarray], int]:
        del folder
        # A sentence has EOS too, and longer ones were left out.
        trained = lengths(task.train)
        longest = int(trained[trained < config.data.max_length].max())
        return {test: lengths(examples) for test, examples in task.tests.items()}, longest

    def guess(measure: str) -> guesses.Guess:
        return guesses.of_texts(
            [example.references[0] for example in task.train],
            {test: [x.references for x in examples] for test, examples in task.tests.items()},
            partial(counted, measure),
            partial(text.score_of_counts, measure),
        )

    return Scorer(task.name, counts, text.score_of_counts, all_lengths, guess)
