"""First parameters of a run by `--init_from`, and the flags that come with them."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
from flax import nnx

from attention_jax import pretrained
from attention_jax.core.types import Params
from attention_jax.nn.transformer import TransformerConfig
from attention_jax.pretrained.outline import Outline
from attention_jax.training import digests
from attention_jax.training.checkpoints import Checkpoints
from experiments.common import flags, initial, run_folder
from experiments.common.experiment import Experiment
from experiments.common.load_run import load_run
from experiments.common.pretrained_runs import attention_flag, use_of

NAME = "init_from"  # of the flag, and of its part of a run's data
FREE = ("dropout", "attention_dropout", "dtype", "remat")  # flags that a model may have anew
OF_TOKENIZERS = ("tokenizer", "tokenizer_file", "special_tokens", "vocabulary_size")
LENGTHS = ("context", "max_length")  # up to which positions are learned


def resolved(experiment: Experiment, config: Any) -> Any:
    """The configuration with the model of the place that it begins with, if it names one.

    A run that goes on has it from its own folder.

    Raises:
      FileNotFoundError: there is no such place.
      ValueError: flags contradict it, or it is of another experiment.
    """
    named, begun = initial.place(config), _begun(config)
    if begun is not None and os.path.exists(begun / initial.FILE):
        _check_same_place(named, begun)
        named = str(begun / initial.FILE)
        source = run_folder.read_config(experiment, begun)
    elif named is not None:
        named = initial.origin(named)
        source = _config_of(experiment, named)
    else:
        return config
    config = flags.replace(config, init_from=named)
    taken = _taken(config, source)
    _check_flags(experiment, config, taken, named)
    return flags.replace(config, **taken)


def of_models(config: Any) -> list[str]:
    """Names of the flags that a place says, whatever its positions."""
    groups = [group for group in (config.model, getattr(config, "sides", None)) if group]
    return [name for group in groups for name in flags.fields(group) if name not in FREE]


def read(experiment: Experiment, config: Any) -> Params | None:
    """The first parameters, on the host; None without a place, and where a checkpoint has others.

    Raises:
      ValueError: the place holds no trained model.
    """
    named = initial.place(config)
    begun = _begun(config)
    if named is None or (begun is not None and Checkpoints(begun / "checkpoints").steps()):
        return None
    named = initial.origin(named)
    found = load_run(named) if initial.is_run(named) else pretrained.load(named)
    return jax.device_get(found.params)


def hashes(config: Any, params: Params | None) -> dict[str, str]:
    """The content hash of first parameters, as a part of a run's data.

    A run that goes on from a checkpoint does not read them, and has that of its record.
    """
    begun = _begun(config)
    if params is not None:
        return {NAME: digests.digest(digests.by_path(params))}
    if initial.place(config) is None or begun is None:
        return {}
    kept = run_folder.read_record(begun).data
    return {NAME: kept[NAME]} if NAME in kept else {}


def _begun(config: Any) -> Path | None:
    """The folder of a run that goes on."""
    own = config.run
    return Path(own.run) if own.resume and own.run and initial.is_run(own.run) else None


def _check_same_place(named: str | None, folder: Path) -> None:
    """Refuses another place than that with which a run began, wherever its folder was then."""
    kept = folder / initial.FILE
    first = initial.origin(str(kept))
    if named is not None:
        is_copy = Path(named).name == initial.FILE
        if is_copy and (not os.path.exists(named) or initial.origin(named) == first):
            return
        if os.path.realpath(named) == os.path.realpath(first):
            return
    raise ValueError(
        f"`--init_from` must be as it was when the run began; {folder} began with {first}, and "
        f"this call has {named or 'none'}. Give --flagfile={folder / 'run.flags'}, or start "
        "another run by --run."
    )


def _config_of(experiment: Experiment, named: str) -> Any:
    """The configuration of a run, or as far as there is one of a model of another library."""
    if initial.is_run(named):
        own = run_folder.read_record(Path(named)).experiment
        if own != experiment.name:
            raise ValueError(
                f"`--init_from` must be a run of experiments.{experiment.name}; {named} is of "
                f"experiments.{own}."
            )
        return run_folder.read_config(experiment, Path(named))
    found = initial.given_outline(named)
    assert found is not None
    config = found.network
    sides = config if isinstance(config, tuple) and not hasattr(config, "width") else (config,)
    model = nnx.eval_shape(lambda: found.build(jax.random.key(0)))
    if use_of(model) != experiment.name or not all(isinstance(x, TransformerConfig) for x in sides):
        raise ValueError(
            f"`--init_from` must name a model that experiments.{experiment.name} can train; "
            f"{named} is a {found.family.name} model."
        )
    return flags.replace(experiment.config, init_from=named, **attention_flag(config))


def _taken(config: Any, source: Any) -> dict[str, Any]:
    """Flags that are those of the source."""
    known, names = flags.values(source), of_models(source)
    if known["positions"] == "learned" and initial.given_outline(initial.place(source)) is None:
        names += [name for name in LENGTHS if name in known]
    return {name: known[name] for name in names}


def _check_flags(experiment: Experiment, config: Any, taken: Mapping[str, Any], named: str) -> None:
    """Refuses flags that a model or its tokenizer says otherwise."""
    given, default = flags.values(config), flags.values(experiment.config)
    for name, own in taken.items():
        if given[name] not in (default[name], own):
            raise ValueError(
                f"`--{name}` is that of --init_from={named}; got --{name}={given[name]}. Leave one "
                "of the two out."
            )
    for name in OF_TOKENIZERS:
        if name in given and given[name] != default[name]:
            raise ValueError(
                f"`--{name}` does not go with --init_from={named}, which has its own tokenizer; "
                f"got --{name}={given[name]}. Leave one of the two out."
            )
    found = initial.given_outline(initial.place(config))
    if found is not None:
        _check_fits(found, given, named)


def _check_fits(found: Outline, given: Mapping[str, Any], named: str) -> None:
    """Refuses lengths and losses that a model of another library cannot have."""
    config = found.network
    side = config if hasattr(config, "max_length") else config.decoder
    for name in LENGTHS:
        if name in given and side.positions == "learned" and given[name] > side.max_length:
            raise ValueError(
                f"`--{name}` must be at most {side.max_length}, the learned positions of "
                f"--init_from={named}; got {given[name]}."
            )
    if given["label_smoothing"] and found.order is not None and found.order.silent:
        raise ValueError(
            f"`--label_smoothing` must be 0 with --init_from={named}, some of whose tokens are "
            f"never written; got {given['label_smoothing']}."
        )
