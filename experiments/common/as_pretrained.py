"""A trained run as a model of another library: `experiments.export --format=safetensors`."""

from pathlib import Path
from typing import Any

from flax import nnx

from attention_jax import pretrained
from attention_jax.core.types import Params
from attention_jax.data.tokenizer import Tokenizer
from attention_jax.models.seq2seq import Seq2SeqConfig
from attention_jax.nn.transformer import TransformerConfig
from attention_jax.pretrained import families
from attention_jax.pretrained.loading import Pretrained, of_outline
from attention_jax.pretrained.outline import Outline
from attention_jax.pretrained.types import Special
from attention_jax.pretrained.vocabulary import order_of
from experiments.common import initial
from experiments.common.experiment import Run

_SPECIAL = {"m2m_100": Special(padding=1, begin=0, end=2, unknown=3)}  # all others as here
# Families that may have a run's model, the first that has the words for it.
CANDIDATES = {
    "translation": ("marian", "m2m_100", "mbart", "t5"),
    "language": ("gpt2", "llama", "gemma"),
}


def write(run: Run, folder: Path, name: str | None) -> list[str]:
    """Writes config.json, model.safetensors and tokenizer.json; lines that say so.

    Args:
      run: of translation or language.
      folder: empty.
      name: of the family; None for that with which the run began, or the first that has the words.

    Raises:
      ValueError: no family has the words for the model; each says which it lacks.
    """
    begun = initial.given_outline(initial.place(run.config))
    if begun is not None:
        return _written_back(run, begun, folder, name)
    known = CANDIDATES.get(run.experiment.name, ())
    if not known or (name is not None and name not in known):
        listed = "; ".join(f"{kind}: {', '.join(own)}" for kind, own in CANDIDATES.items())
        raise ValueError(
            f"`--family` must be one that a run of experiments.{run.experiment.name} can be "
            f"written as ({listed}); got {name}. Other formats write programs of any run."
        )
    refusals = {}
    for one in known if name is None else (name,):
        try:
            pretrained.save(as_pretrained(run, one), folder)
        except ValueError as error:
            refusals[one] = str(error)
            continue
        return _lines(folder, one)
    raise ValueError(" ".join(f"{one}: {why}" for one, why in refusals.items()))


def _written_back(run: Run, begun: Outline, folder: Path, name: str | None) -> list[str]:
    """Writes a run that began with a model of another library as that library has it."""
    own = begun.family.name
    if name not in (None, own):
        raise ValueError(
            f"`--family` must be that with which {run.folder} began, {own}; got {name}. Leave it "
            "out."
        )
    pretrained.save(of_outline(begun, run.params), folder)
    return _lines(folder, own)


def _lines(folder: Path, name: str) -> list[str]:
    return [f"{path.name}: {name}" for path in sorted(folder.iterdir())]


def as_pretrained(run: Run, name: str) -> Pretrained:
    """The run as a model of a family, which need not have the words for it."""
    family, words = families.get(name), run.known
    config: Any = run.model.config
    params: Params = run.params
    if run.experiment.name == "translation" and isinstance(config, TransformerConfig):
        config, params = _two_sides(config, params)
    size = words.size if isinstance(words, Tokenizer) else config.vocabulary_size
    graphdef, _ = nnx.split(nnx.eval_shape(lambda: family.build(config, nnx.Rngs(0))))
    order = order_of(_SPECIAL.get(name, Special(*range(len(Special._fields)))), size)
    return Pretrained(family, config, graphdef, params, words, order, {})


def _two_sides(config: TransformerConfig, params: Params) -> tuple[Seq2SeqConfig, Params]:
    """The same where each side has its own configuration, as those of other libraries have."""
    found: dict[str, Any] = dict(params)
    encoder: dict[str, Any] = {"layers": found.pop("encoder")}
    if "encoder_norm" in found:
        encoder["norm"] = found.pop("encoder_norm")
    if "learned" in found["embedding"]:
        encoder["learned"] = found["embedding"]["learned"]
    if "embedding_norm" in found:
        encoder["embedding_norm"] = found["embedding_norm"]
    return Seq2SeqConfig(config, config), found | {"encoder": encoder}
