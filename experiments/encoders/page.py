"""The page about encoders of texts: how much each token draws from each."""

import numpy as np

from attention_jax.analysis import attention_maps
from attention_jax.analysis.pages import explorer
from attention_jax.data.types import Seq2SeqBatch
from experiments.common.experiment import Items, Page, PageFlags, Run
from experiments.common.input_files import read_lines
from experiments.common.load_run import refuse
from experiments.common.pages import described
from experiments.encoders.config import reader

ALTERNATIVES = 5  # texts, where --alternatives does not say


def about(run: Run) -> str:
    """The model in a few words."""
    assert run.pretrained is not None  # no other run is of an encoder
    line = described(*run.experiment.named(run.config))
    return f"{line}, encoder of {run.pretrained.family.name}"


def check_alike(first: Run, other: Run) -> None:
    """Nothing: no two stand side by side."""
    del first, other


def items(run: Run, given: PageFlags) -> Items:
    """The texts that flags name, each as its own title.

    Raises:
      ValueError: there is none.
    """
    if given.examples != PageFlags().examples:
        refuse(run.experiment, ["examples"], ["examples"])
    texts = [*given.text, *(read_lines(given.file) if given.file is not None else ())]
    texts = [text for text in texts if text.strip()]
    if not texts:
        raise ValueError(
            "`--text` or `--file` must hold a sentence to read; got none. "
            'Add for instance --text="the queen sleeps."'
        )
    return [(text, text) for text in texts]


def read(run: Run, items: Items, given: PageFlags) -> list[explorer.Reading]:
    """The weights of each text, and the texts nearest to it by their vectors."""
    own, texts = reader(run), [text for _, text in items]
    vectors = own.vectors(run.params, texts).astype(np.float64)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-30)
    readings = []
    for text, row in zip(texts, vectors @ vectors.T, strict=True):
        ids = own.tokens(text)
        maps = attention_maps.attention_maps(run.model, _batch(ids))
        best = np.argsort(-row, kind="stable")[: given.alternatives or ALTERNATIVES]
        labels = run.tokenizer.tokens(ids)
        readings.append(
            explorer.Reading(labels, labels, [(texts[i], float(row[i])) for i in best], maps)
        )
    return readings


def _batch(ids: list[int]) -> Seq2SeqBatch:
    """A text alone, of which nothing is written."""
    source, nothing = np.asarray([ids], np.int32), np.zeros((1, 1), np.int32)
    weights = np.zeros(nothing.shape, np.float32)
    return Seq2SeqBatch(source, np.ones(source.shape, bool), nothing, nothing, weights)


PAGE = Page("sentence", about, items, check_alike, read)
