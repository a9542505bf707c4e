"""Encoder-decoders of `transformers`: the same logits and translations, and the way back."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from attention_jax import pretrained
from attention_jax.data.types import BOS, EOS, PAD, UNKNOWN
from attention_jax.decoding.options import DecodingOptions
from attention_jax.decoding.search import beam, greedy

torch = pytest.importorskip("torch", reason="torch, which transformers runs on, is not installed")
transformers = pytest.importorskip("transformers", reason="transformers is not installed")
from tests.support.encoder_decoders import CASES, made  # noqa: E402

pytestmark = pytest.mark.slow
ROWS, SOURCE, TARGET, ROOM = 3, 9, 7, 12


@dataclasses.dataclass
class Pair:
    """A model of theirs, the same as ours, and sentences in our ids."""

    theirs: object
    ours: pretrained.Pretrained
    source: np.ndarray
    real: np.ndarray
    target: np.ndarray

    @property
    def ids(self) -> np.ndarray:
        """Their id of each of ours."""
        return np.array([-1 if i is None else i for i in self.ours.order.theirs])

    @property
    def spoken(self) -> list[int]:
        """Ours of which both models give the logit."""
        return [i for i in range(len(self.ids)) if i not in self.ours.order.silent]

    def their_logits(self, model=None) -> np.ndarray:
        with torch.no_grad():
            found = (model or self.theirs)(
                input_ids=torch.tensor(self.ids[self.source]),
                attention_mask=torch.tensor(self.real),
                decoder_input_ids=torch.tensor(self.ids[self.target]),
            )
        return found.logits.numpy()


@pytest.fixture(scope="module", params=CASES)
def pair(request, tmp_path_factory) -> Pair:
    folder = tmp_path_factory.mktemp("theirs")
    theirs = made(request.param)
    theirs.save_pretrained(folder)
    ours = pretrained.load(folder)
    random, size = np.random.default_rng(0), len(ours.order.theirs)
    source = random.integers(UNKNOWN + 1, size, (ROWS, SOURCE))
    real = np.arange(SOURCE)[None] < np.array([[SOURCE], [5], [7]])
    source[np.arange(ROWS), real.sum(axis=1) - 1] = EOS
    target = random.integers(UNKNOWN + 1, size, (ROWS, TARGET))
    target[:, 0] = BOS
    return Pair(theirs, ours, np.where(real, source, PAD), real, target)


def our_logits(pair: Pair) -> np.ndarray:
    model = pair.ours.model
    memory = model.encode(jnp.asarray(pair.source), jnp.asarray(pair.real))
    return np.asarray(model.decode(jnp.asarray(pair.target), memory))


def test_logits_are_theirs(pair):
    ours, theirs = our_logits(pair)[..., pair.spoken], pair.their_logits()
    assert np.ptp(theirs) > 1
    np.testing.assert_allclose(ours, theirs[..., pair.ids[pair.spoken]], atol=1e-4)


def generated(pair: Pair, beams: int, **asked) -> list[tuple[int, ...]]:
    """Their sentences of each row, best first, cut after the end."""
    ids, end = pair.ids, pair.ids[EOS]
    found = pair.theirs.generate(
        torch.tensor(ids[pair.source]),
        attention_mask=torch.tensor(pair.real),
        max_new_tokens=ROOM,
        num_beams=beams,
        num_return_sequences=beams,
        do_sample=False,
        suppress_tokens=[i for i in {ids[PAD].item(), ids[BOS].item()} if i not in (-1, end)],
        **({"early_stopping": "never", "length_penalty": 1.0} if beams > 1 else {}),
        **asked,
    )
    return [cut(tokens[1:], end) for tokens in found.tolist()]


def cut(tokens: list[int], end: int) -> tuple[int, ...]:
    return tuple(tokens[: tokens.index(end) + 1] if end in tokens else tokens)


def test_greedy_generation_is_theirs(pair):
    model = pair.ours.model
    memory = model.encode(jnp.asarray(pair.source), jnp.asarray(pair.real))
    found = greedy(model.step, model.start(memory, ROOM), max_length=ROOM)
    ours = [cut(pair.ids[row[0]].tolist(), pair.ids[EOS]) for row in np.asarray(found.tokens)]
    assert ours == generated(pair, 1)


def test_the_language_of_a_target_is_a_prefix(pair):
    """Whether it is the model's first choice or not, as `forced_bos_token_id` is."""
    model, language = pair.ours.model, UNKNOWN + 7
    memory = model.encode(jnp.asarray(pair.source), jnp.asarray(pair.real))
    options = DecodingOptions(prefix=(language,))
    found = greedy(model.step, model.start(memory, ROOM), max_length=ROOM, options=options)
    ours = [cut(pair.ids[row[0]].tolist(), pair.ids[EOS]) for row in np.asarray(found.tokens)]
    assert ours == generated(pair, 1, forced_bos_token_id=int(pair.ids[language]))


def test_beams_of_four_are_theirs(pair):
    """Of finished sentences: those that are cut rank last here, and among the others there."""
    model, end = pair.ours.model, pair.ids[EOS]
    memory = model.encode(jnp.asarray(pair.source), jnp.asarray(pair.real))
    found = beam(
        model.step,
        model.start(memory, ROOM),
        max_length=ROOM,
        beam_size=4,
        nbest=4,
        options=DecodingOptions(length_form="power"),
    )
    theirs, compared = generated(pair, 4), 0
    for row, sentences in enumerate(np.asarray(found.tokens)):
        ours = [cut(pair.ids[x].tolist(), end) for x in sentences]
        ended = [x for x in theirs[4 * row : 4 * row + 4] if x[-1] == end]
        assert [x for x in ours if x[-1] == end][: len(ended)] == ended
        compared += len(ended)
    assert compared > 0


def test_what_is_saved_is_loaded_by_transformers(pair, tmp_path):
    pretrained.save(pair.ours, tmp_path / "ours")
    read = transformers.AutoModelForSeq2SeqLM.from_pretrained
    again, told = read(tmp_path / "ours", output_loading_info=True)
    assert not told["missing_keys"] and not told["unexpected_keys"]
    np.testing.assert_allclose(pair.their_logits(again.eval()), pair.their_logits(), atol=1e-5)
