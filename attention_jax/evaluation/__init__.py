"""Metrics and statistics: BLEU, chrF, error rates, accuracy, confidence intervals, paired tests,
matched budgets."""

from attention_jax.evaluation.significance import holm, mean_interval, paired_bootstrap
from attention_jax.evaluation.text import corpus_scores
from attention_jax.evaluation.translation import score

__all__ = [
    "corpus_scores",
    "holm",
    "mean_interval",
    "paired_bootstrap",
    "score",
]
