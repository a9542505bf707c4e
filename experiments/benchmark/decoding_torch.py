"""Hugging Face's Marian of the same sizes, for the benchmark of decoding."""

from collections.abc import Callable

import jax
import numpy as np
import torch
import transformers

from attention_jax.data.types import BOS, EOS, PAD
from attention_jax.nn.transformer import TransformerConfig
from experiments.benchmark.attention_torch import use_all_cores
from experiments.benchmark.decoding import NEVER, Job


def theirs(config: TransformerConfig, source: jax.Array, job: Job) -> Callable[[], object]:
    """A call that gives the tokens of `generate`."""
    use_all_cores()
    model = transformers.MarianMTModel(_sizes(config)).eval()
    model.final_logits_bias[:, EOS] = NEVER
    given = torch.from_numpy(np.array(source)).long()

    def call() -> object:
        with torch.no_grad():
            return model.generate(
                given,
                attention_mask=torch.ones_like(given),
                num_beams=job.beams,
                max_new_tokens=job.tokens,
                do_sample=False,
            )

    return call


def _sizes(config: TransformerConfig) -> transformers.MarianConfig:
    return transformers.MarianConfig(
        vocab_size=config.vocabulary_size,
        d_model=config.width,
        encoder_layers=config.layers,
        decoder_layers=config.layers,
        encoder_attention_heads=config.heads,
        decoder_attention_heads=config.heads,
        encoder_ffn_dim=config.feed_forward,
        decoder_ffn_dim=config.feed_forward,
        max_position_embeddings=config.max_length,
        pad_token_id=PAD,
        eos_token_id=EOS,
        decoder_start_token_id=BOS,
        forced_eos_token_id=None,
    )
