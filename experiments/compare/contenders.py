"""Contenders with weights that are there: `init:PLACE` is trained on, `as_is:PLACE` is not.

A place is what --init_from takes: a run, or a model of another library. Its model and its tokens
are its own, so it is matched in no size, and the data are read for it in its tokens.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from attention_jax.data.tokenizer import Tokenizer
from experiments.common import first_weights, flags, initial
from experiments.common.experiment import find, names
from experiments.compare.config import TRAINED, UNTRAINED, Comparison

# Of a run that trains nothing.
_AS_IS = {"steps": 0, "learning_rate": 0.0, "final_rate": 0.0, "label_smoothing": 0.0}
_FIRST = ("parameters", "flops")  # matches whose measure the first candidate sets


class Source(NamedTuple):
    """The data of runs, and what their models know of them."""

    data: Any
    known: Any


def is_trained(item: str) -> bool:
    """True for `init:PLACE`, False for `as_is:PLACE`."""
    return item.partition(":")[0] == TRAINED


def name(item: str) -> str:
    """The name of a contender, which says what becomes of the weights."""
    last = re.sub(r"[^\w.+-]+", "_", Path(_place(item)).name).strip("_.")
    return f"{last or 'weights'}-{'trained_on' if is_trained(item) else UNTRAINED}"


def flags_of(comparison: Comparison, item: str) -> dict[str, Any]:
    """Flags of a contender: its place, and no other of models and tokenizers.

    Raises:
      ValueError: no place is named, or the experiment begins with no weights.
    """
    experiment = comparison.experiment
    default = flags.values(experiment.config)
    if first_weights.NAME not in default:
        able = [x for x in names() if first_weights.NAME in flags.values(find(x).config)]
        raise ValueError(
            f"`--models={item}` goes with experiments that have --init_from, {' and '.join(able)}; "
            f"got --experiment={experiment.name}."
        )
    if not _place(item):
        raise ValueError(f"`--models` must name a place behind {item}; got none. Write {item}PATH.")
    tokens = [x for x in first_weights.OF_TOKENIZERS if x in default]
    own = {x: default[x] for x in (*first_weights.of_models(experiment.config), *tokens)}
    return own | {first_weights.NAME: _place(item)} | ({} if is_trained(item) else _AS_IS)


def check(comparison: Comparison, item: str, own: Mapping[str, Any]) -> None:
    """Refuses a place from which a run of the comparison could not begin.

    Raises:
      ValueError: there is none, it is of another kind, has no weights, or reads other lengths.
    """
    place = _place(item)
    if initial.is_run(place) and not any(Path(place, x).is_dir() for x in ("final", "checkpoints")):
        raise ValueError(f"`--models={item}` must name a trained model; {place} has no checkpoint.")
    try:
        config = resolved(comparison, own)
        initial.tokenizer(place, None)
    except (FileNotFoundError, ValueError) as error:
        raise ValueError(f"`--models={item}` is no contender here: {error}") from None
    then, now = comparison.values, flags.values(config)
    for length in first_weights.LENGTHS:
        if length in then and then[length] != now[length]:
            raise ValueError(
                f"`--{length}` must be that of all; {place} has learned {now[length]} positions, "
                f"and others have --{length}={then[length]}. Add --{length}={now[length]}."
            )


def check_first(comparison: Comparison, own: Mapping[str, Any]) -> None:
    """Refuses a contender as the measure of sizes or operations, which no width of it changes."""
    if first_weights.NAME in own and comparison.match in _FIRST:
        raise ValueError(
            f"`--models` must begin with a model that sets the measure of --match="
            f"{comparison.match}; got {comparison.models[0]}, whose size is its own. Put it later, "
            "or use --match=steps."
        )


def resolved(comparison: Comparison, own: Mapping[str, Any]) -> Any:
    """The configuration of a candidate, with the model of its place if it has one."""
    config = flags.replace(comparison.shared, **own)
    return first_weights.resolved(comparison.experiment, config)


def sources(
    comparison: Comparison, compared: Mapping[str, Mapping[str, Any]], shared: Source
) -> dict[str, Source]:
    """The data of each contender in its own tokens, by its name.

    Args:
      comparison: what is compared.
      compared: flags of contenders, by their names.
      shared: the data of all others.

    Raises:
      ValueError: the score that is compared is none of its tokens.
    """
    of_places: dict[str, Source] = {}
    experiment = comparison.experiment
    if compared:
        experiment.scorer(comparison.shared, *shared).check(comparison.score)
    for own in compared.values():
        place = own[first_weights.NAME]
        if place not in of_places:
            config = resolved(comparison, own)
            data = experiment.load(config)
            of_places[place] = Source(data, experiment.learn(config, data, None))
            _check_score(comparison, config, of_places[place], shared, place)
    return {name: of_places[own[first_weights.NAME]] for name, own in compared.items()}


def has_own_tokens(own: Source, shared: Source) -> bool:
    """True where a text is other tokens to a contender than to the others."""
    both = own.known, shared.known
    return not all(isinstance(x, Tokenizer) for x in both) or len({x.to_text() for x in both}) > 1


def _check_score(
    comparison: Comparison, config: Any, own: Source, shared: Source, place: str
) -> None:
    experiment, score = comparison.experiment, comparison.score
    if score in experiment.of_tokens and has_own_tokens(own, shared):
        others = [x for x in experiment.measures if x not in experiment.of_tokens]
        raise ValueError(
            f"`--score={score}` counts tokens, and those of {place} are its own; use "
            f"--score={' or '.join(others)}."
        )
    try:
        experiment.scorer(config, *own).check(score)
    except ValueError as error:
        raise ValueError(f"`--models` has {place}, which cannot be scored: {error}") from None


def _place(item: str) -> str:
    return item.partition(":")[2]
