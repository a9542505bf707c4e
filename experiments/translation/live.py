"""The live page about a run of experiments.translation."""

import json
from collections.abc import Sequence

from flax import nnx

from attention_jax.analysis import attention_maps
from attention_jax.analysis.pages import live
from attention_jax.data.types import EOS
from attention_jax.decoding.translate import Translator
from experiments.common.experiment import LivePage, PageFlags, Run
from experiments.common.load_run import kept_params
from experiments.common.pages import beam
from experiments.translation import page
from experiments.translation.config import load

METRICS = "metrics.jsonl"
EXAMPLES = 6  # sentences of the validation, where no flag names any


def write(call: LivePage) -> str:
    """The page: sentences that flags name, or some of the validation, are its examples.

    Of a model that the page cannot compute, it shows what the run makes of them.

    Raises:
      ValueError: another run has a model that the page cannot compute.
    """
    run = call.run
    reasons = live.why_recorded(run.model, run.tokenizer)
    shown = live.Shown(run.folder.resolve().name, page.about(run), reasons)
    texts = sentences(run, call.inputs)
    if reasons:
        return live.page(shown, None, recorded=recorded(run, texts, call.inputs))
    more = live.More(others=[beside(other) for other in call.others])
    if call.replay:
        more = more._replace(checkpoints=checkpoints(run), curve=curve(run))
    return live.page(shown, live.describe(run.model, run.tokenizer), examples=texts, more=more)


def beside(run: Run) -> live.Other:
    """Another run, whose model translates beside that of the page."""
    if reasons := live.why_recorded(run.model, run.tokenizer):
        raise ValueError(
            f"`--other_run` must have a model that the page can compute; {run.folder} has not, for "
            f"its {' and '.join(' '.join(reason).strip() for reason in reasons)}. Leave it out."
        )
    own = live.describe(run.model, run.tokenizer)
    return live.Other(run.folder.resolve().name, page.about(run), own)


def checkpoints(run: Run) -> list[live.Checkpoint]:
    """The weights at each step of which the run has kept a checkpoint.

    Raises:
      ValueError: there are fewer than two.
    """
    found = [
        live.Checkpoint(step, live.packed(nnx.merge(run.graphdef, params)))
        for step, params in kept_params(run)
    ]
    if len(found) < 2:
        raise ValueError(
            f"`--replay` needs at least two checkpoints; {run.folder} has kept {len(found)}. Train "
            "with a smaller --checkpoint_every, and --average for how many are kept."
        )
    return found


def curve(run: Run) -> list[tuple[int, float]]:
    """The loss on the training data by step."""
    rows = map(json.loads, (run.folder / METRICS).read_text(encoding="utf-8").splitlines())
    return [(row["step"], row["loss"]) for row in rows if row["split"] == "train"]


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
