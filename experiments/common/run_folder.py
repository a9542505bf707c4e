"""The folder of a run: what repeats it stands there before anything is trained."""

import json
import os
import platform
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax

import attention_jax
from attention_jax import variants
from attention_jax.core.files import write_whole
from attention_jax.data.tokenizer import Tokenizer
from experiments.common import flags
from experiments.common.experiment import Experiment

FORMAT_VERSION = 1
RECORD = "run.json"
VOCABULARY = "vocabulary.json"
_FIRST_LINE = "# python -m experiments."
_FILE = re.compile(r"^([^()\[\]]*?\.py)(?=$|[:(])")  # of an attention of one's own


class Record(NamedTuple):
    """The contents of run.json.

    Attributes:
      format_version: of the folder; 0 where there is no run.json.
      experiment: whose run it is.
    """

    format_version: int
    experiment: str


def read_record(folder: Path) -> Record:
    """The record of a run.

    Runs of version 0 have none: the first line of their run.flags names the experiment, and those
    that have no such line are translations.

    Raises:
      ValueError: the folder is none of a run, or of a later version.
    """
    kept = folder / "run.flags"
    if not kept.exists():
        raise ValueError(f"`--run` must be the folder of a run; {folder} holds no run.flags.")
    path = folder / RECORD
    if not path.exists():
        first = kept.read_text(encoding="utf-8").partition("\n")[0]
        named = first.startswith(_FIRST_LINE)
        return Record(0, first.rpartition(".")[2] if named else "translation")
    found = json.loads(path.read_text(encoding="utf-8"))
    if found["format_version"] > FORMAT_VERSION:
        raise ValueError(
            f"`--run` must be of format version {FORMAT_VERSION} or earlier; {folder} is of "
            f"{found['format_version']}. Update attention_jax, or train anew."
        )
    return Record(found["format_version"], found["experiment"])


def choose(experiment: Experiment, config: Any, task: str) -> Path:
    """The folder that a run is to have; nothing in it is changed yet.

    Args:
      task: in its name, where --run does not say.

    Raises:
      ValueError: the folder is in use, or holds nothing to go on with or to delete.
    """
    run, model = config.run, config.model
    name = "-".join((task, model.model, variants.slug(model.attention_text)))
    folder = Path(run.run or Path("runs") / name)
    is_run = (folder / "run.flags").exists()
    if folder.exists() and any(folder.iterdir()) and not run.resume:
        if not run.overwrite:
            raise ValueError(
                f"`--run` must be a new folder; {folder} is in use. Go on with it by --resume, "
                "start anew by --overwrite, or name another."
            )
        if not is_run:
            raise ValueError(f"`--overwrite` deletes only runs; {folder} holds no run.flags.")
    if run.resume and not is_run:
        raise ValueError(f"`--resume` needs a run that was started; {folder} holds no run.flags.")
    if run.resume:
        _check_same_run(experiment, config, folder)
    return folder


def accept(experiment: Experiment, config: Any, known: Any, folder: Path) -> None:
    """Writes what repeats a run that nothing refuses any more.

    run.flags comes first: a folder that has it is a run, which can go on or be deleted.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _keep_attention(config, folder)
    write_whole(folder / "run.flags", text(experiment, inside(config, folder)))
    record = Record(FORMAT_VERSION, experiment.name)
    write_whole(folder / RECORD, json.dumps(record._asdict()) + "\n")
    write_whole(folder / "environment.json", json.dumps(environment(), indent=2) + "\n")
    experiment.keep(known, folder)


def text(experiment: Experiment, config: Any) -> str:
    """All flags that decide the result, one a line, as `--flagfile=` reads them."""
    return "\n".join([f"{_FIRST_LINE}{experiment.name}", *sorted(flags.lines(config).values()), ""])


def read_config(experiment: Experiment, folder: Path) -> Any:
    """The configuration that a run's run.flags holds.

    Raises:
      ValueError: it holds what this version does not know.
    """
    kept = (folder / "run.flags").read_text(encoding="utf-8").splitlines()
    found = flags.from_lines(experiment.config, kept, source=str(folder / "run.flags"))
    return inside(found, folder)


def inside(config: Any, folder: Path) -> Any:
    """The configuration with an attention's file as the folder keeps it."""
    for name in ("attention", "cross_attention"):
        own = getattr(config.model, name)
        file = attention_file(own)
        if own and file and (folder / file.name).exists():
            moved = f"{folder / file.name}{own.removeprefix(str(_FILE.match(own)[1]))}"  # ty: ignore
            config = flags.replace(config, **{name: moved})
    return config


def attention_file(attention: str | None) -> Path | None:
    """The file that an attention's text names; None for one of the library."""
    found = _FILE.match(attention or "")
    return Path(found[1]) if found else None


def keep_vocabulary(vocabulary: Tokenizer, folder: Path) -> None:
    """Writes a run's vocabulary, where it is not there yet."""
    if not (folder / VOCABULARY).exists():
        vocabulary.save(folder / VOCABULARY)


def recall_vocabulary(config: Any, folder: Path) -> Tokenizer:
    """The vocabulary of a run."""
    del config
    return Tokenizer.load(folder / VOCABULARY)


def same_vocabulary(vocabulary: Tokenizer, folder: Path | None) -> Tokenizer:
    """The vocabulary of data, which must be that of a folder that has one.

    Raises:
      ValueError: the run began with another.
    """
    if folder is None or not (folder / VOCABULARY).exists():
        return vocabulary
    kept = Tokenizer.load(folder / VOCABULARY)
    ours, theirs = (one.tokens(range(one.size)) for one in (vocabulary, kept))
    if ours != theirs:
        raise ValueError(
            f"`--resume` goes on with the data that the run began with; {folder} has learned "
            f"{len(theirs)} tokens, and these data have {len(ours)}, which differ. Name the data "
            "of that time, or start another run by --run."
        )
    return vocabulary


def changes(then: tuple, now: tuple) -> dict[str, tuple[str, str]]:
    """Flags that decide the result and differ: the line of each then and now, "" for none."""
    before, after = flags.lines(then), flags.lines(now)
    names = sorted(name for name in before | after if before.get(name) != after.get(name))
    return {name: (before.get(name, ""), after.get(name, "")) for name in names}


def next_command(folder: Path, argument: str) -> str:
    """A line that says how to use a run that is trained."""
    found = shutil.which("python")
    python = "python" if found == sys.executable else os.path.relpath(sys.executable)
    return f"next: {python} -m experiments.predict --run={folder} {argument}"


def environment() -> dict[str, Any]:
    """Versions and machine of a run."""
    return {
        "attention_jax": attention_jax.__version__,
        "jax": jax.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "devices": [str(device) for device in jax.devices()],
        "command": sys.argv,
    }


def _check_same_run(experiment: Experiment, config: Any, folder: Path) -> None:
    """Refuses to go on with a run that another call began."""
    own = read_record(folder).experiment
    if own != experiment.name:
        raise ValueError(
            f"`--resume` goes on with what the run began with; {folder} is of experiments.{own}, "
            f"and this call of experiments.{experiment.name}. Start another run by --run."
        )
    rules: Mapping[str, Any] = {n: f.rules for n, f in flags.fields(config).items()}
    _check_attention(config, folder)
    found = changes(read_config(experiment, folder), inside(config, folder))
    changed = [both for name, both in found.items() if not rules[name].may_change]
    if changed:
        old, new = (line or "no such flag" for line in changed[0])
        raise ValueError(
            f"`--resume` goes on with what the run began with; {folder} has {old}, and this call "
            f"{new}. Give --flagfile={folder / 'run.flags'}, or start another run by --run."
        )


def _check_attention(config: Any, folder: Path) -> None:
    """Refuses a file of an attention that is not as it was when the run began."""
    for given in map(attention_file, (config.model.attention, config.model.cross_attention)):
        kept = folder / given.name if given else None
        if given is None or kept is None or not kept.exists() or not given.exists():
            continue
        if kept.read_bytes() != given.read_bytes():
            raise ValueError(
                f"`--attention` must be as it was when the run began; {given} differs from "
                f"{kept}. Give that one, or start another run by --run."
            )


def _keep_attention(config: Any, folder: Path) -> None:
    """Copies files of attentions into the folder, where they are read from then on."""
    for given in map(attention_file, (config.model.attention, config.model.cross_attention)):
        if given is not None and (folder / given.name).resolve() != given.resolve():
            shutil.copyfile(given, folder / given.name)


def check_attention(config: Any) -> Any:
    """The configuration, once its attentions are known to exist.

    A run that goes on reads a file that is no longer where it was from its own folder.

    Raises:
      ValueError: no such attention.
    """
    given = attention_file(config.model.attention)
    if config.run.resume and config.run.run and given and not given.exists():
        config = inside(config, Path(config.run.run))
    for named in (config.model.attention_text, config.model.cross_attention):
        if named and named != "none":
            variants.resolve(named)
    return config
