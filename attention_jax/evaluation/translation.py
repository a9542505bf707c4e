"""Metrics of translations against their references."""

from collections.abc import Sequence

from attention_jax.core.types import Params
from attention_jax.data.types import Example
from attention_jax.decoding.translate import Translator
from attention_jax.evaluation import text


def score(
    translator: Translator,
    params: Params,
    examples: Sequence[Example],
    *,
    lowercase: bool = False,
    tokenizer: str | None = None,
    more: bool = False,
) -> tuple[dict[str, float | str], list[str]]:
    """Scores of the best hypotheses, as `text.corpus_scores` gives them, and the hypotheses."""
    best = [found[0].text for found in translator(params, [e.source for e in examples])]
    references = [example.references for example in examples]
    scores = text.corpus_scores(
        best, references, lowercase=lowercase, tokenizer=tokenizer, more=more
    )
    return scores, best
