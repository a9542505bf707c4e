"""The page about runs of experiments.translation: sentences, and their translations."""

from typing import Any

from attention_jax import variants
from attention_jax.analysis import attention_maps
from attention_jax.analysis.pages import explorer
from attention_jax.data.types import EOS
from attention_jax.decoding.translate import Translator
from attention_jax.models.seq2seq import Seq2SeqConfig
from attention_jax.models.seq2seq_gru import GRUConfig
from experiments.common.experiment import Items, Page, PageFlags, Run
from experiments.common.input_files import read_lines
from experiments.common.load_run import refuse
from experiments.common.pages import beam, check_vocabularies, described

ROWS = 8  # sentences translated at once


def about(run: Run) -> str:
    """The model of a run, in a few words."""
    own, name = run.config.model, run.experiment.named(run.config)
    line = described(*name)
    if run.pretrained is not None:
        return _about_pretrained(run.pretrained.config)
    if name[0] == "transformer" and own.cross_attention:
        line += f", to the source {variants.slug(own.cross_attention)}"
    return line


def _about_pretrained(network: Any) -> str:
    """A model of another library, whose sides may be of two kinds."""
    if isinstance(network, GRUConfig):
        return described("gru", "additive" if network.attentive else "none")
    decoder = network.decoder if isinstance(network, Seq2SeqConfig) else network
    line = described("transformer", variants.label(decoder.attention))
    cell = getattr(decoder, "recurrence", None)
    return line if cell is None else f"{line}, decoder {cell.cell}"


def check_alike(first: Run, other: Run) -> None:
    """Refuses runs that do not read the same tokens.

    Raises:
      ValueError: they are of two tasks, or have two vocabularies.
    """
    tasks = [run.config.data.task for run in (first, other)]
    if tasks[0] != tasks[1]:
        raise ValueError(
            f"`--other_run` must be of the task of `--run`; got {tasks[1]} beside {tasks[0]}. "
            "Write a page of each."
        )
    check_vocabularies(first.folder, other.folder)


def items(run: Run, given: PageFlags) -> Items:
    """The sentences that flags name, each as its own title.

    Raises:
      ValueError: there is none, or one is empty.
    """
    if given.examples != PageFlags().examples:
        refuse(run.experiment, ["examples"], ["examples"])
    texts = list(given.text)
    if given.file is not None:
        texts += [line for line in read_lines(given.file) if line.strip()]
    if not texts:
        raise ValueError(
            "`--text` or `--file` must hold a sentence to read; got none. "
            'Add for instance --text="the queen sleeps."'
        )
    for text in texts:
        if not text.strip() or not run.tokenizer.encode(text):
            raise ValueError(f"`--text` must hold at least one token; got {text!r}.")
    return [(text, text) for text in texts]


def read(run: Run, items: Items, given: PageFlags) -> list[explorer.Reading]:
    """Translations of each sentence, and the weights of the best."""
    search = beam(run.config, given)
    translate = Translator(run.graphdef, run.tokenizer, search, rows=ROWS)
    readings, vocabulary, texts = [], run.tokenizer, [text for _, text in items]
    for text, found in zip(texts, translate(run.params, texts), strict=True):
        source, target = vocabulary.encode(text), found[0].tokens
        readings.append(
            explorer.Reading(
                source=vocabulary.tokens([*source, EOS]),
                target=vocabulary.tokens(target),
                alternatives=[(one.text, one.score) for one in found],
                maps=attention_maps.sentence(run.model, source, target),
            )
        )
    return readings


PAGE = Page("sentence", about, items, check_alike, read)
