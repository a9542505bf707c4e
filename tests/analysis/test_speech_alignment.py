"""Alignments of transcripts: over the recording, and in the order of what is said."""

import numpy as np
import pytest
from flax import nnx

from attention_jax.analysis import speech_alignment
from attention_jax.data.audio import tone_words
from attention_jax.data.audio.corpus import of_array
from attention_jax.data.audio.spectrogram import Spectrogram
from attention_jax.data.tokenizer import Tokenizer
from attention_jax.decoding import Transcriber
from attention_jax.models.seq2seq_transformer import Seq2SeqTransformer
from attention_jax.models.speech import AudioFrontEnd, CTCHead, CTCModel, SpeechTransformerEncoder
from attention_jax.nn.transformer import TransformerConfig

CORPUS = tone_words.tones(train_size=20, validation_size=5, test_size=5)
TOKENIZER = Tokenizer.learn((u.transcript for u in CORPUS.train), kind="character")
CONFIG = TransformerConfig(TOKENIZER.size, width=8, layers=1, heads=2, feed_forward=8)


def made(aligned, halvings=2):
    def listen(rngs):
        return SpeechTransformerEncoder(CONFIG, AudioFrontEnd(halvings=halvings), rngs=rngs)

    if aligned:
        rngs = nnx.Rngs(0)
        model = CTCModel(listen(rngs), CTCHead(8, TOKENIZER.size, rngs=rngs))
    else:
        model = Seq2SeqTransformer(CONFIG, encoder=listen, rngs=nnx.Rngs(0))
    graphdef, state = nnx.split(model)
    return model, graphdef, nnx.as_pure(state)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("aligned", [False, True])
def test_where_it_listens_is_over_the_recording(aligned):
    _, graphdef, params = made(aligned)
    transcribe = Transcriber(graphdef, TOKENIZER, Spectrogram(), aligned=aligned, rows=1)
    utterance = CORPUS.tests["test"][0]
    target = [*TOKENIZER.encode("tea"), 2]
    weights, tokens, per = speech_alignment.alignment(transcribe, params, utterance, target)
    frames = Spectrogram().frames(utterance.length)
    assert per == 4 and weights.shape[-2:] == (4, -(-frames // 4)) and len(tokens) == 4
    assert (weights >= 0).all() and (weights <= 1 + 1e-6).all()
    if not aligned:
        assert weights.shape[:2] == (1, 2)
        np.testing.assert_allclose(weights.sum(axis=-1), 1, rtol=1e-4)
    assert speech_alignment.alignment(transcribe, params, utterance, []) is None


@pytest.mark.slow
def test_a_position_has_as_many_frames_as_the_encoder_says():
    _, graphdef, params = made(True, halvings=5)
    transcribe = Transcriber(graphdef, TOKENIZER, Spectrogram(), aligned=True, rows=1)
    heard = of_array("x.wav", "", np.ones(Spectrogram().window + 39 * 80, np.float32))
    # 40 frames are padded to 48, of which 2 positions come.
    weights, _, per = speech_alignment.alignment(transcribe, params, heard, TOKENIZER.encode("t"))
    assert per == 32 and weights.shape[-1] == 2


def test_letters_of_one_kind_are_heard_one_after_the_other():
    _, graphdef, params = made(True)
    transcribe = Transcriber(graphdef, TOKENIZER, Spectrogram(), aligned=True, rows=1)
    target = TOKENIZER.encode("tt")
    weights, _, _ = speech_alignment.alignment(transcribe, params, CORPUS.tests["test"][0], target)
    assert speech_alignment.order(weights[0, 0]) == 1


def test_order_is_the_correlation_of_tokens_and_their_middles():
    weights = np.random.default_rng(0).random((5, 7))
    middles = [sum(j * row[j] for j in range(7)) / sum(row) for row in weights]
    centered = np.array(middles) - np.mean(middles)
    expected = sum((i - 2) * centered[i] for i in range(5)) / (10 * (centered**2).sum()) ** 0.5
    assert speech_alignment.order(weights) == pytest.approx(expected, abs=1e-6)
    assert speech_alignment.order(np.ones((3, 4))) == speech_alignment.order(np.eye(1)) == 0
