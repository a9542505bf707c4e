"""Trains a language model on the characters of a text, and lets it write.

    python -m experiments.language --flagfile=experiments/presets/tiny_shakespeare.flags
    python -m experiments.language --text_file=my.txt --attention=gated_delta --positions=none
    python -m experiments.language --text_file=my.txt --model=rnn --attention=none

The first nine tenths of the text are learned, the last is for validation: all of it, in windows
side by side. A run's folder is that of experiments.translation, with what the model wrote in
samples.txt; `experiments.predict --run=... --text=...` goes on with a text. Killed, it goes on by
--resume.
"""

import json
from functools import partial
from pathlib import Path
from typing import Any

from absl import flags

from attention_jax.analysis.plots import run_plots
from attention_jax.data.text_windows import AllWindows
from attention_jax.evaluation.language import outcomes
from attention_jax.training import evaluate, loop, objectives
from experiments import common, run_folders, texts, trained

FLAGS = flags.FLAGS
common.define_run_flags()
common.define_data_flags()
common.define_model_flags()
common.define_training_flags(common.LOSSES)
common.define_search_flags()
common.define_device_flags()
texts.define_flags()
flags.adopt_module_key_flags(common)
flags.adopt_module_key_flags(texts)
FLAGS.set_default("positions", "learned")
FLAGS.set_default("sample", True)

VALIDATION_ROWS = 64


def main() -> None:
    """Trains, scores, writes."""
    if FLAGS.list:
        print(common.list_names())
        return
    search = common.search(nbest=1)
    text = texts.load()
    build = texts.builder(text.vocabulary.size)
    graphdef = trained.graphdef_of(build)
    batches = texts.training_batches(text)
    write = texts.writer(graphdef, text.vocabulary, search)
    folder = run_folders.open_run(text.name)
    run_folders.keep_vocabulary(text.vocabulary, folder)
    validation = AllWindows(text.validation, rows=VALIDATION_ROWS, length=FLAGS.context)
    losses = evaluate.loss_evaluator(graphdef, objectives.next_token)
    result = loop.fit(
        build,
        batches,
        lambda params: losses(params, validation),
        folder,
        common.settings(),
        objective=objectives.next_token,
        resume=FLAGS.resume,
        on_accepted=partial(run_folders.accepted, folder),
    )
    facts = trained.end_training(result, folder)
    scores = {"validation": losses(result.params, validation)}
    right = outcomes(graphdef)(result.params, validation)
    (folder / "outcomes.json").write_text(json.dumps({"validation": {"accuracy": right}}) + "\n")
    sample = write(result.params, first_of(text), FLAGS.characters)
    report(facts | {"tests": scores}, text, sample, folder)


def first_of(text: texts.Text) -> str:
    """The character from which a sample goes on."""
    return text.vocabulary.decode(text.validation[:1])


def report(facts: dict[str, Any], text: texts.Text, sample: str, folder: Path) -> None:
    """Writes samples.txt, curves.png and result.json, and prints what they hold."""
    (folder / "samples.txt").write_text(sample + "\n")
    run_plots.curves(folder / "metrics.jsonl", folder / "curves.png")
    summary: dict[str, Any] = {"task": text.name, **facts}
    trained.write_result(folder, summary)
    own = summary["tests"]["validation"]
    print(f"{sample}\n\nvalidation, all {len(text.validation) - 1:,} characters: "
          f"{own['loss']:.4f} nats a character, {own['accuracy']:.1%} right")  # fmt: skip
    print(f"{summary['parameters']:,} parameters, {summary['seconds']:.0f} s of training")
    print(f"picture: {folder}/curves.png")
    print(
        f'next: {common.python()} -m experiments.predict --run={folder} --text="{first_of(text)}"'
    )


if __name__ == "__main__":
    common.launch(main)
