"""Vectors of texts, their similarities, and the words that masks stand for."""

import json
import sys
from collections.abc import Iterable, Iterator

import numpy as np
from jaxtyping import Float

from attention_jax.core.types import Params
from attention_jax.decoding.embed import TextReader
from experiments.common.experiment import PredictFlags, Run
from experiments.common.input_files import read_lines
from experiments.common.load_run import OF_SPEECH, refuse_texts
from experiments.common.streams import in_chunks, input_lines
from experiments.encoders.config import reader

MOST = 5  # words of which --scores tells the probability
_SHOWN = 40  # characters of a text that is cut
CHUNK = 512  # texts that are read together at most
_LEFT_OUT = ("prefix", "words", "token_scores", "coverage_penalty", *OF_SPEECH)


def predict(run: Run, given: PredictFlags) -> Iterator[str]:
    """Answers about the texts that flags give or standard input holds, which are not empty.

    Raises:
      ValueError: the model does not guess words, or flags are of other models.
    """
    refuse_texts(run, given, *_LEFT_OUT, remedy="Texts come by --text or --file.")
    own, answer = reader(run), run.config.answer
    guesses = run.model.words is not None and own.mask is not None
    if answer == "words" and not guesses:
        raise ValueError(
            f"`--answer=words` goes with a model that guesses masked words; {run.folder} is none. "
            "Leave it out for vectors."
        )
    texts = (text for text in _texts(given) if text.strip())
    if answer == "similarities":
        every = _said_where_cut(own, list(texts))
        yield from similarities(own.vectors(run.params, every)) if every else ()
        return
    guesses = guesses and answer != "embeddings"
    for chunk in in_chunks(texts, most=CHUNK):
        yield from _answers(run, own, _said_where_cut(own, chunk), given, guesses, answer)


def _answers(
    run: Run, own: TextReader, texts: list[str], given: PredictFlags, guesses: bool, answer: object
) -> Iterator[str]:
    """The words of texts with masks, or of all where they are asked for; else vectors."""
    name = own.mask[1] if own.mask is not None and guesses else None
    asked = [name is not None and (answer == "words" or name in text) for text in texts]
    plain = [text for text, words_asked in zip(texts, asked, strict=True) if not words_asked]
    vectors = iter(own.vectors(run.params, plain) if plain else ())
    for text, words_asked in zip(texts, asked, strict=True):
        if words_asked:
            yield from words(own, run.params, text, scores=given.scores)
        else:
            yield embedding(text, next(vectors))


def _texts(given: PredictFlags) -> Iterable[str]:
    if given.text is not None:
        return [given.text]
    return input_lines() if given.file is None else read_lines(given.file)


def _said_where_cut(own: TextReader, texts: list[str]) -> list[str]:
    """The texts; those that are too long are named on standard error."""
    for text in filter(own.is_cut, texts):
        print(f"cut at {own.longest} tokens: {text[:_SHOWN]!r}...", file=sys.stderr)
    return texts


def embedding(text: str, vector: Float[np.ndarray, " m"]) -> str:
    """A text and its vector as JSON, in as many digits as its numbers have.

    >>> embedding("a", np.array([0.1, 2.0], np.float32))
    '{"text": "a", "embedding": [0.1, 2.0]}'
    """
    numbers = [float(str(x)) for x in vector]
    return json.dumps({"text": text, "embedding": numbers}, ensure_ascii=False)


def similarities(vectors: Float[np.ndarray, "n m"]) -> Iterator[str]:
    """The cosine of the angle between each vector and each, a line for a row.

    >>> list(similarities(np.array([[1.0, 0.0], [2.0, 2.0]])))
    ['1.0000\\t0.7071', '0.7071\\t1.0000']
    """
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    units = vectors / np.maximum(lengths, np.finfo(np.float64).tiny)
    for row in units @ units.T:
        yield "\t".join(f"{x:.4f}" for x in row)


def words(own: TextReader, params: Params, text: str, *, scores: bool) -> Iterator[str]:
    """A text with the most probable word for each mask; or several of each, with probabilities."""
    assert own.mask is not None  # or the caller refuses
    rows = own.words(params, text)

    def word(token: int) -> str:
        return own.tokenizer.decode([token]).strip()

    if not scores:
        first, *rest = text.split(own.mask[1])
        best = [word(int(row.argmax())) for row in rows]
        # Masks beyond the longest text are not read.
        best += [own.mask[1]] * (len(rest) - len(best))
        yield first + "".join(guess + part for guess, part in zip(best, rest, strict=True))
        return
    for number, row in enumerate(rows, 1):
        for token in np.argsort(-row, kind="stable")[:MOST]:
            columns = [str(number)] if len(rows) > 1 else []
            yield "\t".join([*columns, f"{np.exp(row[token]):.4f}", word(int(token))])
