"""What the page shows of runs of experiments.translation: sentences, and their translations."""

from pathlib import Path
from typing import NamedTuple

from absl import flags
from flax import nnx

from attention_jax.analysis import attention_maps
from attention_jax.analysis.pages import explorer
from attention_jax.data.types import EOS
from attention_jax.decoding.translate import DecodingConfig, Translator
from experiments import trained

FLAGS = flags.FLAGS
OF = "sentence"
ALTERNATIVES = 5  # translations, where --alternatives does not say
# Sentences translated at once.
ROWS = 8


class Loaded(NamedTuple):
    """A trained run."""

    run: explorer.Run
    folder: Path
    task: str
    found: trained.Trained
    translate: Translator


def load(folder: Path) -> Loaded:
    """A run's model, with the flags that it was trained by."""
    trained.refuse("translation", "examples")
    found = trained.load(folder)
    about = trained.about()
    if FLAGS.model == "transformer" and FLAGS.cross_attention:
        about += f", to the source {Path(FLAGS.cross_attention).stem}"
    search = beam(FLAGS.alternatives or ALTERNATIVES)
    translator = Translator(found.graphdef, found.vocabulary, search, rows=ROWS)
    run = explorer.Run(folder.resolve().name, about)
    return Loaded(run, folder, FLAGS.task, found, translator)


def beam(alternatives: int) -> DecodingConfig:
    """The search for so many alternatives, as flags say."""
    return DecodingConfig(
        method="beam",
        beam_size=max(FLAGS.beam, alternatives),
        length_penalty=FLAGS.length_penalty,
        nbest=alternatives,
    )


def check_alike(first: Loaded, other: Loaded) -> None:
    """Only runs that read the same tokens can stand side by side."""
    if first.task != other.task:
        raise ValueError(
            f"`--other_run` must be of the task of `--run`; got {other.task} beside {first.task}. "
            "Write a page of each."
        )
    check_vocabularies(first.folder, other.folder)


def check_vocabularies(first: Path, other: Path) -> None:
    """Refuses runs whose vocabularies differ."""
    if len({(folder / "vocabulary.json").read_bytes() for folder in (first, other)}) > 1:
        raise ValueError(
            f"`--other_run` must have the vocabulary of `--run`; those of {first} and {other} "
            "differ. Write a page of each."
        )


def given(loaded: Loaded) -> list[tuple[str, str]]:
    """The sentences that flags name, each as its own title."""
    texts = list(FLAGS.text)
    if FLAGS.file is not None:
        texts += [line for line in trained.read_lines(FLAGS.file) if line.strip()]
    if not texts:
        raise ValueError(
            "`--text` or `--file` must hold a sentence to read; got none. "
            'Add for instance --text="the cat sleeps".'
        )
    for text in texts:
        if not text.strip() or not loaded.found.vocabulary.encode(text):
            raise ValueError(f"`--text` must hold at least one token; got {text!r}.")
    return [(text, text) for text in texts]


def read(loaded: Loaded, items: list[tuple[str, str]]) -> list[explorer.Reading]:
    """What a run makes of each sentence: translations, and the weights of the best."""
    readings, (graphdef, params, vocabulary) = [], loaded.found
    texts = [text for _, text in items]
    for text, found in zip(texts, loaded.translate(params, texts), strict=True):
        source, target = vocabulary.encode(text), found[0].tokens
        readings.append(
            explorer.Reading(
                source=vocabulary.tokens([*source, EOS]),
                target=vocabulary.tokens(target),
                alternatives=[(one.text, one.score) for one in found],
                maps=attention_maps.sentence(nnx.merge(graphdef, params), source, target),
            )
        )
    return readings
