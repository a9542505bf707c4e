"""Writes a page that shows where a trained run looks: one HTML file, which needs no network.

python -m experiments.visualize --run=runs/spanish-transformer-scaled_dot --text="the cat sleeps"
python -m experiments.visualize --run=... --file=sentences.txt --output=sentences.html
python -m experiments.visualize --run=runs/a --other_run=runs/b --text="the cat sleeps"
python -m experiments.visualize --run=runs/digits-transformer-scaled_dot --examples=6
python -m experiments.visualize --run=runs/tones-rnn-additive --file=recording.wav

It opens by a double click: every layer and head, the weights of each token, and the alternatives
of the beam with their scores; two runs of one vocabulary stand side by side. Of a run of
experiments.images it shows patches of pictures and the most probable classes, of one of
experiments.speech moments of a spectrogram: those of the test, or what --file names.
"""

from pathlib import Path
from typing import Any

from absl import flags

from attention_jax.analysis.pages import explorer
from experiments import (
    common,
    image_models,
    listening,
    trained,
    visualize_images,
    visualize_speech,
    visualize_text,
)

FLAGS = flags.FLAGS
common.define_run_flags()
common.define_task_flags()
common.define_model_flags(image_models.MODELS)
common.define_training_flags()
common.define_search_flags()
common.define_device_flags()
# Before those of speech, which knows that it shares one with them.
image_models.define_flags()
listening.define_flags()
for module in (common, image_models, listening):
    flags.adopt_module_key_flags(module)
flags.DEFINE_string("other_run", None, "Folder of a second run, to stand beside the first.")
flags.DEFINE_multi_string("text", [], "A sentence to read; may be repeated.")
flags.DEFINE_string(
    "file", None, "A file of sentences, one a line; a picture or a recording, or a folder of them."
)
flags.DEFINE_string("output", None, "The page to write. Default: explorer.html in --run.")
flags.DEFINE_integer("examples", 4, "Pictures or recordings of the test shown, without --file.",
                     lower_bound=1)  # fmt: skip
flags.DEFINE_integer(
    "alternatives", None, "Translations, transcripts or classes shown of each. Default: "
    f"{visualize_text.ALTERNATIVES}; of classes {visualize_images.ALTERNATIVES}.",
    lower_bound=1,
)  # fmt: skip

# By the script that the run is of.
KINDS: dict[str, Any] = {
    "translation": visualize_text,
    "images": visualize_images,
    "speech": visualize_speech,
}


def main() -> None:
    """Reads what is given with each run and writes the page."""
    refuse_other_searches()
    folders = [trained.run_folder(), *([Path(FLAGS.other_run)] if FLAGS.other_run else [])]
    kind = KINDS[kind_of(folders)]
    output = Path(FLAGS.output or folders[0] / "explorer.html")
    first = kind.load(folders[0])
    # As long as flags are those of the first run.
    items = kind.given(first)
    runs = [first, *map(kind.load, folders[1:])]
    kind.check_alike(first, runs[-1])
    titles = [title for title, _ in items]
    readings = zip(*(kind.read(run, items) for run in runs), strict=True)
    shown = list(zip(titles, readings, strict=True))
    page = explorer.page([run.run for run in runs], shown, of=kind.OF)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(page, encoding="utf-8")
    noun = kind.OF if len(items) == 1 else f"{kind.OF}s"
    print(f"{output}: {len(items)} {noun}, {output.stat().st_size / 1e6:.2f} MB")


def kind_of(folders: list[Path]) -> str:
    """The script that the runs are of.

    Raises:
      ValueError: they are of two, or of one that has no page.
    """
    kinds = [trained.kind(folder, among=KINDS) for folder in folders]
    if len(set(kinds)) > 1:
        raise ValueError(
            f"`--other_run` must be of the script of `--run`; got experiments.{kinds[1]} beside "
            f"experiments.{kinds[0]}. Write a page of each."
        )
    return kinds[0]


def refuse_other_searches() -> None:
    """The page shows the best of one beam."""
    for name in ("sample", "nbest"):
        if FLAGS[name].value != FLAGS[name].default:
            raise ValueError(
                f"`--{name}` does not go with this page, which shows what the beam finds; "
                "leave it out. --alternatives says how many are shown."
            )


if __name__ == "__main__":
    common.launch(main)
