"""Transcripts of a trained model: independent of their neighbors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attention_jax.data.audio import batches, tone_words
from attention_jax.data.audio.corpus import of_array
from attention_jax.data.audio.spectrogram import Spectrogram
from attention_jax.data.tokenizer import Tokenizer
from attention_jax.decoding import DecodingConfig, Transcriber, ctc
from attention_jax.decoding.transcribe import padded
from attention_jax.models.seq2seq_transformer import Seq2SeqTransformer
from attention_jax.models.speech import AudioFrontEnd, CTCHead, CTCModel, SpeechTransformerEncoder
from attention_jax.nn.transformer import TransformerConfig

CORPUS = tone_words.tones(train_size=20, validation_size=5, test_size=5)
VOCABULARY = Tokenizer.learn((u.transcript for u in CORPUS.train), kind="character")
CONFIG = TransformerConfig(VOCABULARY.size, width=8, layers=1, heads=2, feed_forward=8)
UNUSED = nnx.graphdef(nnx.Dropout(0.1))  # a model that is never called


def made(aligned, halvings=2):
    def listen(rngs):
        return SpeechTransformerEncoder(CONFIG, AudioFrontEnd(halvings=halvings), rngs=rngs)

    if aligned:
        rngs = nnx.Rngs(0)
        model = CTCModel(listen(rngs), CTCHead(8, VOCABULARY.size, rngs=rngs))
    else:
        model = Seq2SeqTransformer(CONFIG, encoder=listen, rngs=nnx.Rngs(0))
    graphdef, state = nnx.split(model)
    return model, graphdef, nnx.as_pure(state)


@pytest.mark.slow
@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("method", ["greedy", "beam"])
def test_a_transcript_does_not_depend_on_its_neighbors(aligned, method):
    _, graphdef, params = made(aligned)
    search = DecodingConfig(method=method, beam_size=2, nbest=1 + (method == "beam"))
    transcribe = Transcriber(graphdef, VOCABULARY, Spectrogram(), search, aligned=aligned, rows=3)
    utterances = CORPUS.tests["test"]
    together = transcribe(params, utterances)
    assert len(together) == 5 and all(len(found) == search.nbest for found in together)
    alone = transcribe(params, utterances[3:4])[0]
    assert [one.text for one in alone] == [one.text for one in together[3]]
    np.testing.assert_allclose(
        [one.score for one in alone], [one.score for one in together[3]], rtol=1e-4
    )


@pytest.mark.slow
def test_labels_of_a_beam_are_those_of_the_recording_alone():
    model, graphdef, params = made(True)
    utterance = CORPUS.tests["test"][0]
    batch = batches.one([(utterance, ())], Spectrogram())
    memory = model.encode(jnp.asarray(batch.source), jnp.asarray(batch.source_mask))
    log_p = np.asarray(jax.nn.log_softmax(model.aligner(memory), axis=-1))[0]
    expected = ctc.beam(log_p[np.asarray(memory.mask[0])], beam_size=4)[0]
    search = DecodingConfig(method="beam", beam_size=4)
    transcribe = Transcriber(graphdef, VOCABULARY, Spectrogram(), search, aligned=True, rows=2)
    found = transcribe(params, [utterance])[0][0]
    assert found.tokens == expected.tokens
    assert found.score == pytest.approx(expected.score, rel=1e-4)


def test_padding_goes_no_further_than_positions_were_learned():
    transcribe = Transcriber(UNUSED, VOCABULARY, Spectrogram(), longest=40)
    lengths = [200 + 80 * (frames - 1) for frames in (20, 36, 40, 41)]
    *heard, longer = (of_array("x.wav", "", np.ones(n, np.float32)) for n in lengths)
    assert [transcribe.padded_length(one) for one in heard] == [32, 40, 40]
    with pytest.raises(ValueError, match="at most 40 frames, for which .*; x.wav has 41"):
        transcribe.padded_length(longer)


def test_paths_are_not_drawn():
    with pytest.raises(ValueError, match="must be greedy or a beam with CTC; got sample"):
        Transcriber(
            UNUSED, VOCABULARY, Spectrogram(), DecodingConfig(method="sample"), aligned=True
        )


def test_padded_lengths_are_powers_of_two_and_half_as_much_again():
    allowed = sorted(base << power for power in range(8) for base in (32, 48))
    for frames in range(1, 1000):
        assert padded(frames) == next(length for length in allowed if length >= frames)
