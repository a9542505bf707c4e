"""CTranslate2, in float32, on the weights of Hugging Face's Marian of the benchmark of decoding."""

import os
import tempfile
from collections.abc import Callable

import ctranslate2
import jax
import numpy as np
from ctranslate2.converters.transformers import BartLoader

from attention_jax.nn.transformer import TransformerConfig
from experiments.benchmark.decoding import Job
from experiments.benchmark.decoding_torch import translation_model

SPECIAL = ["<pad>", "<s>", "</s>", "<unk>"]


def theirs(config: TransformerConfig, source: jax.Array, job: Job) -> Callable[[], object]:
    """A call that gives the tokens of `translate_batch`."""
    names = SPECIAL + [str(token) for token in range(len(SPECIAL), config.vocabulary_size)]
    with tempfile.TemporaryDirectory() as folder:
        _save(config, names, folder)
        translator = ctranslate2.Translator(
            folder,
            device="cpu",
            compute_type="float32",
            inter_threads=1,
            intra_threads=os.cpu_count() or 1,
        )
    given = [[names[token] for token in row] for row in np.asarray(source)]

    def call() -> object:
        # The bias of EOS rules it out, as in the model of Hugging Face.
        found = translator.translate_batch(
            given,
            beam_size=job.beams,
            max_decoding_length=job.tokens,
            min_decoding_length=job.tokens,
            length_penalty=1.0,
        )
        return [[_number(token) for token in result.hypotheses[0]] for result in found]

    return call


def _number(token: str) -> int:
    """The number that a token is named after; that of UNKNOWN has a name of its own."""
    return SPECIAL.index(token) if token in SPECIAL else int(token)


def _save(config: TransformerConfig, names: list[str], folder: str) -> None:
    model = translation_model(config)
    model.config.normalize_before = model.config.normalize_embedding = False
    spec = BartLoader().get_model_spec(model)
    spec.register_source_vocabulary(names)
    spec.register_target_vocabulary(names)
    spec.config.bos_token, spec.config.eos_token, spec.config.unk_token = SPECIAL[1:]
    spec.config.decoder_start_token = SPECIAL[1]
    spec.validate()
    spec.optimize()
    spec.save(folder)
