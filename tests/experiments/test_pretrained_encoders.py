"""Encoders of texts from the command line: vectors, similarities, and the words of masks."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import pretrained
from attention_jax.data.types import BOS, EOS
from attention_jax.models.text_encoder import TextEncoderConfig
from attention_jax.nn.transformer import TransformerConfig
from experiments.common.experiment import PageFlags, PredictFlags
from experiments.common.pretrained_runs import load_pretrained
from experiments.predict import PredictConfig
from tests.support import checkpoints

TEXTS = ["the queen sleeps", "a king sleeps", "the the the a"]


def sizes(tokens, **changes):
    own = {"layers": 2, "heads": 2, "feed_forward": 12, "positions": "learned", "max_length": 10}
    own |= {"norm": "post", "activation": "gelu", "norm_epsilon": 1e-12}
    own |= {"embedding_scale": 1.0, "embedding_norm": True}
    config = {"token_types": 2, "pooler": True, "words": True} | changes
    return TextEncoderConfig(TransformerConfig(tokens, 8, **own), **config)


def folder(tmp_path, **changes):
    """A small random BERT, which guesses words."""
    own = lambda tokens: sizes(tokens, **changes)  # noqa: E731
    checkpoints.small("bert", own, TEXTS, tmp_path, kind="word", more=["[MASK]"])
    return tmp_path / "model"


def used(path, *arguments, member="predict"):
    own = [f"--pretrained={path}", *arguments]
    return load_pretrained(path, own, member=member, beside=(PredictConfig(),))


def predicted(run, **given):
    return list(run.experiment.predict(run, PredictFlags(**given)))


def by_hand(path, text, pooling="mean"):
    """The vector of a text, read alone, without padding."""
    loaded = pretrained.load(path)
    ids = jnp.asarray([[BOS, *loaded.tokenizer.encode(text), EOS]])
    states = np.asarray(loaded.model.states(ids, jnp.ones(ids.shape, bool))[0], np.float64)
    return states.mean(axis=0) if pooling == "mean" else states[0]


def test_each_line_of_a_file_becomes_a_vector(tmp_path):
    path = folder(tmp_path)
    (tmp_path / "texts.txt").write_text("\n".join([TEXTS[0], "", *TEXTS[1:], *TEXTS, *TEXTS]))
    lines = predicted(used(path), file=str(tmp_path / "texts.txt"))
    found = [json.loads(line) for line in lines]
    assert [one["text"] for one in found] == TEXTS * 3
    for one in found:
        np.testing.assert_allclose(one["embedding"], by_hand(path, one["text"]), atol=1e-5)
    (path / "1_Pooling").mkdir()
    said = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
    (path / "1_Pooling" / "config.json").write_text(json.dumps(said))
    (line,) = predicted(used(path), text=TEXTS[0])
    wanted = by_hand(path, TEXTS[0], pooling="first")
    np.testing.assert_allclose(json.loads(line)["embedding"], wanted, atol=1e-5)


def test_similarities_are_cosines_of_angles(tmp_path):
    path = folder(tmp_path)
    (tmp_path / "texts.txt").write_text("\n".join(TEXTS))
    lines = predicted(used(path, "--answer=similarities"), file=str(tmp_path / "texts.txt"))
    vectors = [by_hand(path, text) for text in TEXTS]
    for line, x in zip(lines, vectors, strict=True):
        wanted = [x @ y / np.sqrt((x @ x) * (y @ y)) for y in vectors]
        np.testing.assert_allclose([float(n) for n in line.split("\t")], wanted, atol=1e-4)


def test_masks_become_the_most_probable_words(tmp_path):
    path = folder(tmp_path)
    run, loaded = used(path), pretrained.load(path)
    words = loaded.tokenizer
    mask = words.tokens(range(words.size)).index("[MASK]")
    ids = [BOS, *words.encode("the"), mask, *words.encode(" sleeps"), mask, EOS]
    real = jnp.ones((1, len(ids)), bool)
    found = jax.nn.softmax(loaded.model.guesses(jnp.asarray([ids]), real)[0])
    shares = np.asarray(found, np.float64)[[2, 4]]
    best = [words.decode([int(row.argmax())]).strip() for row in shares]
    text = "the [MASK] sleeps [MASK]"
    assert predicted(run, text=text) == [f"the {best[0]} sleeps {best[1]}"]
    lines = [line.split("\t") for line in predicted(run, text=text, scores=True)]
    assert [int(number) for number, _, _ in lines] == [1] * 5 + [2] * 5
    wanted = np.sort(shares, axis=1)[:, ::-1][:, :5].ravel()
    np.testing.assert_allclose([float(p) for _, p, _ in lines], wanted, atol=1e-4)
    assert lines[0][2] == best[0] and lines[5][2] == best[1]
    (line,) = predicted(used(path, "--answer=embeddings"), text=text)
    assert len(json.loads(line)["embedding"]) == 8


def test_what_is_too_long_is_cut_and_said(tmp_path, capsys):
    run = used(folder(tmp_path))
    whole, cut = (json.loads(predicted(run, text=" ".join(["the"] * n))[0]) for n in (8, 12))
    assert whole["embedding"] == cut["embedding"]
    assert (
        capsys.readouterr().err
        == "cut at 10 tokens: 'the the the the the the the the the the '...\n"
    )


def test_the_page_shows_how_tokens_draw_from_each_other(tmp_path):
    run = used(folder(tmp_path), member="page")
    page, given = run.experiment.page, PageFlags(text=tuple(TEXTS), alternatives=2)
    first, *_ = page.read(run, page.items(run, given), given)
    assert first.maps["encoder"].weights.shape == (2, 2, 5, 5)
    np.testing.assert_allclose(first.maps["encoder"].weights.sum(-1), 1, rtol=1e-5)
    assert first.alternatives[0] == (TEXTS[0], pytest.approx(1)) and len(first.alternatives) == 2
    assert page.about(run) == "transformer, attention scaled_dot, encoder of bert"


def test_what_cannot_be_asked_is_told_in_one_line(tmp_path):
    path = folder(tmp_path, words=False, pooler=False)
    with pytest.raises(ValueError, match="`--answer=words` goes with a model that guesses"):
        predicted(used(path, "--answer=words"), text="a")
    with pytest.raises(ValueError, match="`--pooling` must be mean or first"):
        predicted(used(path, "--pooling=pooler"), text="a")
    with pytest.raises(ValueError, match="`--prefix` does not go with"):
        predicted(used(path), text="a", prefix="b")
    with pytest.raises(ValueError, match=r"`--pretrained` must name a model that this command"):
        used(path, member="serve")
    (path / "1_Pooling").mkdir()
    (path / "1_Pooling" / "config.json").write_text('{"pooling_mode_max_tokens": true}')
    with pytest.raises(ValueError, match="must say one pooling"):
        used(path)
