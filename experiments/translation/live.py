"""The live page about a run of experiments.translation."""

from collections.abc import Sequence

from attention_jax.analysis import attention_maps
from attention_jax.analysis.pages import live
from attention_jax.data.types import EOS
from attention_jax.decoding.translate import Translator
from experiments.common.experiment import PageFlags, Run
from experiments.common.pages import beam
from experiments.translation import page
from experiments.translation.config import load

EXAMPLES = 6  # sentences of the validation, where no flag names any


def write(run: Run, given: PageFlags) -> str:
    """The page: sentences that flags name, or some of the validation, are its examples.

    Of a model that the page cannot compute, it shows what the run makes of them.
    """
    shown = live.Shown(
        run.folder.resolve().name, page.about(run), live.why_recorded(run.model, run.tokenizer)
    )
    texts = sentences(run, given)
    if shown.reasons:
        return live.page(shown, None, recorded=recorded(run, texts, given))
    return live.page(shown, live.describe(run.model, run.tokenizer), examples=texts)


def sentences(run: Run, given: PageFlags) -> list[str]:
    """The sentences that are offered.

    Raises:
      ValueError: one that is named is empty.
    """
    if given.text or given.file is not None:
        return [title for title, _ in page.items(run, given)]
    found = dict.fromkeys(example.source for example in load(run.config).validation)
    by_length = sorted(list(found)[: 8 * EXAMPLES], key=len)
    return by_length[:: max(len(by_length) // EXAMPLES, 1)][:EXAMPLES]


def recorded(run: Run, texts: Sequence[str], given: PageFlags) -> list[live.Recorded]:
    """Translations by the run's beam, with the weights of the best."""
    translate = Translator(run.graphdef, run.tokenizer, beam(run.config, given), rows=page.ROWS)
    vocabulary, shown = run.tokenizer, []
    for text, found in zip(texts, translate(run.params, list(texts)), strict=True):
        source, target = vocabulary.encode(text), found[0].tokens
        shown.append(
            live.Recorded(
                text=text,
                translation=found[0].text,
                source=vocabulary.tokens([*source, EOS]),
                target=vocabulary.tokens(target),
                maps=attention_maps.sentence(run.model, source, target),
            )
        )
    return shown
