"""Writes a page that shows where a trained run looks: one HTML file, which needs no network.

python -m experiments.visualize --run=runs/spanish-transformer-scaled_dot --text="the queen sleeps."
python -m experiments.visualize --run=... --file=sentences.txt --output=sentences.html
python -m experiments.visualize --run=runs/a --other_run=runs/b --text="the queen sleeps."
python -m experiments.visualize --run=runs/digits-transformer-scaled_dot --examples=6
python -m experiments.visualize --run=runs/tones-rnn-additive --file=recording.wav
python -m experiments.visualize --run=runs/tiny_shakespeare-transformer-scaled_dot --text="ROMEO:"
python -m experiments.visualize --pretrained=opus-mt-en-de --text="The queen sleeps."
python -m experiments.visualize --live --run=runs/spanish-transformer-scaled_dot
python -m experiments.visualize --live --run=runs/digits-transformer-scaled_dot --examples=12
python -m experiments.visualize --pretrained=vit-tiny --file=picture.png

It opens by a double click: every layer and head, the weights of each token, and the alternatives
of the beam with their scores; two runs of one vocabulary stand side by side. Of a run of
experiments.images it shows patches of images and the most probable classes, of one of
experiments.speech moments of a spectrogram: those of the test, or what --file names; of one of
experiments.language the attention within a text, and the tokens that may come next.

With --live the model itself computes in the page: sentences are typed there or patches of a picture
hidden, heads switched off, weights dragged, and every number of a step is shown. Recordings are
played beside their alignments, which were computed before.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from attention_jax.analysis.pages import explorer
from attention_jax.core.files import write_whole
from experiments.common import flags, places
from experiments.common.config import DecodingFlags, DeviceFlags
from experiments.common.experiment import LivePage, Page, PageFlags, Run
from experiments.common.load_run import load_run, run_folder_of
from experiments.common.pretrained_runs import load_pretrained, one_source
from experiments.common.run_folder import read_record


class VisualizeConfig(NamedTuple):
    """A call of experiments.visualize.

    Attributes:
      run: folder of the run.
      pretrained: a model of another library, instead of a run: a folder with config.json and
        safetensors.
      other_run: folder of a second run, to stand beside the first; with --live, may be repeated.
      output: the page to write. Default: explorer.html in --run, or here with --pretrained;
        live.html with --live.
      live: write the page in which the model of --run computes, whatever is typed or hidden; of
        experiments.speech, one that plays recordings beside their alignments.
      replay: with --live: also show each checkpoint that the run has kept.
    """

    run: str | None = None
    pretrained: str | None = None
    other_run: tuple[str, ...] = ()
    output: str | None = None
    live: bool = False
    replay: bool = False
    inputs: PageFlags = PageFlags()
    decoding: DecodingFlags = DecodingFlags()
    device: DeviceFlags = DeviceFlags()


def main(arguments: Sequence[str]) -> None:
    """Reads what is given with each run, and writes the page."""
    write_page(flags.config_from_flags(VisualizeConfig()), arguments)


def write_page(own: VisualizeConfig, arguments: Sequence[str]) -> None:
    """Writes the page of a call.

    Args:
      arguments: flags that change the configurations of the runs.

    Raises:
      ValueError: a folder is none of a run that has a page, or flags do not go with one.
    """
    if own.live:
        return write_live_page(own, arguments)
    if own.replay:
        raise ValueError("`--replay` goes with --live; add it, or leave --replay out.")
    if len(own.other_run) > 1:
        raise ValueError(
            f"`--other_run` may be repeated with --live alone; got {len(own.other_run)}. Give one."
        )
    refuse_other_searches(own.decoding)
    one_source(own.run, own.pretrained)
    output = places.file("output", own.output or Path(own.run or ".") / "explorer.html")
    runs = runs_of(own, arguments)
    page = runs[0].experiment.page
    assert page is not None  # or `runs_of` refuses
    described = [explorer.Run(run.folder.resolve().name, page.about(run)) for run in runs]
    items = page.items(runs[0], own.inputs)
    if len(runs) > 1:
        page.check_alike(*runs)
    output.parent.mkdir(parents=True, exist_ok=True)
    text = explorer.page(described, shown(page, runs, items, own.inputs), of=page.noun)
    write_whole(output, text)
    noun = page.noun if len(items) == 1 else f"{page.noun}s"
    print(f"{output}: {len(items)} {noun}, {output.stat().st_size / 1e6:.2f} MB")


def write_live_page(own: VisualizeConfig, arguments: Sequence[str]) -> None:
    """Writes the live page of a call.

    Args:
      arguments: flags that change the configuration of the run.

    Raises:
      ValueError: the run has no such page, or flags do not go with it.
    """
    if own.pretrained is not None:
        raise ValueError(
            "`--live` needs a run that was trained here; got --pretrained="
            f"{own.pretrained}. Leave --live out."
        )
    runs = runs_of(own, arguments)
    page = runs[0].experiment.page
    assert page is not None  # or `runs_of` refuses
    if page.live is None:
        raise ValueError(
            "`--live` needs a run of experiments.translation, images or speech; got one of "
            f"experiments.{runs[0].experiment.name}. Leave --live out."
        )
    for other in runs[1:]:
        page.check_alike(runs[0], other)
    output = places.file("output", own.output or runs[0].folder / "live.html")
    output.parent.mkdir(parents=True, exist_ok=True)
    write_whole(output, page.live(LivePage(runs[0], own.inputs, runs[1:], own.replay)))
    print(f"{output}: {output.stat().st_size / 1e6:.2f} MB")


def runs_of(own: VisualizeConfig, arguments: Sequence[str]) -> list[Run]:
    """The runs of a call, or its pretrained model.

    Raises:
      ValueError: they are of two experiments, have no page, or do not go together.
    """
    beside = (VisualizeConfig(),)
    if own.pretrained is not None:
        if own.other_run:
            raise ValueError(
                f"`--other_run` goes with --run; got --pretrained={own.pretrained} beside it. "
                "Write a page of each."
            )
        return [load_pretrained(own.pretrained, arguments, member="page", beside=beside)]
    folders = [run_folder_of(own.run, "page")]
    folders += [run_folder_of(other, "page") for other in own.other_run]
    check_kinds(folders)
    return [load_run(folder, arguments, beside=beside) for folder in folders]


def shown(
    page: Page, runs: Sequence[Run], items: list[tuple[str, object]], given: PageFlags
) -> list[tuple[str, tuple[explorer.Reading, ...]]]:
    """Each title with the readings of all runs."""
    readings = zip(*(page.read(run, items, given) for run in runs), strict=True)
    return list(zip([title for title, _ in items], readings, strict=True))


def check_kinds(folders: Sequence[Path]) -> None:
    """Refuses runs of two experiments.

    Raises:
      ValueError: they are.
    """
    kinds = [read_record(folder).experiment for folder in folders]
    if len(set(kinds)) > 1:
        raise ValueError(
            f"`--other_run` must be of the experiment of `--run`; got experiments.{kinds[1]} "
            f"beside experiments.{kinds[0]}. Write a page of each."
        )


def refuse_other_searches(decoding: DecodingFlags) -> None:
    """Refuses searches other than the beam, whose best the page shows.

    Raises:
      ValueError: another is asked for.
    """
    for name in ("sample", "nbest"):
        if getattr(decoding, name) != getattr(DecodingFlags(), name):
            raise ValueError(
                f"`--{name}` does not go with this page, which shows what the beam finds; "
                "leave it out. --alternatives says how many are shown."
            )


if __name__ == "__main__":
    flags.launch(main, VisualizeConfig(), more=True)
