"""The search that flags of `experiments.predict` ask for, and the scores that it shows."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from attention_jax.data.tokenizer import Tokenizer
from attention_jax.decoding.batched import DecodingConfig, Hypothesis
from experiments.common.experiment import PredictFlags, Run

Label = Callable[[Sequence[int]], list[str]]  # readable names of tokens


def asked(run: Run, given: PredictFlags) -> DecodingConfig:
    """The search of a run, with what is asked of its outputs.

    Raises:
      ValueError: --prefix or --words are no text that the run can write; --words or
        --coverage_penalty without a beam.
    """
    search = run.config.decoding.search(run.config.run.seed, token_scores=given.token_scores)
    if given.words and search.method != "beam":
        raise ValueError("--words goes with --beam; add --beam=5, or leave --words out.")
    if given.coverage_penalty and search.method != "beam":
        raise ValueError(
            "--coverage_penalty goes with --beam; add --beam=5, or leave --coverage_penalty out."
        )
    own: dict[str, Any] = {}
    if given.prefix is not None:
        own["prefix"] = known_tokens("prefix", given.prefix, run.tokenizer)
    if given.words:
        own["words"] = tuple(known_tokens("words", word, run.tokenizer) for word in given.words)
    return search._replace(options=dataclasses.replace(search.options, **own))


def known_tokens(flag: str, text: str, tokenizer: Tokenizer) -> tuple[int, ...]:
    """The tokens of a text that a model is to write.

    Raises:
      ValueError: it is empty, or the model never saw a part of it.
    """
    ids, unknown = tokenizer.encode(text), tokenizer.unknown(text)
    if unknown or not ids:
        never = f", of which {unknown[0]!r} was never seen in training" if unknown else ""
        raise ValueError(
            f"`--{flag}` must be text that the run can write; got {text!r}{never}. Leave "
            "it out, or write what the run was trained on."
        )
    return tuple(ids)


def token_scores(one: Hypothesis, label: Label) -> str:
    """Each token of a hypothesis with its log-probability in nats: `el:-0.1053 pez:-0.6931`."""
    names = label(one.tokens)
    pairs = zip(names, one.token_scores or (), strict=True)
    return " ".join(f"{name}:{score:.4f}" for name, score in pairs)
