"""Parts of the pages of several experiments."""

from pathlib import Path
from typing import Any

from attention_jax import variants
from attention_jax.decoding.translate import DecodingConfig
from experiments.common.experiment import LivePage, PageFlags
from experiments.common.vocabularies import VOCABULARY

ALTERNATIVES = 5  # translations or transcripts, where --alternatives does not say


def beam(config: Any, given: PageFlags) -> DecodingConfig:
    """The search for as many alternatives as are shown."""
    alternatives = given.alternatives or ALTERNATIVES
    return DecodingConfig(
        method="beam",
        beam_size=max(config.decoding.beam, alternatives),
        length_penalty=config.decoding.length_penalty,
        nbest=alternatives,
        options=config.decoding.options("beam"),
    )


def check_vocabularies(first: Path, other: Path) -> None:
    """Refuses runs whose vocabularies differ.

    Raises:
      ValueError: they do.
    """
    if len({(folder / VOCABULARY).read_bytes() for folder in (first, other)}) > 1:
        raise ValueError(
            f"`--other_run` must have the vocabulary of `--run`; those of {first} and {other} "
            "differ. Write a page of each."
        )


def described(model: str, attention: str) -> str:
    """A model and its attention, in a few words."""
    return f"{model}, attention {variants.slug(attention)}"


def one_model(call: LivePage) -> None:
    """Refuses what only the live page of a translator shows beside its model.

    Raises:
      ValueError: other runs or checkpoints are asked for.
    """
    for name, given in (("other_run", call.others), ("replay", call.replay)):
        if given:
            raise ValueError(
                f"`--{name}` with --live is of runs of experiments.translation; got one of "
                f"experiments.{call.run.experiment.name}. Leave it out."
            )
