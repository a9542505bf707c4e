"""Losses and scores."""

import jax
import jax.numpy as jnp


def cross_entropy(logits, targets, weights, label_smoothing=0.0):
    total = jax.nn.logsumexp(logits, axis=-1)
    right = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    loss = total - right
    if label_smoothing:
        smooth = total - logits.mean(-1)
        loss = (1 - label_smoothing) * loss + label_smoothing * smooth
    return jnp.sum(loss * weights), jnp.sum(weights)


def accuracy(logits, targets, weights):
    return jnp.sum((logits.argmax(-1) == targets) * weights), jnp.sum(weights)


def corpus_scores(hypotheses, references, *, lowercase=False):
    import sacrebleu

    most = max(map(len, references))
    streams = [[r[i] if i < len(r) else None for r in references] for i in range(most)]
    bleu = sacrebleu.metrics.BLEU(lowercase=lowercase)
    chrf = sacrebleu.metrics.CHRF(lowercase=lowercase)
    fold = str.lower if lowercase else str
    exact = [fold(h) in {fold(r) for r in rs} for h, rs in zip(hypotheses, references)]
    return {
        "exact_match": sum(exact) / len(exact),
        "bleu": float(bleu.corpus_score(hypotheses, streams).score),
        "chrf": float(chrf.corpus_score(hypotheses, streams).score),
        "bleu_signature": str(bleu.get_signature()),
        "chrf_signature": str(chrf.get_signature()),
    }
