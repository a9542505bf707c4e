"""Wrong arguments of data, training, evaluation and decoding: each is refused in one line.

The line names the argument; a row is as in `test_wrong_settings.py`.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attention_jax import data, decoding, evaluation, training
from attention_jax.data import memory_tasks
from attention_jax.data.audio import tone_words, wav
from attention_jax.data.audio.spectrogram import Spectrogram
from attention_jax.data.images.batches import ImageBatches
from attention_jax.data.images.files import read_image
from attention_jax.data.pairs.filters import Filters
from attention_jax.decoding import ctc
from attention_jax.evaluation import budgets, classification, error_rates, text
from attention_jax.training import losses, objectives, optimizers
from tests.repo.wrong_values import Row, assert_each_is_named, wrong

PAIRS = [([5, 6], [7]), ([5], [7, 8])]
DRAW, SERIES = np.random.default_rng(0), lambda draw, rows: None
SOURCES, TOKENIZER = [data.Example("a", ("b",))], data.Tokenizer.learn(["a b"], kind="word")
DATA = {
    "BucketedBatches": Row(
        data.BucketedBatches,
        {
            "pairs": PAIRS,
            "tokens_per_batch": 9,
            "max_length": 8,
            "seed": 3,
            "shuffle": True,
            "boundaries": (4, 8),
            "lengths": [3, 2],
            "collate": SERIES,
        },
        {"seed": (0,), "boundaries": (None,), "lengths": (None,), "collate": (None,)},
    ),
    "encode_examples": Row(data.encode_examples, {"examples": SOURCES, "tokenizer": TOKENIZER}),
    "Tokenizer.learn": Row(
        data.Tokenizer.learn,
        {"texts": ["a b"], "kind": "word", "size": 9, "lowercase": False, "unicode": "none"},
        {"size": (None,)},
    ),
    "Tokenizer.load": Row(data.Tokenizer.load, {"path": "none"}, {"path": ("x",)}),
    "Tokenizer.encode": Row(TOKENIZER.encode, {"text": "a"}, {"text": ("x",)}),
    "Tokenizer.decode": Row(TOKENIZER.decode, {"ids": [5]}),
    "RandomWindows": Row(
        data.RandomWindows,
        {"tokens": np.arange(20), "rows": 2, "length": 4, "seed": 3},
        {"seed": (0,)},
    ),
    "AllWindows": Row(data.AllWindows, {"tokens": np.arange(20), "rows": 2, "length": 4}),
    "tasks.get": Row(
        data.tasks.get,
        {"name": "addition", "digits": 2, "longer_digits": 3, "train_size": 2, "test_size": 2},
    ),
    "recall": Row(
        memory_tasks.multi_query_associative_recall,
        {"draw": DRAW, "rows": 2, "length": 16, "pairs": 2, "vocabulary": 16},
    ),
    "copying": Row(
        memory_tasks.copying, {"draw": DRAW, "rows": 2, "length": 9, "symbols": 3, "alphabet": 4}
    ),
    "induction": Row(
        memory_tasks.induction, {"draw": DRAW, "rows": 2, "length": 9, "vocabulary": 5}
    ),
    "adding": Row(memory_tasks.adding, {"draw": DRAW, "rows": 2, "length": 9}),
    "DrawnBatches": Row(
        memory_tasks.DrawnBatches,
        {"problem": SERIES, "rows": 2, "seed": 3, "batches_per_epoch": 2},
        {"seed": (0,)},
    ),
    "ImageBatches": Row(
        ImageBatches,
        {
            "images": np.zeros((3, 4, 4, 1), np.uint8),
            "labels": np.arange(3),
            "rows": 2,
            "seed": 3,
            "shuffle": True,
            "shift": 1,
            "flip": True,
        },
        {"seed": (0,), "shift": (0,)},
    ),
    "read_image": Row(
        lambda path="none.png", **given: read_image(path, **given),
        {"height": 4, "width": 4, "channels": 3, "ground": "white"},
    ),
    "Spectrogram": Row(
        lambda **given: Spectrogram(**given).check(),
        Spectrogram(highest=4000.0)._asdict(),
        {"lowest": (2.5,), "highest": (None,)},
    ),
    "Spectrogram.at": Row(Spectrogram.at, {"rate": 8000, "mels": 4}),
    "tones": Row(
        tone_words.tones,
        {"train_size": 2, "validation_size": 2, "test_size": 2, "most_words": 2, "noise": 0.1},
        {"noise": (2.5,)},
    ),
    "wav.write": Row(lambda rate: wav.write(np.zeros(9, np.float32), rate=rate), {"rate": 8000}),
    "Filters": Row(
        lambda **given: Filters(**given).check(),
        Filters(shortest=1, longest=5, length_ratio=1.5)._asdict(),
        {"shortest": (0,), "longest": (0,), "length_ratio": (2.5,)},
    ),
}
TRAINING = {
    "TrainConfig": Row(
        lambda **given: training.TrainConfig(**given).check(),
        training.TrainConfig(3, seed=3, max_seconds=1.0, patience=2, profile_steps=1)._asdict(),
        dict.fromkeys(("steps", "seed", "warmup_steps", "profile_steps"), (0,))
        | {"learning_rate": (2.5,), "clip_norm": (2.5, None), "max_seconds": (2.5, None)}
        | {"patience": (None,), "monitor": ("x",)},
    ),
    "optimizer": Row(
        optimizers.optimizer,
        {"name": "adamw", "learning_rate": 1e-3, "weight_decay": 0.1, "clip_norm": 1.0, "b1": 0.9},
        {"learning_rate": (2.5,), "weight_decay": (2.5,), "clip_norm": (2.5, None)},
        {"name": "optimizer"},
    ),
    "schedule": Row(
        optimizers.schedule,
        {"name": "cosine", "peak": 1e-3, "warmup_steps": 3, "steps": 9},
        {"peak": (2.5,), "warmup_steps": (0,), "steps": (0,)},
        {"name": "schedule"},
    ),
    "cross_entropy": Row(
        losses.cross_entropy,
        {
            "logits": jnp.zeros((3, 4)),
            "targets": jnp.arange(3),
            "weights": jnp.ones(3),
            "label_smoothing": 0.1,
        },
    ),
    "joint": Row(objectives.joint, {"share": 0.3}),
    "Checkpoints": Row(
        training.Checkpoints,
        {"folder": "none", "keep_last": 1, "keep_best": True},
        {"folder": ("x",)},
    ),
    "fit": Row(
        lambda **given: training.fit(folder="none", evaluate=None, **given),
        {
            "build": lambda key: None,
            "batches": data.AllWindows(np.arange(20), rows=2, length=4),
            "config": training.TrainConfig(0),
            "objective": objectives.next_token,
            "resume": False,
        },
    ),
}
HYPOTHESES, REFERENCES = ["a b", "c d"], [("a b",), ("c",)]
COUNTS = np.ones((2, 3, 2))
EVALUATION = {
    "corpus_scores": Row(
        evaluation.corpus_scores,
        {
            "hypotheses": HYPOTHESES,
            "references": REFERENCES,
            "lowercase": False,
            "tokenizer": "13a",
            "more": False,
        },
        {"tokenizer": (None,)},
    ),
    "sentence_counts": Row(
        text.sentence_counts,
        {"measure": "bleu", "hypotheses": HYPOTHESES, "references": REFERENCES},
    ),
    "mean_interval": Row(evaluation.mean_interval, {"values": [1.0, 2.0], "confidence": 0.9}),
    "paired_bootstrap": Row(
        evaluation.paired_bootstrap,
        {
            "first": COUNTS,
            "second": COUNTS,
            "score": lambda sums: sums[..., 0],
            "resamples": 5,
            "confidence": 0.9,
            "seed": 3,
        },
        {"seed": (0,)},
    ),
    "holm": Row(evaluation.holm, {"p_values": [0.1]}),
    "error_rates": Row(error_rates.counts, {"hypotheses": ["a"], "references": ["b"]}),
    "nearest_width": Row(
        budgets.nearest_width, {"size": lambda width: width, "target": 9, "multiple": 2}
    ),
    "classification": Row(
        classification.scores,
        {"log_probabilities": np.zeros((3, 2)), "labels": np.array([0, 1, 1])},
    ),
}
STATE, NONE = jnp.zeros(1), decoding.DecodingOptions()
SEARCH = {"step": lambda state, token: None, "max_length": 2, "options": NONE}
GUESSES = np.log(np.ones((3, 4)) / 4)
DECODING = {
    "greedy": Row(lambda **given: decoding.greedy(state=STATE, **given), SEARCH),
    "sample": Row(
        lambda **given: decoding.sample(state=STATE, **given),
        SEARCH | {"key": jax.random.key(0), "temperature": 1.0, "top_k": 2, "top_p": 0.5},
        {"temperature": (2.5,), "top_k": (None,), "top_p": (None,)},
    ),
    "beam": Row(
        lambda **given: decoding.beam(state=STATE, **given),
        SEARCH | {"beam_size": 3, "length_penalty": 1.0, "nbest": 2},
        {"length_penalty": (2.5,)},
    ),
    "DecodingOptions": Row(
        decoding.DecodingOptions,
        {
            "repetition_penalty": 1.5,
            "no_repeat_ngram": 2,
            "min_length": 2,
            "prefix": (5,),
            "before": jnp.ones((1, 2), int),
            "min_p": 0.1,
            "length_form": "wu",
            "words": ((5,),),
        },
        {
            "repetition_penalty": (2.5,),
            "no_repeat_ngram": (0,),
            "min_length": (0,),
            "before": (None,),
            "min_p": (None,),
        },
    ),
    "DecodingConfig of sampling": Row(
        lambda **given: decoding.DecodingConfig("sample", **given).check(),
        {"temperature": 1.0, "top_k": 2, "top_p": 0.5, "seed": 3, "options": NONE},
        {"temperature": (2.5,), "top_k": (None,), "top_p": (None,), "seed": (0,)},
    ),
    "DecodingConfig of a beam": Row(
        lambda **given: decoding.DecodingConfig("beam", **given).check(),
        {"beam_size": 3, "nbest": 2, "length_penalty": 1.0, "token_scores": False},
        {"length_penalty": (2.5,)},
    ),
    "token_scores": Row(
        lambda **given: decoding.token_scores(state=STATE, **given),
        {"step": lambda state, token: None, "tokens": jnp.ones((1, 1, 2), int)},
    ),
    "classifier": Row(
        lambda rows: decoding.classifier(nnx.graphdef(nnx.Rngs(0)), rows=rows), {"rows": 3}
    ),
    "Ensemble": Row(decoding.Ensemble, {"models": [1]}),
    "ctc.beam": Row(ctc.beam, {"log_probabilities": GUESSES, "beam_size": 3, "nbest": 2}),
    "ctc.posteriors": Row(ctc.posteriors, {"log_probabilities": GUESSES, "labels": [1]}),
}
ROWS = DATA | TRAINING | EVALUATION | DECODING


@pytest.mark.parametrize("name", ROWS)
def test_one_line_names_the_argument(name, users_errors):
    assert_each_is_named(ROWS[name])


def test_there_are_many():
    assert sum(1 for row in ROWS.values() for _ in wrong(row)) >= 1100
