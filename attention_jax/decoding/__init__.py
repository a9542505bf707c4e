"""Inference: greedy, sampling and beam search, CTC, and batched translation, transcription,
generation and classification."""

from attention_jax.decoding.batched import DecodingConfig, Hypothesis
from attention_jax.decoding.classify import classifier
from attention_jax.decoding.ensemble import Ensemble
from attention_jax.decoding.generate import TextGenerator
from attention_jax.decoding.options import DecodingOptions
from attention_jax.decoding.scoring import token_scores
from attention_jax.decoding.search import DecodingResult, beam, greedy, sample
from attention_jax.decoding.transcribe import Transcriber
from attention_jax.decoding.translate import Translator

__all__ = [
    "DecodingConfig",
    "DecodingOptions",
    "DecodingResult",
    "Ensemble",
    "Hypothesis",
    "TextGenerator",
    "Transcriber",
    "Translator",
    "beam",
    "classifier",
    "greedy",
    "sample",
    "token_scores",
]
