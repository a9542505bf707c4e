"""The folder of a run: what repeats it stands there before anything is trained."""

import json
import os
import platform
import shlex
import shutil
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax

import attention_jax
from attention_jax import variants
from attention_jax.core.files import write_whole
from attention_jax.core.messages import said
from experiments.common import attention_files, flags, initial, leftovers, old_forms, places, seals
from experiments.common.experiment import Experiment

FORMAT_VERSION = 2
RECORD = "run.json"
_FIRST_LINE = "# python -m experiments."


class Record(NamedTuple):
    """The contents of run.json: what a run is made of, beside its flags.

    Attributes:
      format_version: of the folder; 0 where there is no run.json.
      experiment: whose run it is.
      id: sealed into its checkpoints, so that those of another run are told apart; "" for runs
        that were begun without one.
      data: the content hash of each part of its data; empty where nothing is read.
      files: that of each attention's file in the folder.
      known: that of each file of what its model knows of the data, such as vocabulary.json.
      sealed: run.flags ends with its checksum; runs of earlier versions had none.
      left_out: how many items of its data are not learned from, by the reason.
    """

    format_version: int
    experiment: str
    id: str = ""
    data: Mapping[str, str] = {}
    files: Mapping[str, str] = {}
    known: Mapping[str, str] = {}
    sealed: bool = False
    left_out: Mapping[str, int] = {}

    @property
    def identity(self) -> dict[str, str]:
        """The marks that the run's checkpoints must bear."""
        return {"run": self.id} if self.id else {}


def read_record(folder: Path) -> Record:
    """The record of a run.

    Runs of version 0 have none: the first line of their run.flags names the experiment, and those
    that have no such line are translations.

    Raises:
      ValueError: the folder is none of a run, or of a later version.
    """
    kept = folder / "run.flags"
    if not os.path.exists(kept):  # pathlib raises where a name is too long
        where = leftovers.where_is_the_old(folder)
        raise ValueError(
            f"`--run` must be the folder of a run; {folder} holds no run.flags.{where}"
        )
    path = folder / RECORD
    if not path.exists():
        first = kept.read_text(encoding="utf-8", errors="replace").partition("\n")[0]
        named = first.startswith(_FIRST_LINE)
        return Record(0, first.rpartition(".")[2] if named else "translation")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        version, own = found["format_version"], str(found["experiment"])
        fields = {name: found[name] for name in Record._fields if name in found}
        is_known = version <= FORMAT_VERSION
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"`--run` must be the folder of a run; {path} is damaged ({type(error).__name__} on "
            "reading it). Put back the file of a copy, or train anew."
        ) from None
    if is_known:
        seals.check_record(path, found)
        return Record(**fields)
    raise ValueError(
        f"`--run` must be of format version {FORMAT_VERSION} or earlier; {folder}, of "
        f"experiments.{own}, is of {version}. Update attention_jax, or train anew."
    )


def choose(
    experiment: Experiment, config: Any, task: str, data: Mapping[str, str] | None = None
) -> Path:
    """The folder that a run is to have; nothing in it is changed yet.

    An old run that an `--overwrite` had put aside when it was killed is given its name back.

    Args:
      task: in its name, where --run does not say.
      data: content hashes of its data.

    Raises:
      ValueError: the folder is in use, or holds nothing to go on with or to delete.
    """
    run, (model, attention) = config.run, experiment.named(config)
    name = "-".join((task, model, variants.slug(attention)))
    folder = places.folder("run", run.run or Path("runs") / name)
    leftovers.put_back(folder)
    is_run = (folder / "run.flags").exists()
    is_new = not folder.exists() or leftovers.never_began(
        folder, {path.name for path in attention_files.named(config)}
    )
    if not is_new and not run.resume:
        if not run.overwrite:
            raise ValueError(
                f"`--run` must be a new folder; {folder} is in use. Go on with it by --resume, "
                "start anew by --overwrite, or name another."
            )
        if not is_run:
            raise ValueError(f"`--overwrite` deletes only runs; {folder} holds no run.flags.")
    if run.resume and not is_run:
        raise ValueError(
            f"`--resume` needs a run that was started; {folder} holds no run.flags. Name its "
            "folder by --run, or leave --resume out to start one."
        )
    if run.resume:
        _check_same_run(experiment, config, folder, data or {})
    return folder


def new_record(experiment: Experiment, data: Mapping[str, str] | None = None) -> Record:
    """The record of a run that is about to begin."""
    return Record(FORMAT_VERSION, experiment.name, id=uuid.uuid4().hex, data=dict(data or {}))


def accept(
    experiment: Experiment, config: Any, known: Any, folder: Path, record: Record | None = None
) -> None:
    """Writes what repeats a run that nothing refuses any more.

    A new run begins with its run.flags, which come last: a folder that has them is a run, which can
    go on or be deleted, and one that has not counts as empty. What a failure leaves is deleted.

    Args:
      record: of the run; by default a new one.

    Raises:
      OSError: the disk is full, or the folder may not be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    is_new = not (folder / "run.flags").exists()
    try:
        if is_new:
            leftovers.clear(folder)
        _write(experiment, config, known, folder, record or new_record(experiment), is_new)
    except BaseException:
        if is_new:
            leftovers.clear(folder)
        raise
    leftovers.drop(folder)


def _write(
    experiment: Experiment, config: Any, known: Any, folder: Path, record: Record, is_new: bool
) -> None:
    """Writes the files of a run: run.flags last of a new one, before run.json of one that goes on.

    A kill in between leaves flags with a checksum and a record that demands none, never the other
    way round.
    """
    files = attention_files.keep(config, folder)
    others = set(os.listdir(folder))
    experiment.keep(known, folder)
    initial.keep(config, folder)
    hashes = record.known
    if is_new:
        hashes = seals.hashes_of(folder, set(os.listdir(folder)) - others)
    write_whole(folder / "environment.json", json.dumps(environment(), indent=2) + "\n")
    record = record._replace(files=files, known=hashes, sealed=True)
    own = {
        "run.flags": seals.sealed_lines(text(experiment, inside(config, folder))),
        RECORD: seals.sealed_record(record._asdict()),
    }
    for name in sorted(own, reverse=is_new):
        write_whole(folder / name, own[name])


def text(experiment: Experiment, config: Any) -> str:
    """All flags that decide the result, one a line, as `--flagfile=` reads them."""
    return "\n".join([f"{_FIRST_LINE}{experiment.name}", *sorted(flags.lines(config).values()), ""])


def inside(config: Any, folder: Path) -> Any:
    """The configuration with the files that it names as the folder keeps them."""
    return initial.inside(attention_files.inside(config, folder), folder)


def read_config(experiment: Experiment, folder: Path) -> Any:
    """The configuration that a run's run.flags holds.

    Raises:
      ValueError: it holds what this version does not know.
    """
    content = (folder / "run.flags").read_text(encoding="utf-8", errors="replace")
    kept = content.splitlines()
    if not any(line.startswith("--") for line in kept):
        raise ValueError(
            f"`--run` must be the folder of a run; {folder / 'run.flags'} holds no flags. Put back "
            "the file of a copy, or train anew."
        )
    record = read_record(folder)
    seals.check_lines(folder / "run.flags", content, demanded=record.sealed)
    first = as_begun(experiment.config, record)
    found = flags.from_lines(first, kept, source=str(folder / "run.flags"))
    return inside(_attentions_of(found, record), folder)


def _attentions_of(config: Any, record: Record) -> Any:
    """The configuration, whose attentions mean what they meant when the run began."""
    if record.format_version > 1:
        return config
    known = flags.values(config)
    texts = {name: known.get(name) for name in ("attention", "cross_attention")}
    own = {name: old_forms.as_then(text) for name, text in texts.items() if text}
    return flags.replace(config, **own)


def as_begun(config: Any, record: Record) -> Any:
    """The configuration without what runs of an earlier version did not do."""
    if record.format_version > 0:
        return config
    off = {"unicode": "none", "ground": "none"}
    known = flags.values(config)
    return flags.replace(config, **{name: x for name, x in off.items() if name in known})


def changes(then: tuple, now: tuple) -> dict[str, tuple[str, str]]:
    """Flags that decide the result and differ: the line of each then and now, "" for none."""
    before, after = flags.lines(then), flags.lines(now)
    names = sorted(name for name in before | after if before.get(name) != after.get(name))
    return {name: (before.get(name, ""), after.get(name, "")) for name in names}


def next_command(folder: Path, argument: str) -> str:
    """A line that says how to use a run that is trained, quoted as a shell needs it."""
    found = shutil.which("python")
    python = "python" if found == sys.executable else os.path.relpath(sys.executable)
    words = (python, "-m", "experiments.predict", f"--run={folder}", argument)
    return said("next: {command}").format(command=shlex.join(words))


def size_and_time(summary: Mapping[str, Any]) -> str:
    """A line that says how large the model is, and how long it was trained."""
    line = said("{parameters:,} parameters, {seconds:.0f} s of training")
    return line.format(parameters=summary["parameters"], seconds=summary["seconds"])


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


def _check_same_run(
    experiment: Experiment, config: Any, folder: Path, data: Mapping[str, str]
) -> None:
    """Refuses to go on with a run that another call began, or with other data."""
    record = read_record(folder)
    own = record.experiment
    if own != experiment.name:
        raise ValueError(
            f"`--resume` goes on with what the run began with; {folder} is of experiments.{own}, "
            f"and this call of experiments.{experiment.name}. Start another run by --run."
        )
    rules: Mapping[str, Any] = {n: f.rules for n, f in flags.fields(config).items()}
    attention_files.check_kept(config, folder, record.files)
    seals.check_files(folder, record.known)
    found = changes(read_config(experiment, folder), inside(config, folder))
    # What names the data may change where the data are known to be the same.
    free = {name for name, rule in rules.items() if rule.may_change or (rule.data and record.data)}
    changed = [both for name, both in found.items() if name not in free]
    if changed:
        old, new = (line or "no such flag" for line in changed[0])
        raise ValueError(
            f"`--resume` goes on with what the run began with; {folder} has {old}, and this call "
            f"{new}. Give --flagfile={folder / 'run.flags'}, or start another run by --run."
        )
    _check_same_data(record.data, data, folder)


def differing(one: Mapping[str, str], other: Mapping[str, str]) -> list[str]:
    """Names of parts of data whose content hashes differ, or that one side alone has."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def _check_same_data(then: Mapping[str, str], now: Mapping[str, str], folder: Path) -> None:
    """Refuses data whose contents are not those that a run began with."""
    if not then:  # of a run that was begun before contents were recorded
        return
    if changed := differing(then, now):
        raise ValueError(
            f"`--resume` goes on with the data that the run began with; since {folder} was begun, "
            f"the contents of {', '.join(changed)} have changed. Give the data of that time, "
            "wherever they are now, or start another run by --run."
        )
