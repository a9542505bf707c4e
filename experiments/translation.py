"""Trains a sequence-to-sequence model, Transformer or RNN, and scores it on unseen sentences.

    python -m experiments.translation --task=spanish
    python -m experiments.translation --task=reverse --model=rnn --attention=additive
    python -m experiments.translation --flagfile=experiments/presets/multi30k_transformer.flags

A run's folder holds run.flags, environment.json, metrics.jsonl, checkpoints, vocabulary.json,
samples.txt, translations.json, curves.png, attention pictures and, last of all, result.json.
Killed, it goes on by --resume.
"""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from absl import flags

from attention_jax.analysis import attention_entropy
from attention_jax.analysis.plots import run_plots
from attention_jax.data.batching import BucketedBatches, encode_examples
from attention_jax.data.tokenizer import Tokenizer
from attention_jax.data.types import Example, Task
from attention_jax.decoding.translate import DecodingConfig, Translator
from attention_jax.evaluation.translation import score
from attention_jax.training import loop
from attention_jax.training.evaluate import loss_evaluator
from experiments import common, run_folders, trained

FLAGS = flags.FLAGS
common.define_run_flags()
common.define_task_flags()
common.define_model_flags()
common.define_training_flags(common.OF_TEXTS)
common.define_search_flags()
common.define_device_flags()
flags.adopt_module_key_flags(common)

SAMPLES = 5
FOCUSED = 64  # sentences of which the focus is the mean


def main() -> None:
    """Trains, scores, draws."""
    if FLAGS.list:
        print(common.list_names())
        return
    search = common.search(nbest=1)
    task = common.load_task()
    folder = run_folders.open_run()
    vocabulary = common.learn_vocabulary(task, folder)
    batches, validation = (
        make_batches(split, part, vocabulary)
        for split, part in (("train", task.train), ("validation", task.validation))
    )
    note = common.attention_line(common.model_config(vocabulary.size))
    if note:
        print(note)
    build = common.model_builder(vocabulary.size)
    graphdef = trained.graphdef_of(build)
    result = loop.fit(
        build,
        batches,
        evaluator(graphdef, vocabulary, validation, task),
        folder,
        common.settings(),
        resume=FLAGS.resume,
        on_accepted=partial(run_folders.accepted, folder),
    )
    report(result, task, vocabulary, search, folder)


def make_batches(split: str, examples: Sequence[Example], vocabulary: Tokenizer) -> BucketedBatches:
    """Batches of a split; says how many sentences are too long."""
    batches = BucketedBatches(
        encode_examples(examples, vocabulary),
        tokens_per_batch=FLAGS.tokens_per_batch,
        max_length=FLAGS.max_length,
        seed=FLAGS.seed,
        shuffle=split == "train",
    )
    if batches.too_long:
        print(
            f"{split}: {batches.too_long} of {len(examples)} sentences are longer than "
            f"--max_length={FLAGS.max_length} and left out"
        )
    return batches


def evaluator(graphdef: Any, vocabulary: Tokenizer, batches: BucketedBatches, task: Task) -> Any:
    """`params -> scores` on the validation split; its translations are greedy."""
    losses = loss_evaluator(graphdef)
    translator = Translator(graphdef, vocabulary)
    examples = task.validation[: FLAGS.evaluate_sentences]

    def evaluate(params: Any) -> dict[str, Any]:
        scores, _ = score(translator, params, examples, lowercase=task.lowercase)
        numbers = {name: x for name, x in scores.items() if isinstance(x, float)}
        return losses(params, batches) | numbers

    return evaluate


def report(
    result: loop.Result,
    task: Task,
    vocabulary: Tokenizer,
    search: DecodingConfig,
    folder: Path,
) -> None:
    """Scores the test splits and writes result.json, samples.txt and the pictures."""
    facts = trained.end_training(result, folder)
    translator = Translator(result.graphdef, vocabulary, search)
    scores, translations = {}, {}
    for name, examples in task.tests.items():
        print(f"translating {len(examples)} sentences of {name} ...")
        scores[name], translations[name] = score(
            translator, result.params, examples, lowercase=task.lowercase
        )
    summary = {
        "task": task.name,
        **facts,
        "tests": scores,
    }
    first = next(iter(task.tests))
    summary["focus"] = focus(result, task.tests[first], vocabulary)
    samples = list(zip(task.tests[first], translations[first], strict=True))[:SAMPLES]
    (folder / "samples.txt").write_text("\n\n".join(map(sample_text, samples)) + "\n")
    draw(result, vocabulary, search, folder, [example.source for example, _ in samples])
    (folder / "translations.json").write_text(json.dumps(translations, indent=1) + "\n")
    trained.write_result(folder, summary)
    show(summary, samples, folder)


def focus(
    result: loop.Result, examples: Sequence[Example], vocabulary: Tokenizer
) -> dict[str, float] | None:
    """How widely the model looks while it writes the references of a few sentences."""
    pairs = encode_examples(examples, vocabulary)
    short = [pair for pair in pairs if max(map(len, pair)) < FLAGS.max_length]
    found = (
        attention_entropy.effective_tokens(result.graphdef, result.params, short[:FOCUSED])
        if short
        else None
    )
    return None if found is None else found._asdict()


def sample_text(sample: tuple[Example, str]) -> str:
    """One translation beside its source and reference."""
    example, translation = sample
    lines = ("source   ", example.source), ("reference", example.references[0])
    return "\n".join(f"{n}  {text}" for n, text in (*lines, ("model    ", translation)))


def draw(
    result: loop.Result,
    vocabulary: Tokenizer,
    search: DecodingConfig,
    folder: Path,
    sources: list[str],
) -> None:
    """Writes curves.png and, where the model attends, attention_1.png and so on."""
    run_plots.curves(folder / "metrics.jsonl", folder / "curves.png")
    translate = Translator(result.graphdef, vocabulary, search, rows=8)
    for number, (source, found) in enumerate(
        zip(sources, translate(result.params, sources), strict=True), 1
    ):
        drawn = attention_entropy.alignment(
            result.graphdef, result.params, vocabulary, source, found[0].tokens
        )
        if drawn is not None:
            path = folder / f"attention_{number}.png"
            run_plots.attention_heatmap(*drawn, path, title=f"{source}\n{found[0].text}")


def show(summary: dict[str, Any], samples: list[tuple[Example, str]], folder: Path) -> None:
    """Prints the table, the samples and what to type next."""
    print()
    for sample in samples:
        print(sample_text(sample), end="\n\n")
    print(f"{'test':<16}{'exact match':>12}{'BLEU':>8}{'chrF':>8}")
    for name, scores in summary["tests"].items():
        exact, bleu, chrf = scores["exact_match"], scores["bleu"], scores["chrf"]
        print(f"{name:<16}{exact:>12.2%}{bleu:>8.2f}{chrf:>8.2f}")
    print(f"\n{scores['bleu_signature']}\n{scores['chrf_signature']}")
    print(f"\n{summary['parameters']:,} parameters, {summary['seconds']:.0f} s of training")
    print(f"pictures: {folder}/curves.png {folder}/attention_1.png" if FLAGS.attention != "none"
          else f"picture: {folder}/curves.png")  # fmt: skip
    print(
        f"next: {common.python()} -m experiments.predict --run={folder} "
        f'--text="{samples[0][0].source}"'
    )


if __name__ == "__main__":
    common.launch(main)
