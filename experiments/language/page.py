"""The page about runs of experiments.language: texts, the next token, and self-attention."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from attention_jax.analysis import attention_maps
from attention_jax.analysis.pages import explorer
from attention_jax.data.types import TokenBatch
from experiments.common.experiment import Items, Page, PageFlags, Run
from experiments.common.input_files import read_lines
from experiments.common.load_run import refuse
from experiments.common.pages import ALTERNATIVES, check_vocabularies, described
from experiments.language.config import unit


def about(run: Run) -> str:
    """The model of a run, in a few words.

    Raises:
      ValueError: it has no attention.
    """
    model, attention = run.experiment.named(run.config)
    if attention == "none":
        raise ValueError(
            f"`--run` must be of a model with attention; {run.folder} is of an {model} without."
        )
    return f"{described(model, attention)}, {unit(run.tokenizer)}s"


def check_alike(first: Run, other: Run) -> None:
    """Refuses runs whose vocabularies differ.

    Raises:
      ValueError: they do.
    """
    check_vocabularies(first.folder, other.folder)


def items(run: Run, given: PageFlags) -> Items:
    """The texts that flags name, each as its own title.

    Raises:
      ValueError: there is none, or the model cannot read one.
    """
    if given.examples != PageFlags().examples:
        refuse(run.experiment, ["examples"], ["examples"])
    texts = list(given.text)
    if given.file is not None:
        texts += [line for line in read_lines(given.file) if line.strip()]
    if not texts:
        raise ValueError(
            "`--text` or `--file` must hold a text to read; got none. "
            'Add for instance --text="the queen sleeps."'
        )
    return [(text, _tokens(run, text)) for text in texts]


def _tokens(run: Run, text: str) -> list[int]:
    """The ids of a text, as many as the model reads."""
    ids, most = run.tokenizer.encode(text), run.config.data.context
    if run.tokenizer.unknown(text) or not ids:
        raise ValueError(f"`--text` must hold tokens that the run knows; got {text!r}.")
    if run.config.model.model != "rnn" and len(ids) > most:
        raise ValueError(
            f"`--text` must have at most --context={most} {unit(run.tokenizer)}s; got {len(ids)}. "
            "Give a shorter text."
        )
    return ids


def read(run: Run, items: Items, given: PageFlags) -> list[explorer.Reading]:
    """The most probable next tokens of each text, and the weights within it."""
    model: Any = run.model
    readings = []
    for _, ids in items:
        tokens = jnp.asarray([ids], jnp.int32)
        batch = TokenBatch(tokens, tokens, jnp.ones(tokens.shape))
        logs = np.asarray(jax.nn.log_softmax(model.logits(tokens)[0, -1]))
        best = np.argsort(-logs, kind="stable")[: given.alternatives or ALTERNATIVES]
        readings.append(
            explorer.Reading(
                source=run.tokenizer.tokens(ids),
                target=(),
                alternatives=[
                    (name, float(logs[i]))
                    for name, i in zip(run.tokenizer.tokens(best.tolist()), best, strict=True)
                ],
                maps=attention_maps.attention_maps(model, batch, kind="decoder"),
            )
        )
    return readings


PAGE = Page("text", about, items, check_alike, read)
