"""Models of other libraries, used as trained runs are: `--pretrained=FOLDER`."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from flax import nnx

from attention_jax import pretrained, variants
from attention_jax.models.whisper import WhisperEncoder
from attention_jax.pretrained.loading import Pretrained
from experiments.common import flags
from experiments.common.config import DecodingFlags, DeviceFlags, MeshFlags
from experiments.common.experiment import Experiment, Run, Use, use

# What a model answers to, and the experiment whose runs do, the first that fits.
USES = {
    "decode": "translation",
    "logits": "language",
    "classify": "images",
    "guesses": "encoders",
}
# Flags of data and runs that change how a model is used, not how one is made.
_READ = (
    "seed",
    "data_dir",
    "context",
    "characters",
    "stop_at_end",
    "resample",
    "skip_bad",
    "ground",
)


def load_pretrained(
    path: str | Path, arguments: Sequence[str], *, member: str, beside: Sequence[tuple] = ()
) -> Run:
    """A pretrained model as a run of the experiment that uses such models.

    Args:
      path: what `pretrained.load` takes.
      arguments: flags of that experiment, such as `["--beam=5"]`.
      member: of `Experiment`, which must not be None.
      beside: groups whose flags may stand among the arguments too.

    Raises:
      FileNotFoundError: there is no such model.
      ValueError: it cannot be read, no experiment can use it so, or an argument says how a model
        is made.
    """
    loaded = pretrained.load(path)
    experiment = _experiment(loaded, member, path)
    config = flags.replace(experiment.config, **attention_flag(loaded.config))
    run = Run(experiment, config, Path(path), None, loaded.graphdef, loaded.params, loaded)
    assert experiment.adopt is not None  # or `_experiment` refuses
    run = experiment.adopt(loaded, run)
    config, given = flags.parse(run.config, arguments, beside=beside)
    _refuse_model_flags(experiment, config, given)
    return run._replace(config=config)


def with_tokenizer(loaded: Pretrained, run: Run) -> Run:
    """The run of a model that reads or writes text.

    Raises:
      ValueError: the model came without a tokenizer.
    """
    if loaded.tokenizer is None:
        raise ValueError(
            f"`--pretrained` must hold a tokenizer beside its weights; {run.folder} has none. "
            "Fetch tokenizer.json, or the SentencePiece model, from where the weights came."
        )
    return run._replace(known=loaded.tokenizer)


def one_source(run: str | None, given: str | None) -> None:
    """Refuses a call that names no model, or two.

    Raises:
      ValueError: both flags are given, or none.
    """
    if (run is None) == (given is None):
        raise ValueError(
            f"`--run` or `--pretrained` must name a model; got --run={run}, --pretrained={given}. "
            "Give one of the two."
        )


def use_of(model: nnx.Module) -> str | None:
    """The experiment whose runs have such a model; None where none has."""
    if isinstance(getattr(model, "encoder", None), WhisperEncoder):
        return "speech"
    return next((use for method, use in USES.items() if hasattr(model, method)), None)


def attention_flag(network: Any) -> dict[str, str]:
    """The flag that says a network's attention; none where each side has its own."""
    network = getattr(network, "transformer", network)
    attention = getattr(network, "attention", None)
    return {} if attention is None else {"attention": variants.label(attention)}


def _refuse_model_flags(
    experiment: Experiment | Use, config: tuple, given: Collection[str]
) -> None:
    """Refuses flags that say how a model is made and trained, which this one is already."""
    if isinstance(experiment, Experiment):
        kinds = (DecodingFlags, DeviceFlags, MeshFlags)
        used = {*_READ, *(name for kind in kinds for name in kind._fields)}
    else:
        used = set(flags.values(config)) - {"attention"}
    for name in flags.values(config):
        if name in given and name not in used:
            raise ValueError(
                f"`--{name}` does not go with --pretrained, whose model is as its files say; got "
                f"--{name}={flags.values(config)[name]}. Leave it out."
            )


def _experiment(loaded: Pretrained, member: str, path: str | Path) -> Experiment | Use:
    name = use_of(loaded.model)
    found = None if name is None else use(name)
    if found is None or found.adopt is None or getattr(found, member) is None:
        said = f"{loaded.family.name} model, of which `attention_jax.pretrained.load` gives the"
        raise ValueError(
            f"`--pretrained` must name a model that this command can use; {path} is a {said} value."
        )
    return found
