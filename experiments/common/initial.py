"""Weights that training begins with, `--init_from=PLACE`, and what a run's folder keeps of them.

A place is the folder of a run, whose flags say its model, or a model of another library. Of that
the run keeps an outline in init.json, so that nothing has to stay where it was.
"""

import json
import os
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from attention_jax.core.files import write_whole
from attention_jax.data.tokenizer import Tokenizer
from attention_jax.nn.lora import ATTENTIONS
from attention_jax.pretrained.outline import Outline, outline, restored
from attention_jax.pretrained.types import replaced
from experiments.common import flags, vocabularies
from experiments.common.config import ModelFlags
from experiments.common.flags import Flag

FILE = "init.json"


class InitFlags(NamedTuple):
    """The weights that training begins with.

    Attributes:
      init_from: begin with the weights, the model and the tokenizer of this place: the folder of a
        run of this experiment, or a model of another library as --pretrained of
        experiments.predict takes it. Flags of rates of dropout, --dtype and --remat go with it,
        others of models and tokenizers do not. Default: random weights.
      lora_rank: train low-rank adapters of this rank instead of the weights, which they are added
        to at the end of the run. Default: train the weights.
      lora_alpha: how much an adapter counts: it is multiplied by alpha / rank. Default: the rank.
      lora_targets: a regular expression that occurs in the paths of the kernels with an adapter.
    """

    init_from: str | None = None
    lora_rank: Annotated[int | None, Flag(low=1)] = None
    lora_alpha: float | None = None
    lora_targets: str = ATTENTIONS


def place(config: Any) -> str | None:
    """The place that --init_from names; None of an experiment without the flag."""
    return flags.values(config).get("init_from")


def is_run(named: str) -> bool:
    """True for the folder of a run."""
    return os.path.exists(Path(named, "run.flags"))


def origin(named: str) -> str:
    """The place that a run's init.json tells of; any other place is its own."""
    return _read(Path(named))["from"] if Path(named).name == FILE else named


def given_outline(named: str | None) -> Outline | None:
    """The outline of the model of a place; None where flags say the model.

    Raises:
      FileNotFoundError: there is no such model.
      ValueError: it cannot be read.
    """
    if named is None:
        return None
    path = Path(named, FILE) if is_run(named) else Path(named)
    if path.name != FILE:
        return _outline(named)
    if is_run(named) and not os.path.exists(path):
        return None
    described = _read(path)["model"]
    if described is None:
        return None
    return restored(described, Tokenizer.load(path.parent / vocabularies.VOCABULARY))


def with_flags(named: str | None, own: ModelFlags) -> Outline | None:
    """As `given_outline`, with rates of dropout and a type of the computation from flags."""
    found = given_outline(named)
    if found is None:
        return None
    rates = {"dropout_rate": own.dropout, "attention_dropout_rate": own.attention_dropout}
    config = replaced(found.config, dtype=own.dtype, remat=own.remat, **rates)
    return found._replace(config=config)


def tokenizer(named: str | None, folder: Path | None) -> Tokenizer | None:
    """The tokenizer of a place, or that which the folder of a run keeps; None without a place.

    Raises:
      ValueError: the place has none.
    """
    if named is None:
        return None
    if (own := vocabularies.kept(folder)) is not None:
        return own
    run = Path(named).parent if Path(named).name == FILE else Path(named)
    found = vocabularies.kept(run) if is_run(str(run)) else _outline(named).tokenizer
    if found is None:
        raise ValueError(
            f"`--init_from` must have a tokenizer beside its weights; {named} has none. Fetch "
            "tokenizer.json, or the SentencePiece model, from where the weights came."
        )
    return found


def inside(config: Any, folder: Path) -> Any:
    """The configuration with its place as the folder keeps it."""
    if place(config) is None or not os.path.exists(folder / FILE):
        return config
    return flags.replace(config, init_from=str(folder / FILE))


def keep(config: Any, folder: Path) -> None:
    """Writes what the folder keeps of a place, where it does not yet."""
    named = place(config)
    if named is None or os.path.exists(folder / FILE):
        return
    found = given_outline(named)
    content = {"from": named, "model": None if found is None else found.described()}
    write_whole(folder / FILE, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


@lru_cache(maxsize=2)
def _outline(named: str) -> Outline:
    try:
        return outline(named)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"`--init_from` must name the folder of a run, or a model of another library; {error}"
        ) from None


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {name: found[name] for name in ("from", "model")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"A run that began with --init_from must hold {FILE}; {path} is missing or damaged "
            f"({type(error).__name__} on reading it). Put back the file of a copy."
        ) from None
