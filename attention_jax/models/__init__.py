"""Complete models: sequence-to-sequence, language, image and speech."""

from attention_jax.models.image_cnn import CNN, CNNConfig
from attention_jax.models.image_rnn import ImageRNN
from attention_jax.models.image_transformer import VisionTransformer
from attention_jax.models.language import RNNLM, SequenceRegressor, TransformerLM
from attention_jax.models.seq2seq import Seq2SeqConfig
from attention_jax.models.seq2seq_gru import GRUConfig, Seq2SeqGRU
from attention_jax.models.seq2seq_rnn import Seq2SeqRNN
from attention_jax.models.seq2seq_transformer import Seq2SeqTransformer
from attention_jax.models.speech import (
    AudioFrontEnd,
    CTCHead,
    CTCModel,
    PyramidalRNNEncoder,
    SpeechTransformerEncoder,
)
from attention_jax.models.text_encoder import TextEncoder, TextEncoderConfig
from attention_jax.models.vector_transformer import VectorConfig, VectorTransformer
from attention_jax.models.whisper import WhisperConfig, WhisperEncoder

__all__ = [
    "AudioFrontEnd",
    "CNN",
    "CNNConfig",
    "CTCHead",
    "CTCModel",
    "GRUConfig",
    "ImageRNN",
    "PyramidalRNNEncoder",
    "RNNLM",
    "Seq2SeqConfig",
    "Seq2SeqGRU",
    "Seq2SeqRNN",
    "Seq2SeqTransformer",
    "SequenceRegressor",
    "SpeechTransformerEncoder",
    "TextEncoder",
    "TextEncoderConfig",
    "TransformerLM",
    "VectorConfig",
    "VectorTransformer",
    "VisionTransformer",
    "WhisperConfig",
    "WhisperEncoder",
]
