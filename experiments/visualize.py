"""Writes a page that shows where a trained run looks: one HTML file, which needs no network.

python -m experiments.visualize --run=runs/spanish-transformer-scaled_dot --text="the cat sleeps"
python -m experiments.visualize --run=... --file=sentences.txt --output=sentences.html
python -m experiments.visualize --run=runs/a --other_run=runs/b --text="the cat sleeps"

It opens by a double click: every layer and head, the weights of each token, and the alternatives
of the beam with their scores; two runs of one vocabulary stand side by side.
"""

from pathlib import Path
from typing import Any, NamedTuple

from absl import flags

from attention_jax import evaluation, explorer, maps
from attention_jax.types import EOS, Params
from attention_jax.vocabulary import Vocabulary
from experiments import common, trained

FLAGS = flags.FLAGS
common.define_run_flags()
common.define_task_flags()
common.define_model_flags()
common.define_training_flags()
common.define_search_flags()
common.define_device_flags()
flags.adopt_module_key_flags(common)
flags.DEFINE_string("other_run", None, "Folder of a second run, to stand beside the first.")
flags.DEFINE_multi_string("text", [], "A sentence to read; may be repeated.")
flags.DEFINE_string("file", None, "A file of sentences, one a line.")
flags.DEFINE_string("output", None, "The page to write. Default: explorer.html in --run.")
flags.DEFINE_integer("alternatives", 5, "Translations shown of each sentence.", lower_bound=1)

# Sentences translated at once.
ROWS = 8


class Loaded(NamedTuple):
    """A trained run."""

    run: explorer.Run
    task: str
    graphdef: Any
    params: Params
    vocabulary: Vocabulary
    translate: evaluation.Translator


def main() -> None:
    """Reads the sentences with each run and writes the page."""
    refuse_other_searches()
    first = trained.run_folder()
    texts = read_texts()
    output = Path(FLAGS.output or first / "explorer.html")
    folders = [Path(folder) for folder in (FLAGS.run, FLAGS.other_run) if folder]
    runs = [load(folder) for folder in folders]
    check_alike(runs, folders)
    check_tokens(texts, runs[0].vocabulary)
    readings = zip(*(read(run, texts) for run in runs), strict=True)
    page = explorer.page([run.run for run in runs], list(zip(texts, readings, strict=True)))
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(page, encoding="utf-8")
    noun = "sentence" if len(texts) == 1 else "sentences"
    print(f"{output}: {len(texts)} {noun}, {output.stat().st_size / 1e6:.2f} MB")


def refuse_other_searches() -> None:
    """The page shows the best of one beam."""
    for name in ("sample", "nbest"):
        if FLAGS[name].value != FLAGS[name].default:
            raise ValueError(
                f"`--{name}` does not go with this page, which shows what the beam finds; "
                "leave it out. --alternatives says how many translations are shown."
            )


def read_texts() -> list[str]:
    """The sentences that flags name."""
    texts = list(FLAGS.text)
    if FLAGS.file is not None:
        texts += [line for line in trained.read_lines(FLAGS.file) if line.strip()]
    if not texts:
        raise ValueError(
            "`--text` or `--file` must hold a sentence to read; got none. "
            'Add for instance --text="the cat sleeps".'
        )
    return texts


def load(folder: Path) -> Loaded:
    """A run's model, with the flags that it was trained by."""
    found = trained.load(folder)
    search = evaluation.Search(
        method="beam",
        beam_size=max(FLAGS.beam, FLAGS.alternatives),
        length_penalty=FLAGS.length_penalty,
        nbest=FLAGS.alternatives,
    )
    about = f"{FLAGS.model}, attention {Path(common.attention_name()).stem}"
    if FLAGS.model == "transformer" and FLAGS.cross_attention:
        about += f", to the source {Path(FLAGS.cross_attention).stem}"
    translator = evaluation.Translator(found.graphdef, found.vocabulary, search, rows=ROWS)
    run = explorer.Run(folder.resolve().name, about)
    return Loaded(run, FLAGS.task, *found, translator)


def check_alike(runs: list[Loaded], folders: list[Path]) -> None:
    """Only runs that read the same tokens can stand side by side."""
    first, last = runs[0], runs[-1]
    if first.task != last.task:
        raise ValueError(
            f"`--other_run` must be of the task of `--run`; got {last.task} beside {first.task}. "
            "Write a page of each."
        )
    if len({(folder / "vocabulary.json").read_bytes() for folder in folders}) > 1:
        raise ValueError(
            f"`--other_run` must have the vocabulary of `--run`; those of {folders[0]} and "
            f"{folders[1]} differ. Write a page of each."
        )


def check_tokens(texts: list[str], vocabulary: Vocabulary) -> None:
    for text in texts:
        if not text.strip() or not vocabulary.encode(text):
            raise ValueError(f"`--text` must hold at least one token; got {text!r}.")


def read(run: Loaded, texts: list[str]) -> list[explorer.Reading]:
    """What a run makes of each sentence: translations, and the weights of the best."""
    readings = []
    for text, found in zip(texts, run.translate(run.params, texts), strict=True):
        source, target = run.vocabulary.encode(text), found[0].tokens
        readings.append(
            explorer.Reading(
                source=run.vocabulary.tokens([*source, EOS]),
                target=run.vocabulary.tokens(target),
                alternatives=[(one.text, one.score) for one in found],
                maps=maps.sentence(run.graphdef, run.params, source, target),
            )
        )
    return readings


if __name__ == "__main__":
    common.launch(main)
